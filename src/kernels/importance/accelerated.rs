//! The samples, their weights and both gradients on the CPU device, a row of Z a vector. (The bound itself is a few
//! numbers a picture.)

use pulp::{Arch, Simd, WithSimd};

use super::sizes;
use crate::kernels::threads::{chunk, chunks};
use crate::kernels::{CHUNK, math};

pub(super) fn sample(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, k, z] = sizes(p);
    chunks([(&mut writes[0][..b * k * z], z)], (CHUNK / z).max(1), |r, [sampled]| {
        let noise = chunk(reads[2], z, r);
        let q = r / k * z..(r / k + 1) * z;
        sampled.copy_from_slice(&reads[0][q.clone()]);
        math::update_pairs(sampled, [&reads[1][q], noise], |mean, logvar, noise| {
            mean + math::exp(0.5 * logvar) * noise
        });
    });
}

pub(super) fn log_weights(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, k, z] = sizes(p);
    chunks([(&mut writes[0][..b * k], 1)], (CHUNK / z).max(1), |r, [log_w]| {
        let (noise, sampled) = (chunk(reads[2], z, r), chunk(reads[3], z, r));
        let logvar = &reads[1][r / k * z..][..z];
        let densities = math::sum_pairs([noise, sampled], |noise, z| noise * noise - z * z);
        log_w[0] = 0.5 * (densities + math::sum_pairs([logvar, logvar], |logvar, _| logvar)) - reads[0][r];
    });
}

/// Both estimators; the doubly reparameterised one has shares. Threads share the pictures.
pub(super) fn backward(
    p: &[u32],
    reads: &[&[f32]],
    weights: &[f32],
    shares: Option<&[f32]>,
    writes: &mut [&mut [f32]],
) {
    let [b, k, z] = sizes(p);
    let [dmean, dlogvar] = writes else { unreachable!("both gradients are written") };
    let outputs = [(&mut dmean[..b * z], z), (&mut dlogvar[..b * z], z)];
    chunks(outputs, (CHUNK / (k * z)).max(1), |b, [dmean, dlogvar]| {
        let [dz, sampled, noise] = [0, 1, 2].map(|i| &reads[i][b * k * z..][..k * z]);
        let logvar = &reads[3][b * z..][..z];
        let (weights, shares) = (&weights[b * k..][..k], shares.map(|shares| &shares[b * k..][..k]));
        dmean.fill(0.0);
        dlogvar.fill(0.0);
        for sample in 0..k {
            let row = sample * z..(sample + 1) * z;
            Arch::new().dispatch(Backward {
                dz: &dz[row.clone()],
                sampled: &sampled[row.clone()],
                noise: &noise[row],
                logvar,
                weight: weights[sample],
                share: shares.map(|shares| shares[sample]),
                dmean,
                dlogvar,
            });
        }
    });
}

/// What a sample adds to the gradients of its picture.
struct Backward<'a> {
    dz: &'a [f32],
    sampled: &'a [f32],
    noise: &'a [f32],
    logvar: &'a [f32],
    weight: f32,
    share: Option<f32>,
    dmean: &'a mut [f32],
    dlogvar: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let outputs = self.dmean.iter_mut().zip(self.dlogvar);
        let samples = self.dz.iter().zip(self.sampled).zip(self.noise.iter().zip(self.logvar));
        let w = self.weight;
        match self.share {
            None => {
                for ((dmean, dlogvar), ((&dz, &z), (&noise, &logvar))) in outputs.zip(samples) {
                    let d = dz + w * z;
                    *dmean += d;
                    *dlogvar += 0.5 * (d * math::exp(0.5 * logvar) * noise - w);
                }
            }
            Some(share) => {
                for ((dmean, dlogvar), ((&dz, &z), (&noise, &logvar))) in outputs.zip(samples) {
                    let deviation = math::exp(0.5 * logvar);
                    let d = share * (dz + w * (z - noise / deviation));
                    *dmean += d;
                    *dlogvar += 0.5 * d * deviation * noise;
                }
            }
        }
    }
}
