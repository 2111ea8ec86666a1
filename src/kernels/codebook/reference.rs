//! The codes that averages move, and what the references share.

use super::Params;
use crate::kernel::params;

/// Of the counts, in Laplace's smoothing.
const EPSILON: f64 = 1e-5;

pub(super) fn squared(z: &[f32], code: &[f32]) -> f64 {
    z.iter().zip(code).map(|(&z, &e)| (f64::from(z) - f64::from(e)).powi(2)).sum()
}

/// The vector of a batch that code `k` is put onto at this step: codes that restart together get different ones, where
/// 7919 does not divide R.
pub(super) fn restart_row(k: u32, step: u32, rows: u32) -> usize {
    (k.wrapping_mul(7919).wrapping_add(step.wrapping_mul(104_729)) % rows) as usize
}

/// In nats, of counts of so many.
pub(super) fn entropy(counts: &[f32], total: f64) -> f64 {
    let shares = counts.iter().map(|&count| f64::from(count) / total).filter(|&p| p > 0.0);
    -shares.map(|p| p * p.ln()).sum::<f64>()
}

pub(super) fn update(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let Params { decay, restart, .. } = params::<Params>(p);
    let [r, d, k] = params::<Params>(p).sizes();
    let (decay, step) = (f64::from(decay), reads[3][2].to_bits());
    let equal = r as f64 / k as f64;
    let [n, m, codes] = writes else { unreachable!("codebook.update writes n, m and codes") };
    for code in 0..k {
        let count = decay * f64::from(n[code]) + (1.0 - decay) * f64::from(reads[0][code]);
        let restarts = count < f64::from(restart) * equal;
        let row = &reads[2][restart_row(code as u32, step, r as u32) * d..][..d];
        for (m, (&sum, &z)) in m[code * d..][..d].iter_mut().zip(reads[1][code * d..][..d].iter().zip(row)) {
            let average = decay * f64::from(*m) + (1.0 - decay) * f64::from(sum);
            *m = if restarts { equal * f64::from(z) } else { average } as f32;
        }
        n[code] = if restarts { equal } else { count } as f32;
    }
    let total: f64 = n[..k].iter().map(|&n| f64::from(n)).sum();
    for (code, &n) in n[..k].iter().enumerate() {
        let smoothed = (f64::from(n) + EPSILON) / (total + k as f64 * EPSILON) * total;
        for i in code * d..(code + 1) * d {
            codes[i] = (f64::from(m[i]) / smoothed) as f32;
        }
    }
}
