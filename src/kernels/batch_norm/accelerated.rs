//! Batch normalisation on the CPU device: chunks of rows in parallel, vectorised over channels.

use super::{Params, reference};
use crate::kernel::params;
use crate::kernels::activation::Activation;
use crate::kernels::columns::{folded, repeat, width};
use crate::kernels::threads::{chunk, chunks};
use crate::kernels::{math, scratch};

pub(super) fn partials(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    let x = &reads[0][..r * c];
    chunks([(&mut writes[0][..2 * p.chunks as usize * c], 2 * c)], 1, |k, [parts]| {
        let x = chunk(x, p.chunk(), k);
        math::vectorised(|| chunk_moments(x, c, parts));
    });
}

/// Two passes over a chunk that fits the first cache, on x minus its first row as the shader does.
#[inline(always)]
fn chunk_moments(x: &[f32], c: usize, parts: &mut [f32]) {
    let (means, squares) = parts.split_at_mut(c);
    let count = (x.len() / c) as f32;
    let mut sums = scratch::zeros(width(c));
    let mut centre = repeat(x[..c].iter().copied(), c);
    for piece in x.chunks(width(c)) {
        for ((sum, x), origin) in sums.iter_mut().zip(piece).zip(centre.iter()) {
            *sum += x - origin;
        }
    }
    for (j, mean) in means.iter_mut().enumerate() {
        *mean = x[j] + folded(&sums, c, j) / count;
    }
    centre.chunks_mut(c).for_each(|centre| centre.copy_from_slice(means));
    sums.fill(0.0);
    for piece in x.chunks(width(c)) {
        for ((sum, x), mean) in sums.iter_mut().zip(piece).zip(centre.iter()) {
            *sum += (x - mean) * (x - mean);
        }
    }
    for (j, square) in squares.iter_mut().enumerate() {
        *square = folded(&sums, c, j);
    }
}

/// Channels whose sums are made side by side.
const CHANNELS: usize = 64;

pub(super) fn statistics(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    let parts = || reads[0][..2 * p.chunks as usize * c].chunks(2 * c).enumerate();
    for first in (0..c).step_by(CHANNELS) {
        let of = first..c.min(first + CHANNELS);
        let (mut means, mut squares) = ([0f64; CHANNELS], [0f64; CHANNELS]);
        for (k, part) in parts() {
            let count = p.count(k) as f64;
            means.iter_mut().zip(&part[of.clone()]).for_each(|(mean, part)| *mean += count * *part as f64);
        }
        means.iter_mut().for_each(|mean| *mean /= r as f64);
        for (k, part) in parts() {
            let count = p.count(k) as f64;
            let part = part[of.clone()].iter().zip(&part[c..][of.clone()]);
            for ((sum, mean), (m, square)) in squares.iter_mut().zip(&means).zip(part) {
                let d = *m as f64 - mean;
                *sum += *square as f64 + count * d * d;
            }
        }
        for j in of {
            reference::write_statistics(p, writes, j, means[j - first], squares[j - first]);
        }
    }
    writes[3][0] += 1.0;
}

pub(super) fn forward(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let c = params::<Params>(p).c as usize;
    let [x, w, b, moments] = *reads else { unreachable!("forward reads four tensors") };
    normalise(p, x, moments, |j| w[j] * moments[c + j], b, writes[0]);
}

pub(super) fn evaluate(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let eps = params::<Params>(p).eps;
    let [x, w, b, mean, var] = *reads else { unreachable!("evaluate reads five tensors") };
    normalise(p, x, mean, |j| w[j] / (var[j] + eps).sqrt(), b, writes[0]);
}

/// y = act((x - mean) * scale + shift).
fn normalise(p: &[u32], x: &[f32], mean: &[f32], scale: impl Fn(usize) -> f32, shift: &[f32], y: &mut [f32]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    let mean = repeat(mean[..c].iter().copied(), c);
    let scale = repeat((0..c).map(scale), c);
    let shift = repeat(shift[..c].iter().copied(), c);
    let of_channels = [&mean[..], &scale[..], &shift[..]];
    chunks([(&mut y[..r * c], p.chunk())], 1, |k, [y]| {
        let x = &x[k * p.chunk()..][..y.len()];
        math::vectorised(|| match p.activation() {
            Activation::Identity => normalise_chunk(y, x, of_channels, |v| v),
            Activation::Relu => normalise_chunk(y, x, of_channels, |v| if v <= 0.0 { 0.0 } else { v }),
            Activation::LeakyRelu => normalise_chunk(y, x, of_channels, |v| if v > 0.0 { v } else { 0.01 * v }),
            Activation::Elu => normalise_chunk(y, x, of_channels, elu),
            other => normalise_chunk(y, x, of_channels, |v| other.value(v as f64) as f32),
        });
    });
}

/// NaN passes: it is not below 0.
#[inline(always)]
pub(super) fn elu(v: f32) -> f32 {
    let below = math::exp_negative(v.min(0.0)) - 1.0;
    if v <= 0.0 { below } else { v }
}

#[inline(always)]
fn normalise_chunk(y: &mut [f32], x: &[f32], [mean, scale, shift]: [&[f32]; 3], activation: impl Fn(f32) -> f32) {
    for (y, x) in y.chunks_mut(mean.len()).zip(x.chunks(mean.len())) {
        for ((((y, x), mean), scale), shift) in y.iter_mut().zip(x).zip(mean).zip(scale).zip(shift) {
            *y = activation((x - mean) * scale + shift);
        }
    }
}

