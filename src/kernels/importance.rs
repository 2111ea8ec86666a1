//! The importance-weighted bound from K samples of q(z|x) a picture, `shaders/importance.wgsl` (Burda, Grosse &
//! Salakhutdinov 2015, arXiv 1509.00519), and its two gradients; and the same for far more samples than fit in memory,
//! some at a time. Row b*K + k holds sample k of picture b.

use bytemuck::{Pod, Zeroable};

use crate::cases::Case;
use crate::kernel::{Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Reference, Shader, Source, grid_1d};
use crate::program::Recorder;
use crate::tensor::Tensor;

mod accelerated;
mod cases;

// ---- Params

/// B pictures, K samples of each, Z latent dimensions.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    k: u32,
    z: u32,
}

fn sizes(p: &[u32]) -> [usize; 3] {
    [0, 1, 2].map(|i| p[i] as usize)
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "importance.wgsl",
    text: include_str!("../../shaders/importance.wgsl"),
    common: &[super::INDEX],
    bindings: &[
        "mean",
        "logvar",
        "noise",
        "recon",
        "z",
        "log_w",
        "shares",
        "weights",
        "dz",
        "sampled",
        "row_log_w",
        "row_bound",
        "row_shares",
        "state",
        "dmean",
        "dlogvar",
    ],
    ..PLAIN_SOURCE
};

/// mean, logvar (B,Z) and noise (B*K,Z) to sampled (B*K,Z), assigned; recorded by [`sample`].
pub static SAMPLE: Kernel = Kernel {
    accelerated: Some(accelerated::sample),
    ..kernel(
        "importance.sample",
        "sample",
        "z[b,k] = mean[b] + e^(logvar[b]/2) * noise[b,k]",
        (&["mean", "logvar", "noise"], &["sampled"]),
        |p, _| grid_1d(p[0] as usize * p[1] as usize * p[2] as usize, 64),
        |p, reads, writes| {
            let [b, k, z] = sizes(p);
            for i in 0..b * k * z {
                let q = i / (k * z) * z + i % z;
                let [mean, logvar, noise] = [reads[0][q], reads[1][q], reads[2][i]].map(f64::from);
                writes[0][i] = (mean + (0.5 * logvar).exp() * noise) as f32;
            }
        },
        cases::sample,
    )
};

/// recon (B*K), logvar (B,Z), noise and z (B*K,Z) to row_log_w (B*K), assigned; recorded by [`log_weights`].
pub static LOG_WEIGHTS: Kernel = Kernel {
    accelerated: Some(accelerated::log_weights),
    ..kernel(
        "importance.log_weights",
        "log_weights",
        "log w = -recon + 1/2 sum_j (noise^2 + logvar - z^2)",
        (&["recon", "logvar", "noise", "z"], &["row_log_w"]),
        |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
        |p, reads, writes| {
            let [b, k, z] = sizes(p);
            for r in 0..b * k {
                let term = |j: usize| {
                    let [logvar, noise, z] =
                        [reads[1][r / k * z + j], reads[2][r * z + j], reads[3][r * z + j]].map(f64::from);
                    0.5 * (noise * noise + logvar - z * z)
                };
                writes[0][r] = ((0..z).map(term).sum::<f64>() - reads[0][r] as f64) as f32;
            }
        },
        cases::log_weights,
    )
};

/// log_w (B*K) to row_bound (B), the negative of it, and row_shares (B*K), both assigned; recorded by [`bound`].
pub static BOUND: Kernel = kernel(
    "importance.bound",
    "bound",
    "bound[b] = log K - log sum_k w_k, shares[b,k] = w_k / sum w",
    (&["log_w"], &["row_bound", "row_shares"]),
    |p, _| grid_1d(p[0] as usize, 64),
    |p, reads, writes| {
        let [b, k, _] = sizes(p);
        for b in 0..b {
            let log_w = &reads[0][b * k..][..k];
            let most = largest(log_w) as f64;
            let sum: f64 = log_w.iter().map(|&log_w| (log_w as f64 - most).exp()).sum();
            for (share, &log_w) in writes[1][b * k..][..k].iter_mut().zip(log_w) {
                *share = ((log_w as f64 - most).exp() / sum) as f32;
            }
            writes[0][b] = ((k as f64).ln() - sum.ln() - most) as f32;
        }
    },
    cases::bound,
);

