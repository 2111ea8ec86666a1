//! The specification: obvious loops, sums in f64.

use super::Params;
use crate::kernel::params;

/// Mean and M2, the sum of squared distances from the mean, of numbers: two passes.
fn mean_and_squares(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let (count, sum) = values.clone().fold((0.0, 0.0), |(n, s), v| (n + 1.0, s + v));
    let mean: f64 = sum / count;
    (mean, values.map(|v| (v - mean) * (v - mean)).sum())
}

pub(super) fn partials(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [_, c] = p.sizes();
    for k in 0..p.chunks as usize {
        let x = &reads[0][k * p.chunk()..];
        for j in 0..c {
            let (mean, squares) = mean_and_squares((0..p.count(k)).map(|r| x[r * c + j] as f64));
            writes[0][2 * k * c + j] = mean as f32;
            writes[0][(2 * k + 1) * c + j] = squares as f32;
        }
    }
}

pub(super) fn statistics(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    for j in 0..c {
        let chunks = (0..p.chunks as usize)
            .map(|k| (p.count(k) as f64, reads[0][2 * k * c + j] as f64, reads[0][(2 * k + 1) * c + j] as f64));
        let mean = chunks.clone().map(|(n, mean, _)| n * mean).sum::<f64>() / r as f64;
        let squares = chunks.map(|(n, m, squares)| squares + n * (m - mean) * (m - mean)).sum();
        write_statistics(p, writes, j, mean, squares);
    }
    writes[3][0] += 1.0;
}

/// Channel `j` of everything `statistics` writes.
pub(super) fn write_statistics(p: Params, writes: &mut [&mut [f32]], j: usize, mean: f64, squares: f64) {
    let [r, c] = p.sizes();
    let unbiased = squares / (r.max(2) - 1) as f64;
    writes[0][j] = mean as f32;
    writes[0][c + j] = (1.0 / (squares / r as f64 + p.eps as f64).sqrt()) as f32;
    for (running, batch) in [(1, mean), (2, unbiased)] {
        let running = &mut writes[running][j];
        *running = (*running as f64 + p.momentum as f64 * (batch - *running as f64)) as f32;
    }
}

pub(super) fn forward(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    for i in 0..r * c {
        let j = i % c;
        let xhat = (reads[0][i] as f64 - reads[3][j] as f64) * reads[3][c + j] as f64;
        writes[0][i] = p.activation().value(reads[1][j] as f64 * xhat + reads[2][j] as f64) as f32;
    }
}

pub(super) fn evaluate(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    for i in 0..r * c {
        let j = i % c;
        let xhat = (reads[0][i] as f64 - reads[3][j] as f64) / (reads[4][j] as f64 + p.eps as f64).sqrt();
        writes[0][i] = p.activation().value(reads[1][j] as f64 * xhat + reads[2][j] as f64) as f32;
    }
}

pub(super) fn backward_partials(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [_, c] = p.sizes();
    let [x, y, dy, moments] = *reads else { unreachable!("backward_partials reads four tensors") };
    for k in 0..p.chunks as usize {
        for j in 0..c {
            let (mut sum, mut product) = (0.0, 0.0);
            for i in (0..p.count(k)).map(|r| k * p.chunk() + r * c + j) {
                let g = dy[i] as f64 * p.activation().slope(y[i] as f64);
                sum += g;
                product += g * (x[i] as f64 - moments[j] as f64) * moments[c + j] as f64;
            }
            writes[0][2 * k * c + j] = sum as f32;
            writes[0][(2 * k + 1) * c + j] = product as f32;
        }
    }
}

pub(super) fn backward_w(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [_, c] = p.sizes();
    let sum = |i: usize| (0..p.chunks as usize).map(|k| reads[0][2 * k * c + i] as f64).sum::<f64>() as f32;
    for j in 0..c {
        (writes[0][j], writes[0][c + j]) = (sum(j), sum(c + j));
        writes[1][j] += sum(c + j);
        writes[2][j] += sum(j);
    }
}

pub(super) fn backward_x(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, c] = p.sizes();
    let [x, w, y, dy, moments, sums] = *reads else { unreachable!("backward_x reads six tensors") };
    for i in 0..r * c {
        let j = i % c;
        let [mean, rstd, sum, product] = [moments[j], moments[c + j], sums[j], sums[c + j]].map(f64::from);
        let g = dy[i] as f64 * p.activation().slope(y[i] as f64);
        let xhat = (x[i] as f64 - mean) * rstd;
        writes[0][i] = (w[j] as f64 * rstd * (g - sum / r as f64 - xhat * product / r as f64)) as f32;
    }
}
