//! The pairs, their sums and both gradients on the CPU device. Threads share the rows, or the components.

use std::f32::consts::TAU;

use pulp::{Arch, Simd, WithSimd};

use super::{sizes, weight};
use crate::kernels::scratch::{self, Scratch};
use crate::kernels::threads::{chunk, chunks};
use crate::kernels::{CHUNK, math};

/// e^-logvar of each element.
pub(in crate::kernels) fn precisions(logvar: &[f32]) -> Scratch {
    let mut precision = scratch::any(logvar.len());
    precision.copy_from_slice(logvar);
    math::update(&mut precision, |logvar| math::exp(-logvar));
    precision
}

/// Mean and precision as (Z,K): the components of a dimension side by side.
pub(super) fn pairs(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, k, z] = sizes(p);
    let precision = precisions(&reads[2][..k * z]);
    let turned = |rows: &[f32]| {
        let mut columns = scratch::any(k * z);
        (0..k * z).for_each(|i| columns[i % z * k + i / z] = rows[i]);
        columns
    };
    let (means, precisions) = (turned(reads[1]), turned(&precision));
    let mut constants = scratch::any(k);
    for (constant, logvar) in constants.iter_mut().zip(reads[2].chunks(z)) {
        *constant = logvar.iter().sum::<f32>() + z as f32 * TAU.ln();
    }
    let (means, precisions, constants) = (&means[..], &precisions[..], &constants[..]);
    chunks([(&mut writes[0][..b * k], k)], (CHUNK / (k * z)).max(1), |r, [pairs]| {
        let z = chunk(reads[0], z, r);
        pairs.copy_from_slice(constants);
        Arch::new().dispatch(Pairs { pairs, z, means, precisions });
    });
}

struct Pairs<'a> {
    pairs: &'a mut [f32],
    z: &'a [f32],
    means: &'a [f32],
    precisions: &'a [f32],
}

impl WithSimd for Pairs<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Pairs { pairs, z, means, precisions } = self;
        let k = pairs.len();
        for ((&z, means), precisions) in z.iter().zip(means.chunks(k)).zip(precisions.chunks(k)) {
            for ((pair, &mean), &precision) in pairs.iter_mut().zip(means).zip(precisions) {
                let away = z - mean;
                *pair += away * away * precision;
            }
        }
        pairs.iter_mut().for_each(|pair| *pair *= -0.5);
    }
}

pub(super) fn density(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, k, _] = sizes(p);
    let [log_p, shares] = writes else { unreachable!("mixture.density writes log_p and shares") };
    chunks([(&mut log_p[..b], 1), (&mut shares[..b * k], k)], (CHUNK / k).max(1), |r, [log_p, shares]| {
        shares.copy_from_slice(chunk(reads[0], k, r));
        let (most, sum) = exponentials(shares);
        math::update(shares, move |share| share / sum);
        log_p[0] = most + sum.ln() - (k as f32).ln();
    });
}

/// Numbers to e^(number - the largest); the largest, and their sum.
pub(in crate::kernels) fn exponentials(numbers: &mut [f32]) -> (f32, f32) {
    let most = numbers.iter().fold(numbers[0], |most, &next| if next > most { next } else { most });
    math::update(numbers, move |number| math::exp(number - most));
    (most, numbers.iter().sum())
}

pub(super) fn backward_z(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, k, z] = sizes(p);
    let w = weight(p, reads[4]) as f32;
    let precisions = precisions(&reads[2][..k * z]);
    let (means, precisions) = (&reads[1][..k * z], &precisions[..]);
    let [dz, dlogvar] = writes else { unreachable!("mixture.backward_z writes dz and q_dlogvar") };
    dlogvar[..b * z].fill(-0.5 * w);
    chunks([(&mut dz[..b * z], z)], (CHUNK / (k * z)).max(1), |r, [dz]| {
        let (z, shares) = (chunk(reads[0], z, r), chunk(reads[3], k, r));
        for ((mean, precision), &share) in means.chunks(z.len()).zip(precisions.chunks(z.len())).zip(shares) {
            Arch::new().dispatch(Pull { dz, z, mean, precision, weight: w * share });
        }
    });
}

/// dz += weight * (z - mean) * precision
struct Pull<'a> {
    dz: &'a mut [f32],
    z: &'a [f32],
    mean: &'a [f32],
    precision: &'a [f32],
    weight: f32,
}

impl WithSimd for Pull<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Pull { dz, z, mean, precision, weight } = self;
        for ((dz, &z), (&mean, &precision)) in dz.iter_mut().zip(z).zip(mean.iter().zip(precision)) {
            *dz += weight * (z - mean) * precision;
        }
    }
}

pub(super) fn backward_components(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, k, z] = sizes(p);
    let w = weight(p, reads[4]) as f32;
    let precisions = precisions(&reads[2][..k * z]);
    let [dmean, dlogvar] = writes else { unreachable!("mixture.backward_components writes dmean and dlogvar") };
    let outputs = [(&mut dmean[..k * z], z), (&mut dlogvar[..k * z], z)];
    let precisions = &precisions[..];
    chunks(outputs, (CHUNK / (b * z)).max(1), |component, [dmean, dlogvar]| {
        dmean.fill(0.0);
        dlogvar.fill(0.0);
        let at = component * z..(component + 1) * z;
        let (mean, precision) = (&reads[1][at.clone()], &precisions[at]);
        for (row, z) in reads[0][..b * z].chunks(z).enumerate() {
            let weight = w * reads[3][row * k + component];
            Arch::new().dispatch(Push { dmean, dlogvar, z, mean, precision, weight });
        }
    });
}

/// dmean -= weight * (z - mean) * precision, dlogvar -= weight/2 * ((z - mean)^2 * precision - 1)
struct Push<'a> {
    dmean: &'a mut [f32],
    dlogvar: &'a mut [f32],
    z: &'a [f32],
    mean: &'a [f32],
    precision: &'a [f32],
    weight: f32,
}

impl WithSimd for Push<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Push { dmean, dlogvar, z, mean, precision, weight } = self;
        let outputs = dmean.iter_mut().zip(dlogvar);
        for (((dmean, dlogvar), &z), (&mean, &precision)) in outputs.zip(z).zip(mean.iter().zip(precision)) {
            let pull = (z - mean) * precision;
            *dmean -= weight * pull;
            *dlogvar -= 0.5 * weight * (pull * (z - mean) - 1.0);
        }
    }
}