/// log_w (B*K) into state (B,3), which is updated: the largest log w so far, sum w and sum w^2 relative to it; recorded
/// by [`accumulate`].
pub static ACCUMULATE: Kernel = Kernel {
    gradients: GradientCheck::None("adds to an estimate, which nothing trains"),
    ..kernel(
        "importance.accumulate",
        "accumulate",
        "m' = max(m, log w), s' = s e^(m-m') + sum_k e^(log w_k - m'), t' = t e^(2m-2m') + sum_k e^(2 log w_k - 2m')",
        (&["log_w"], &["state"]),
        |p, _| grid_1d(p[0] as usize, 64),
        |p, reads, writes| {
            let [b, k, _] = sizes(p);
            for b in 0..b {
                let (log_w, state) = (&reads[0][b * k..][..k], &mut writes[0][3 * b..][..3]);
                let [before, sum, squares] = [0, 1, 2].map(|i: usize| state[i] as f64);
                let next = largest(log_w) as f64;
                let most = if next > before { next } else { before };
                let kept = (before - most).exp();
                let w = log_w.iter().map(|&log_w| (log_w as f64 - most).exp());
                state[0] = most as f32;
                state[1] = (sum * kept + w.clone().sum::<f64>()) as f32;
                state[2] = (squares * kept * kept + w.map(|w| w * w).sum::<f64>()) as f32;
            }
        },
        cases::accumulate,
    )
};

/// dz, z, noise (B*K,Z), logvar (B,Z) and weights (B*K) to dmean and dlogvar (B,Z), assigned; recorded by
/// [`backward_iwae`].
pub static BACKWARD_IWAE: Kernel = Kernel {
    accelerated: Some(|p, reads, writes| accelerated::backward(p, reads, reads[4], None, writes)),
    ..kernel(
        "importance.backward_iwae",
        "backward_iwae",
        "d = dz + w z, dmean = sum_k d, dlogvar = sum_k (d e^(logvar/2) noise - w)/2",
        (&["dz", "z", "noise", "logvar", "weights"], &["dmean", "dlogvar"]),
        |p, _| grid_1d(p[0] as usize * p[2] as usize, 64),
        |p, reads, writes| {
            let [_, k, z] = sizes(p);
            each_of_q(p, writes, |q, sample| {
                let (r, i) = (q / z * k + sample, (q / z * k + sample) * z + q % z);
                let [dz, z, noise, logvar, w] =
                    [reads[0][i], reads[1][i], reads[2][i], reads[3][q], reads[4][r]].map(f64::from);
                let d = dz + w * z;
                [d, 0.5 * (d * (0.5 * logvar).exp() * noise - w)]
            });
        },
        cases::backward_iwae,
    )
};

/// The same with shares (B*K) before the weights; recorded by [`backward_dreg`].
pub static BACKWARD_DREG: Kernel = Kernel {
    accelerated: Some(|p, reads, writes| accelerated::backward(p, reads, reads[5], Some(reads[4]), writes)),
    ..kernel(
        "importance.backward_dreg",
        "backward_dreg",
        "d = share (dz + w (z - noise e^(-logvar/2))), dmean = sum_k d, dlogvar = sum_k d e^(logvar/2) noise / 2",
        (&["dz", "z", "noise", "logvar", "shares", "weights"], &["dmean", "dlogvar"]),
        |p, _| grid_1d(p[0] as usize * p[2] as usize, 64),
        |p, reads, writes| {
            let [_, k, z] = sizes(p);
            each_of_q(p, writes, |q, sample| {
                let (r, i) = (q / z * k + sample, (q / z * k + sample) * z + q % z);
                let [dz, z, noise, logvar, share, w] =
                    [reads[0][i], reads[1][i], reads[2][i], reads[3][q], reads[4][r], reads[5][r]].map(f64::from);
                let d = share * (dz + w * (z - noise / (0.5 * logvar).exp()));
                [d, 0.5 * d * (0.5 * logvar).exp() * noise]
            });
        },
        cases::backward_dreg,
    )
};

