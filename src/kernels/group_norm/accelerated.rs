//! Group normalisation on the CPU device: pictures in parallel, vectorised over channels.

use super::Params;
use crate::kernel::params;
use crate::kernels::columns::{folded, repeat, width};
use crate::kernels::threads::{chunk, chunks};
use crate::kernels::{CHUNK, math, scratch};

/// Running sums over the pieces of a picture, one an element of a piece: `f` of the element and its channel's number.
#[inline(always)]
fn sums_of_pieces(x: &[f32], of_channels: &[f32], sums: &mut [f32], f: impl Fn(f32, f32) -> f32) {
    sums.fill(0.0);
    for piece in x.chunks(sums.len()) {
        for ((sum, x), channel) in sums.iter_mut().zip(piece).zip(of_channels) {
            *sum += f(*x, *channel);
        }
    }
}

/// The sum over a group of the running sums of its channels.
fn group_sum(sums: &[f32], c: usize, channels: usize, group: usize) -> f32 {
    (group * channels..(group + 1) * channels).map(|j| folded(sums, c, j)).sum()
}

pub(super) fn forward(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, s, c, channels] = p.sizes();
    let groups = p.g as usize;
    let (weight, bias) = (&reads[1][..c], &reads[2][..c]);
    let shift = repeat(bias.iter().copied(), c);
    let count = (s * channels) as f32;
    let [y, moments] = writes else { unreachable!("forward writes y and the moments") };
    let outputs = [(&mut y[..b * s * c], s * c), (&mut moments[..2 * b * groups], 2 * groups)];
    chunks(outputs, CHUNK.div_ceil(s * c), |picture, [y, moments]| {
        let x = chunk(reads[0], s * c, picture);
        math::vectorised(|| {
            let mut sums = scratch::zeros(width(c));
            let origin = |j: usize| x[j / channels * channels];
            let mut centre = repeat((0..c).map(origin), c);
            sums_of_pieces(x, &centre, &mut sums, |x, origin| x - origin);
            for (g, moments) in moments.chunks_mut(2).enumerate() {
                moments[0] = origin(g * channels) + group_sum(&sums, c, channels, g) / count;
            }
            refill(&mut centre, c, |j| moments[2 * (j / channels)]);
            sums_of_pieces(x, &centre, &mut sums, |x, mean| (x - mean) * (x - mean));
            for (g, moments) in moments.chunks_mut(2).enumerate() {
                moments[1] = 1.0 / (group_sum(&sums, c, channels, g) / count + p.eps).sqrt();
            }
            let scale = &mut sums;
            refill(scale, c, |j| weight[j] * moments[2 * (j / channels) + 1]);
            for (y, x) in y.chunks_mut(scale.len()).zip(x.chunks(scale.len())) {
                let channels = centre.iter().zip(scale.iter()).zip(shift.iter());
                for ((y, x), ((mean, scale), shift)) in y.iter_mut().zip(x).zip(channels) {
                    *y = (x - mean) * scale + shift;
                }
            }
        })
    });
}

/// New numbers for the channels of a piece.
#[inline(always)]
fn refill(piece: &mut [f32], c: usize, f: impl Fn(usize) -> f32) {
    let (first, others) = piece.split_at_mut(c);
    first.iter_mut().enumerate().for_each(|(j, value)| *value = f(j));
    others.chunks_mut(c).for_each(|row| row.copy_from_slice(first));
}

pub(super) fn backward_x(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, s, c, channels] = p.sizes();
    let groups = p.g as usize;
    let w = &reads[1][..c];
    let weight = repeat(w.iter().copied(), c);
    let count = (s * channels) as f32;
    let [dx, sums] = writes else { unreachable!("backward_x writes dx and the sums") };
    let outputs = [(&mut dx[..b * s * c], s * c), (&mut sums[..2 * b * c], 2 * c)];
    chunks(outputs, CHUNK.div_ceil(s * c), |picture, [dx, sums]| {
        let [x, dy] = [0, 3].map(|t| chunk(reads[t], s * c, picture));
        let moments = chunk(reads[2], 2 * groups, picture);
        math::vectorised(|| {
            let piece = width(c);
            let mean = repeat((0..c).map(|j| moments[2 * (j / channels)]), c);
            let rstd = |j: usize| moments[2 * (j / channels) + 1];
            let (mut ones, mut products) = (scratch::zeros(piece), scratch::zeros(piece));
            for (x, dy) in x.chunks(piece).zip(dy.chunks(piece)) {
                let running = ones.iter_mut().zip(products.iter_mut());
                for (((x, dy), mean), (one, product)) in x.iter().zip(dy).zip(mean.iter()).zip(running) {
                    *one += dy;
                    *product += dy * (x - mean);
                }
            }
            for j in 0..c {
                (sums[j], sums[c + j]) = (folded(&ones, c, j), folded(&products, c, j) * rstd(j));
            }
            // The means of g and of g * xhat over a group, and from them what each of its channels needs.
            let group_mean = |sums: &[f32], j: usize| {
                let group = j / channels * channels..(j / channels + 1) * channels;
                sums[group.clone()].iter().zip(&w[group]).map(|(sum, w)| sum * w).sum::<f32>() / count
            };
            let (mean_g, slope) = (&mut ones, &mut products);
            for first in (0..c).step_by(channels) {
                mean_g[first..first + channels].fill(group_mean(&sums[..c], first));
                slope[first..first + channels].fill(rstd(first) * group_mean(&sums[c..], first));
            }
            for tensor in [&mut *mean_g, &mut *slope] {
                let (first, others) = tensor.split_at_mut(c);
                others.chunks_mut(c).for_each(|row| row.copy_from_slice(first));
            }
            let scale = repeat((0..c).map(rstd), c);
            for ((dx, x), dy) in dx.chunks_mut(piece).zip(x.chunks(piece)).zip(dy.chunks(piece)) {
                let channels = mean.iter().zip(scale.iter()).zip(mean_g.iter()).zip(slope.iter()).zip(weight.iter());
                for (((dx, x), dy), ((((mean, rstd), mean_g), slope), w)) in dx.iter_mut().zip(x).zip(dy).zip(channels)
                {
                    *dx = rstd * (w * dy - mean_g - (x - mean) * slope);
                }
            }
        })
    });
}

pub(super) fn backward_w(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, _, c, _] = params::<Params>(p).sizes();
    let [dw, db] = writes else { unreachable!("backward_w writes dw and db") };
    math::vectorised(|| {
        for sums in reads[0][..2 * b * c].chunks(2 * c) {
            db[..c].iter_mut().zip(&sums[..c]).for_each(|(db, sum)| *db += sum);
            dw[..c].iter_mut().zip(&sums[c..]).for_each(|(dw, sum)| *dw += sum);
        }
    });
}
