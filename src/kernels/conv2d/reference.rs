//! The specification: obvious loops, sums in f64.

use super::{Params, Sizes, bias_parts, share, weight_parts};
use crate::kernel::params;
use crate::kernels::activation::Activation;

/// Calls `f` with the index of every product's element in x, dy and w: all places of the small picture, taps and
/// channels that meet inside the large one.
fn for_each_product(s: Sizes, mut f: impl FnMut(usize, usize, usize)) {
    let [inputs, outputs] = s.group();
    let [[h, w], [p_size, q_size]] = [s.large, s.small];
    for b in 0..s.b {
        for p in 0..p_size {
            for q in 0..q_size {
                for tap in 0..s.taps() {
                    let Some(place) = s.place_under([p, q], tap) else { continue };
                    for o in 0..s.o {
                        for i in 0..inputs {
                            let channel = o / outputs * inputs + i;
                            let x = (b * h * w + place) * s.i + channel;
                            let y = ((b * p_size + p) * q_size + q) * s.o + o;
                            f(x, y, (o * s.taps() + tap) * inputs + i);
                        }
                    }
                }
            }
        }
    }
}

/// act(sum + bias) of each element, rounded once.
fn epilogue(p: Params, sums: &[f64], b: &[f32], channels: usize, out: &mut [f32]) {
    let activation = Activation::from_number(p.activation);
    for (i, sum) in sums.iter().enumerate() {
        let bias = if p.bias != 0 { b[i % channels] as f64 } else { 0.0 };
        out[i] = activation.value(sum + bias) as f32;
    }
}

pub(super) fn forward(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let s = p.sizes();
    let (x, w, b) = (reads[0], reads[1], reads[2]);
    let mut sums = vec![0f64; s.all_places() * s.o];
    for_each_product(s, |i, o, k| sums[o] += x[i] as f64 * w[k] as f64);
    epilogue(p, &sums, b, s.o, writes[0]);
}

pub(super) fn backward_x(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let s = p.sizes();
    let (w, b, dy) = (reads[0], reads[1], reads[2]);
    let mut sums = vec![0f64; s.b * s.large[0] * s.large[1] * s.i];
    for_each_product(s, |i, o, k| sums[i] += dy[o] as f64 * w[k] as f64);
    epilogue(p, &sums, b, s.i, writes[0]);
}

pub(super) fn fold(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let s = p.sizes();
    let (b, columns) = (reads[0], reads[1]);
    let [[h, w], [p_size, q_size]] = [s.large, s.small];
    let mut sums = vec![0f64; s.b * h * w * s.i];
    for n in 0..s.b * p_size * q_size {
        for tap in 0..s.taps() {
            let Some(place) = s.place_under([n / q_size % p_size, n % q_size], tap) else { continue };
            for i in 0..s.i {
                sums[(n / (p_size * q_size) * h * w + place) * s.i + i] +=
                    columns[(n * s.taps() + tap) * s.i + i] as f64;
            }
        }
    }
    epilogue(p, &sums, b, s.i, writes[0]);
}

pub(super) fn backward_w(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let (x, dy) = (reads[0], reads[1]);
    let mut sums = vec![0f64; s.o * s.taps() * s.group()[0]];
    for_each_product(s, |i, o, k| sums[k] += dy[o] as f64 * x[i] as f64);
    for (dw, sum) in writes[0].iter_mut().zip(sums) {
        *dw += sum as f32;
    }
}

pub(super) fn backward_w_parts(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let (x, dy) = (reads[0], reads[1]);
    let (count, weights) = (weight_parts(&s), s.o * s.taps() * s.group()[0]);
    let mut sums = vec![0f64; count * weights];
    let share = share(&s, count);
    for_each_product(s, |i, o, k| sums[o / s.o / share * weights + k] += dy[o] as f64 * x[i] as f64);
    for (part, sum) in writes[0].iter_mut().zip(sums) {
        *part = sum as f32;
    }
}

pub(super) fn backward_b_parts(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    let share = share(&s, bias_parts(&s));
    for (part, dy) in writes[0].chunks_exact_mut(s.o).zip(reads[0].chunks(share * s.o)) {
        for (o, part) in part.iter_mut().enumerate() {
            *part = dy.iter().skip(o).step_by(s.o).map(|&v| v as f64).sum::<f64>() as f32;
        }
    }
}

pub(super) fn backward_b(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let s = params::<Params>(p).sizes();
    for o in 0..s.o {
        let places = 0..s.all_places();
        writes[0][o] += places.map(|n| reads[0][n * s.o + o] as f64).sum::<f64>() as f32;
    }
}
