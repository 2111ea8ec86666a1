//! The CPU device's forms.

use super::{Params, squared};
use crate::kernel::params;
use crate::kernels::gemm::{self, Store, Target, View};
use crate::kernels::threads::{chunk, chunks};
use crate::kernels::{math, scratch};

/// Vectors that a thread compares with all codes at a time.
const BAND: usize = 64;

/// By |z - e|^2 = |z|^2 + |e|^2 - 2 <z, e>, whose inner products are one matrix product. Of codes that this does not
/// tell apart from the nearest, as its rounding goes, the reference's distance decides: the result is the same.
pub(super) fn nearest(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [r, d, k] = params::<Params>(p).sizes();
    let (z, codes) = (&reads[0][..r * d], &reads[1][..k * d]);
    let norm = |v: &[f32]| math::sum_pairs([v, v], |a, b| a * b);
    let mut norms = scratch::any(k);
    norms.iter_mut().zip(codes.chunks(d)).for_each(|(norm_of, code)| *norm_of = norm(code));
    let largest = norms.iter().fold(0.0f32, |most, &n| most.max(n));
    let norms = &norms[..];
    chunks([(&mut writes[0][..r], BAND)], 1, |i, [ids]| {
        let z = chunk(z, BAND * d, i);
        let mut products = scratch::any(ids.len() * k);
        let c = Target::rows(&mut products, k);
        let operands = [View::rows(z, d), View::rows(codes, d).transposed()];
        gemm::product_here(c, operands, d, Store::Assign, &|_, _, _| {});
        for ((id, z), scores) in ids.iter_mut().zip(z.chunks(d)).zip(products.chunks_mut(k)) {
            // A product of D terms is off by D/2 epsilon of |z| |e|, twice it is taken.
            let margin = f32::EPSILON * (d + 8) as f32 * (norm(z) + largest);
            scores.iter_mut().zip(norms).for_each(|(score, norm)| *score = norm - 2.0 * *score);
            let least = scores.iter().fold(f32::INFINITY, |least, &score| least.min(score));
            let near = scores.iter().enumerate().filter(|&(_, &score)| score <= least + 2.0 * margin).map(|(k, _)| k);
            let distance = |k: usize| squared(z, &codes[k * d..][..d]);
            let best = near.map(|k| (k, distance(k))).reduce(|best, k| if k.1 < best.1 { k } else { best });
            *id = best.map_or(0.0, |(k, _)| k as f32);
        }
    });
}

pub(super) fn distance(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [r, d, _] = params::<Params>(p).sizes();
    math::row_sums(&mut writes[0][..r], [reads[0], reads[1]], d, |z, q| (z - q) * (z - q));
}

/// One pass over the vectors, so that each sum is in the order of the rows.
pub(super) fn tally(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [r, d, k] = params::<Params>(p).sizes();
    let (ids, z) = (&reads[0][..r], &reads[1][..r * d]);
    let [counts, sums] = writes else { unreachable!("codebook.tally writes n and m") };
    let (counts, sums) = (&mut counts[..k], &mut sums[..k * d]);
    counts.fill(0.0);
    sums.fill(0.0);
    for (&id, z) in ids.iter().zip(z.chunks(d)) {
        let code = id as usize;
        if code < k {
            counts[code] += 1.0;
            sums[code * d..][..d].iter_mut().zip(z).for_each(|(sum, z)| *sum += z);
        }
    }
}