const fn kernel(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    (reads, writes): (&'static [&'static str], &'static [&'static str]),
    grid: fn(&[u32], &[Constant]) -> [u32; 3],
    reference: Reference,
    cases: fn() -> Vec<Case>,
) -> Kernel {
    Kernel {
        name,
        formula,
        params: &["B", "K", "Z"],
        reads,
        writes,
        shader: Shader { source: &SOURCE, entry, workgroup: [64, 1, 1], grid },
        reference,
        cost: |p| {
            let elements = p[0] as u64 * p[1] as u64 * p[2] as u64;
            Cost { flops: 6 * elements, bytes: 12 * elements }
        },
        cases,
        gradients: GradientCheck::Cases(cases::gradients),
        ..PLAIN
    }
}

// ---- Record

fn params(mean: Tensor, rows: usize, kernel: &str) -> Params {
    let [b, z] = mean.matrix();
    assert!(rows > 0 && rows.is_multiple_of(b), "{kernel}: {rows} rows are not as many of each of {mean:?}");
    Params { b: b as u32, k: (rows / b) as u32, z: z as u32 }
}

/// Samples of N(mean, e^logvar), mean and logvar (B,Z), for noise (B*K,Z): z (B*K,Z), the K of a row one after another.
pub fn sample(r: &mut Recorder, mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor {
    let [rows, z] = noise.matrix();
    let fits = mean.shape() == logvar.shape() && z == mean.matrix()[1];
    assert!(fits, "importance.sample: mean {mean:?}, logvar {logvar:?}, noise {noise:?}");
    let sampled = r.tensor("z", &[rows, z]);
    r.dispatch(&SAMPLE, params(mean, rows, "importance.sample"), &[mean, logvar, noise], &[sampled]);
    sampled
}

/// log p(x|z) + log p(z) - log q(z|x) of each sample in nats, (B*K): recon (B*K) is -log p(x|z), logvar (B,Z) q's,
/// noise and z (B*K,Z) the sample's.
pub fn log_weights(r: &mut Recorder, recon: Tensor, logvar: Tensor, [noise, z]: [Tensor; 2]) -> Tensor {
    let rows = recon.len();
    let fits = noise.shape() == z.shape() && noise.matrix() == [rows, logvar.matrix()[1]];
    assert!(fits, "importance.log_weights: recon {recon:?}, logvar {logvar:?}, noise {noise:?}, z {z:?}");
    let log_w = r.tensor("log_w", &[rows]);
    let params = params(logvar, rows, "importance.log_weights");
    r.dispatch(&LOG_WEIGHTS, params, &[recon, logvar, noise, z], &[log_w]);
    log_w
}

/// -L_K of each of `b` pictures in nats, (B), from log_w (B*K), and each sample's share of the sum of w, (B*K).
pub fn bound(r: &mut Recorder, log_w: Tensor, b: usize) -> (Tensor, Tensor) {
    let rows = log_w.len();
    assert!(rows > 0 && rows.is_multiple_of(b), "importance.bound: log_w {log_w:?} of {b} pictures");
    let (bound, shares) = (r.tensor("bound", &[b]), r.tensor("shares", &[rows]));
    let params = Params { b: b as u32, k: (rows / b) as u32, z: 1 };
    r.dispatch(&BOUND, params, &[log_w], &[bound, shares]);
    (bound, shares)
}

/// Adds samples' log_w (B*K) to what is known of the pictures, state (B,3), which begins as [`EMPTY`] each.
pub fn accumulate(r: &mut Recorder, log_w: Tensor, state: Tensor) {
    let ([b, three], rows) = (state.matrix(), log_w.len());
    let fits = three == 3 && rows > 0 && rows.is_multiple_of(b);
    assert!(fits, "importance.accumulate: log_w {log_w:?}, state {state:?}");
    let params = Params { b: b as u32, k: (rows / b) as u32, z: 1 };
    r.dispatch(&ACCUMULATE, params, &[log_w], &[state]);
}

/// A picture's state before its first sample.
pub const EMPTY: [f32; 3] = [f32::MIN, 0.0, 0.0];

/// (dmean, dlogvar), both (B,Z), of -L_K by the total derivative through z. dz (B*K,Z) is the reconstruction's, of
/// which row r counts as weights\[r\] (B*K): its share, times what the picture counts.
pub fn backward_iwae(r: &mut Recorder, dz: Tensor, [z, noise, logvar]: [Tensor; 3], weights: Tensor) -> [Tensor; 2] {
    backward(r, &BACKWARD_IWAE, &[dz, z, noise, logvar, weights])
}

/// The same, doubly reparameterised (Tucker et al. 2018, arXiv 1810.04152); shares (B*K) are those of [`bound`].
pub fn backward_dreg(
    r: &mut Recorder,
    dz: Tensor,
    [z, noise, logvar]: [Tensor; 3],
    [shares, weights]: [Tensor; 2],
) -> [Tensor; 2] {
    backward(r, &BACKWARD_DREG, &[dz, z, noise, logvar, shares, weights])
}

fn backward(r: &mut Recorder, kernel: &'static Kernel, reads: &[Tensor]) -> [Tensor; 2] {
    let (logvar, rows) = (reads[3], reads[0].matrix()[0]);
    let of_samples = reads[..3].iter().all(|t| t.shape() == [rows, logvar.matrix()[1]]);
    assert!(of_samples && reads[4..].iter().all(|t| t.shape() == [rows]), "{}: {reads:?}", kernel.name);
    let (dmean, dlogvar) = (r.tensor("dmean", logvar.shape()), r.tensor("dlogvar", logvar.shape()));
    r.dispatch(kernel, params(logvar, rows, kernel.name), reads, &[dmean, dlogvar]);
    [dmean, dlogvar]
}

// ---- References

/// The largest; a NaN that is not the first is passed over, and is in the sums.
fn largest(log_w: &[f32]) -> f32 {
    log_w[1..].iter().fold(log_w[0], |most, &next| if next > most { next } else { most })
}

/// dmean and dlogvar of each element q of (B,Z): the sums over the samples of what `terms` gives of (q, sample).
fn each_of_q(p: &[u32], writes: &mut [&mut [f32]], terms: impl Fn(usize, usize) -> [f64; 2]) {
    let [b, k, z] = sizes(p);
    for q in 0..b * z {
        for (which, gradient) in writes.iter_mut().enumerate() {
            gradient[q] = (0..k).map(|sample| terms(q, sample)[which]).sum::<f64>() as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::uniform;

    /// log mean w of samples that came some at a time is that of all of them at once.
    #[test]
    fn parts_add_up_to_the_whole() {
        let log_w = uniform(1, 1000, -130.0, -70.0);
        let (mut bound, mut shares) = ([0.0], vec![0.0; 1000]);
        (BOUND.reference)(&[1, 1000, 1], &[&log_w], &mut [&mut bound, &mut shares]);
        let mut state = EMPTY;
        for part in log_w.chunks(64) {
            (ACCUMULATE.reference)(&[1, part.len() as u32, 1], &[part], &mut [&mut state]);
        }
        let [most, sum, squares] = state.map(f64::from);
        assert!(((1000f64).ln() - sum.ln() - most - bound[0] as f64).abs() < 1e-4, "{state:?} {bound:?}");
        assert!((shares.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        // The effective number of samples, 1 / sum of the squared shares (Kong 1992).
        let effective = shares.iter().map(|&share| (share as f64).powi(2)).sum::<f64>().recip();
        assert!((sum * sum / squares - effective).abs() < 1e-4 * effective);
    }
}
