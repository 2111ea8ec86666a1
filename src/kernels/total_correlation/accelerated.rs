//! The sums over the batch and both gradients on the CPU device, a row of Z a vector. Threads share the rows.

use std::f32::consts::TAU;

use pulp::{Arch, Simd, WithSimd};

use super::{Params, sizes};
use crate::kernel::params;
use crate::kernels::mixture::{exponentials, precisions};
use crate::kernels::threads::{chunk, chunks};
use crate::kernels::{CHUNK, clock, math, scratch};

/// A row's q(z|x_j): (Z) each.
#[derive(Clone, Copy)]
struct Component<'a> {
    mean: &'a [f32],
    logvar: &'a [f32],
    precision: &'a [f32],
}

#[inline(always)]
fn element(z: f32, mean: f32, logvar: f32, precision: f32) -> f32 {
    let away = z - mean;
    -0.5 * (TAU.ln() + logvar + away * away * precision)
}

pub(super) fn marginals(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, z] = sizes(p);
    let precisions = precisions(&reads[2][..b * z]);
    let component = |j: usize| component(reads, &precisions, z, j);
    chunks([(&mut writes[0][..b * (z + 1)], z + 1)], (CHUNK / (b * z)).max(1), |i, [log_sums]| {
        let (row, pairs) = (chunk(reads[0], z, i), chunk(reads[3], b, i));
        let (marginals, together) = log_sums.split_at_mut(z);
        let (mut most, mut sums) = (scratch::any(z), scratch::zeros(z));
        most.fill(f32::NEG_INFINITY);
        for pass in [Pass::Largest, Pass::Sum] {
            (0..b).for_each(|j| {
                let (most, sums) = (&mut most[..], &mut sums[..]);
                Arch::new().dispatch(Marginals { pass, z: row, q: component(j), most, sums });
            });
        }
        for ((marginal, &most), &sum) in marginals.iter_mut().zip(&most[..]).zip(&sums[..]) {
            *marginal = most + sum.ln();
        }
        let mut pairs_of = scratch::any(b);
        pairs_of.copy_from_slice(pairs);
        let (most, sum) = exponentials(&mut pairs_of);
        together[0] = most + sum.ln();
    });
}

fn component<'a>(reads: &[&'a [f32]], precisions: &'a [f32], z: usize, j: usize) -> Component<'a> {
    let at = j * z..(j + 1) * z;
    Component { mean: &reads[1][at.clone()], logvar: &reads[2][at.clone()], precision: &precisions[at] }
}

#[derive(Clone, Copy, PartialEq)]
enum Pass {
    Largest,
    Sum,
}

/// One term of each dimension's sum: to the largest, or to the sum of those relative to it.
struct Marginals<'a> {
    pass: Pass,
    z: &'a [f32],
    q: Component<'a>,
    most: &'a mut [f32],
    sums: &'a mut [f32],
}

impl WithSimd for Marginals<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Marginals { pass, z, q, most, sums } = self;
        let q = q.mean.iter().zip(q.logvar).zip(q.precision);
        let terms = z.iter().zip(q).map(|(&z, ((&mean, &logvar), &precision))| element(z, mean, logvar, precision));
        match pass {
            Pass::Largest => most.iter_mut().zip(terms).for_each(|(most, term)| {
                *most = if term > *most { term } else { *most };
            }),
            Pass::Sum => sums.iter_mut().zip(&*most).zip(terms).for_each(|((sum, &most), term)| {
                *sum += math::exp(term - most);
            }),
        }
    }
}

pub(super) fn backward_z(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, z] = sizes(p);
    let scale = params::<Params>(p).scale;
    let precisions = precisions(&reads[2][..b * z]);
    chunks([(&mut writes[0][..b * z], z)], (CHUNK / (b * z)).max(1), |i, [dz]| {
        let row = chunk(reads[0], z, i);
        let (mut pulls, mut squares) = (scratch::zeros(z), scratch::zeros(z));
        for j in 0..b {
            pull(reads, &precisions, z, [i, j], [&mut pulls, &mut squares]);
        }
        for ((dz, &z), &pull) in dz.iter_mut().zip(row).zip(&pulls[..]) {
            *dz += scale * (z - pull);
        }
    });
}

pub(super) fn backward_q(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, z] = sizes(p);
    let scale = params::<Params>(p).scale;
    let precisions = precisions(&reads[2][..b * z]);
    let [dmean, dlogvar] = writes else { unreachable!("total_correlation.backward_q writes dmean and dlogvar") };
    let outputs = [(&mut dmean[..b * z], z), (&mut dlogvar[..b * z], z)];
    chunks(outputs, (CHUNK / (b * z)).max(1), |j, [dmean, dlogvar]| {
        dmean.fill(0.0);
        dlogvar.fill(-1.0);
        for i in 0..b {
            pull(reads, &precisions, z, [i, j], [dmean, dlogvar]);
        }
        math::update(dmean, move |sum| scale * sum);
        math::update(dlogvar, move |sum| 0.5 * scale * sum);
    });
}

/// Adds pair (i,j) to pulls, share (z - mean) e^-logvar, and to squares, share ((z - mean)^2 e^-logvar - 1); (Z) each.
fn pull(reads: &[&[f32]], precisions: &[f32], z: usize, [i, j]: [usize; 2], [pulls, squares]: [&mut [f32]; 2]) {
    let sums = &reads[4][i * (z + 1)..][..z + 1];
    let b = reads[0].len() / z;
    Arch::new().dispatch(Pull {
        z: &reads[0][i * z..][..z],
        q: component(reads, precisions, z, j),
        sums: &sums[..z],
        together: math::exp(reads[3][i * b + j] - sums[z]),
        weight: clock::Row::read(reads[5]).kl_weight - 1.0,
        pulls,
        squares,
    });
}

struct Pull<'a> {
    z: &'a [f32],
    q: Component<'a>,
    sums: &'a [f32],
    together: f32,
    weight: f32,
    pulls: &'a mut [f32],
    squares: &'a mut [f32],
}

impl WithSimd for Pull<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Pull { z, q, sums, together, weight, pulls, squares } = self;
        let outputs = pulls.iter_mut().zip(squares).zip(z.iter().zip(sums));
        let q = q.mean.iter().zip(q.logvar).zip(q.precision);
        for (((pull, square), (&z, &sum)), ((&mean, &logvar), &precision)) in outputs.zip(q) {
            let share = weight * (together - math::exp(element(z, mean, logvar, precision) - sum));
            let away = z - mean;
            *pull += share * away * precision;
            *square += share * (away * away * precision - 1.0);
        }
    }
}