pub(super) fn backward_partials(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    let [x, y, dy] = [0, 1, 2].map(|i| &reads[i][..r * c]);
    let moments = &reads[3][..2 * c];
    let mean = repeat(moments[..c].iter().copied(), c);
    chunks([(&mut writes[0][..2 * p.chunks as usize * c], 2 * c)], 1, |k, [parts]| {
        let [x, y, dy] = [x, y, dy].map(|t| chunk(t, p.chunk(), k));
        let inputs = [x, y, dy, &mean[..]];
        math::vectorised(|| {
            match p.activation() {
                Activation::Identity => chunk_sums(parts, c, inputs, |dy, _| dy),
                Activation::Relu => chunk_sums(parts, c, inputs, relu_gradient),
                Activation::LeakyRelu => chunk_sums(parts, c, inputs, leaky_relu_gradient),
                Activation::Elu => chunk_sums(parts, c, inputs, elu_gradient),
                other => chunk_sums(parts, c, inputs, |dy, y| (dy as f64 * other.slope(y as f64)) as f32),
            }
            parts[c..].iter_mut().zip(&moments[c..]).for_each(|(product, rstd)| *product *= rstd);
        });
    });
}

#[inline(always)]
fn relu_gradient(dy: f32, y: f32) -> f32 {
    if y > 0.0 { dy } else { 0.0 }
}

#[inline(always)]
fn leaky_relu_gradient(dy: f32, y: f32) -> f32 {
    if y > 0.0 { dy } else { 0.01 * dy }
}

#[inline(always)]
fn elu_gradient(dy: f32, y: f32) -> f32 {
    if y > 0.0 { dy } else { dy * (y + 1.0) }
}

/// The sums of g and of g * (x - mean) of a chunk.
#[inline(always)]
fn chunk_sums(parts: &mut [f32], c: usize, [x, y, dy, mean]: [&[f32]; 4], gradient: impl Fn(f32, f32) -> f32) {
    let piece = width(c);
    let (mut sums, mut products) = (scratch::zeros(piece), scratch::zeros(piece));
    for ((x, y), dy) in x.chunks(piece).zip(y.chunks(piece)).zip(dy.chunks(piece)) {
        let sums = sums.iter_mut().zip(products.iter_mut());
        for ((((x, y), dy), mean), (sum, product)) in x.iter().zip(y).zip(dy).zip(mean).zip(sums) {
            let g = gradient(*dy, *y);
            *sum += g;
            *product += g * (x - mean);
        }
    }
    for j in 0..c {
        (parts[j], parts[c + j]) = (folded(&sums, c, j), folded(&products, c, j));
    }
}

pub(super) fn backward_w(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [_, c] = p.sizes();
    for first in (0..c).step_by(CHANNELS) {
        let (mut sums, mut products) = ([0f64; CHANNELS], [0f64; CHANNELS]);
        let of = first..c.min(first + CHANNELS);
        for part in reads[0][..2 * p.chunks as usize * c].chunks(2 * c) {
            sums.iter_mut().zip(&part[of.clone()]).for_each(|(sum, part)| *sum += *part as f64);
            products.iter_mut().zip(&part[c..][of.clone()]).for_each(|(product, part)| *product += *part as f64);
        }
        for j in of {
            let (sum, product) = (sums[j - first] as f32, products[j - first] as f32);
            (writes[0][j], writes[0][c + j]) = (sum, product);
            writes[1][j] += product;
            writes[2][j] += sum;
        }
    }
}

pub(super) fn backward_x(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    let [x, w, y, dy, moments, sums] = *reads else { unreachable!("backward_x reads six tensors") };
    let share = 1.0 / r as f32;
    let mean = repeat(moments[..c].iter().copied(), c);
    let scale = repeat(w[..c].iter().zip(&moments[c..2 * c]).map(|(w, rstd)| w * rstd), c);
    let mean_g = repeat(sums[..c].iter().map(|sum| sum * share), c);
    let slope = repeat(sums[c..2 * c].iter().zip(&moments[c..2 * c]).map(|(sum, rstd)| sum * rstd * share), c);
    let of_channels = [&mean[..], &scale[..], &mean_g[..], &slope[..]];
    chunks([(&mut writes[0][..r * c], p.chunk())], 1, |k, [dx]| {
        let inputs = [x, y, dy].map(|t| &t[k * p.chunk()..][..dx.len()]);
        math::vectorised(|| match p.activation() {
            Activation::Identity => chunk_gradient(dx, inputs, of_channels, |dy, _| dy),
            Activation::Relu => chunk_gradient(dx, inputs, of_channels, relu_gradient),
            Activation::LeakyRelu => chunk_gradient(dx, inputs, of_channels, leaky_relu_gradient),
            Activation::Elu => chunk_gradient(dx, inputs, of_channels, elu_gradient),
            other => {
                chunk_gradient(dx, inputs, of_channels, |dy, y| (dy as f64 * other.slope(y as f64)) as f32);
            }
        });
    });
}

/// dx = scale * (g - mean_g - (x - mean) * slope).
#[inline(always)]
fn chunk_gradient(
    dx: &mut [f32],
    [x, y, dy]: [&[f32]; 3],
    [mean, scale, mean_g, slope]: [&[f32]; 4],
    gradient: impl Fn(f32, f32) -> f32,
) {
    let piece = mean.len();
    for (((dx, x), y), dy) in dx.chunks_mut(piece).zip(x.chunks(piece)).zip(y.chunks(piece)).zip(dy.chunks(piece)) {
        let channels = mean.iter().zip(scale).zip(mean_g).zip(slope);
        for ((((dx, x), y), dy), (((mean, scale), mean_g), slope)) in dx.iter_mut().zip(x).zip(y).zip(dy).zip(channels)
        {
            *dx = scale * (gradient(*dy, *y) - mean_g - (x - mean) * slope);
        }
    }
}
