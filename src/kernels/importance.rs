//! The importance-weighted bound from K samples of q(z|x) a picture, `shaders/importance.wgsl` (Burda, Grosse &
//! Salakhutdinov 2015, arXiv 1509.00519), and its two gradients; and the same for far more samples than fit in memory,
//! some at a time. Row b*K + k holds sample k of picture b.

use bytemuck::{Pod, Zeroable};
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::math;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Reference, Shader, Source, grid_1d};
use crate::program::Recorder;
use crate::tensor::Tensor;

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
    accelerated: Some(sample_accelerated),
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
        sample_cases,
    )
};

/// recon (B*K), logvar (B,Z), noise and z (B*K,Z) to row_log_w (B*K), assigned; recorded by [`log_weights`].
pub static LOG_WEIGHTS: Kernel = Kernel {
    accelerated: Some(log_weights_accelerated),
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
        log_weights_cases,
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
    bound_cases,
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
        accumulate_cases,
    )
};

/// dz, z, noise (B*K,Z), logvar (B,Z) and weights (B*K) to dmean and dlogvar (B,Z), assigned; recorded by
/// [`backward_iwae`].
pub static BACKWARD_IWAE: Kernel = Kernel {
    accelerated: Some(|p, reads, writes| backward_accelerated(p, reads, reads[4], None, writes)),
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
        backward_iwae_cases,
    )
};

/// The same with shares (B*K) before the weights; recorded by [`backward_dreg`].
pub static BACKWARD_DREG: Kernel = Kernel {
    accelerated: Some(|p, reads, writes| backward_accelerated(p, reads, reads[5], Some(reads[4]), writes)),
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
        backward_dreg_cases,
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
        gradients: GradientCheck::Cases(gradients),
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

/// log p(x|z) + log p(z) - log q(z|x) of each sample in nats, (B*K): recon (B*K) is -log p(x|z), logvar (B,Z) q's, noise
/// and z (B*K,Z) the sample's.
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

/// (dmean, dlogvar), both (B,Z), of -L_K by the total derivative through z. dz (B*K,Z) is the reconstruction's, of which
/// row r counts as weights\[r\] (B*K): its share, times what the picture counts.
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

// ---- Accelerated

fn sample_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, k, z] = sizes(p);
    let rows = writes[0][..b * k * z].par_chunks_mut(z).zip(reads[2].par_chunks(z)).enumerate();
    rows.with_min_len((super::CHUNK / z).max(1)).for_each(|(r, (sampled, noise))| {
        let q = r / k * z..(r / k + 1) * z;
        sampled.copy_from_slice(&reads[0][q.clone()]);
        math::update_pairs(sampled, [&reads[1][q], noise], |mean, logvar, noise| {
            mean + math::exp(0.5 * logvar) * noise
        });
    });
}

fn log_weights_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, k, z] = sizes(p);
    let rows = writes[0][..b * k].par_iter_mut().with_min_len((super::CHUNK / z).max(1)).enumerate();
    rows.zip(reads[2].par_chunks(z).zip(reads[3].par_chunks(z))).for_each(|((r, log_w), (noise, sampled))| {
        let logvar = &reads[1][r / k * z..][..z];
        let densities = math::sum_pairs([noise, sampled], |noise, z| noise * noise - z * z);
        *log_w = 0.5 * (densities + math::sum_pairs([logvar, logvar], |logvar, _| logvar)) - reads[0][r];
    });
}

/// Both estimators; the doubly reparameterised one has shares. Threads share the pictures.
fn backward_accelerated(
    p: &[u32],
    reads: &[&[f32]],
    weights: &[f32],
    shares: Option<&[f32]>,
    writes: &mut [&mut [f32]],
) {
    let [b, k, z] = sizes(p);
    let [dmean, dlogvar] = writes else { unreachable!("both gradients are written") };
    let outputs = dmean[..b * z].par_chunks_mut(z).zip(dlogvar[..b * z].par_chunks_mut(z)).enumerate();
    outputs.with_min_len((super::CHUNK / (k * z)).max(1)).for_each(|(b, (dmean, dlogvar))| {
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

// ---- Cases

/// (B, K, Z): one of each, odd sizes, Burda's latent, several workgroups.
const SIZES: [[usize; 3]; 5] = [[1, 1, 1], [17, 3, 5], [3, 65, 2], [20, 5, 50], [65, 17, 3]];

fn case([b, k, z]: [usize; 3]) -> Case {
    Case::new(format!("{b} of {k}x{z}"), Params { b: b as u32, k: k as u32, z: z as u32 })
}

fn sample_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(1e-6, "exp of an argument of size 2: 3 + 2|x| ulp");
    let of = |[b, k, z]: [usize; 3]| {
        case([b, k, z])
            .read(uniform(1, b * z, -2.0, 2.0))
            .read(uniform(2, b * z, -4.0, 4.0))
            .read(uniform(3, b * k * z, -3.0, 3.0))
            .assign(b * k * z, tolerance)
    };
    SIZES.map(of).into()
}

fn log_weights_cases() -> Vec<Case> {
    let of = |[b, k, z]: [usize; 3]| {
        case([b, k, z])
            .read(uniform(1, b * k, 0.0, 1.0))
            .read(uniform(2, b * z, -1.0, 1.0))
            .read(uniform(3, b * k * z, -1.0, 1.0))
            .read(uniform(4, b * k * z, -1.0, 1.0))
            .assign(b * k, Tolerance::Dot(3 * z))
    };
    SIZES.map(of).into()
}

/// Log weights of -10 to 10, and of what a picture of 784 pixels has.
fn log_w(seed: u64, b: usize, k: usize) -> [Vec<f32>; 2] {
    [uniform(seed, b * k, -10.0, 10.0), uniform(seed, b * k, -120.0, -80.0)]
}

const EXPONENTIALS: Tolerance =
    Tolerance::Because(4e-6, "exp of differences of up to 40, themselves rounded, and a log of their sum");

fn bound_cases() -> Vec<Case> {
    let of = |[b, k, _]: [usize; 3]| {
        log_w(5, b, k).map(|log_w| case([b, k, 1]).read(log_w).assign(b, EXPONENTIALS).assign(b * k, EXPONENTIALS))
    };
    SIZES.into_iter().flat_map(of).collect()
}

/// Of pictures of which nothing was known, and of such with a larger or a smaller maximum.
fn accumulate_cases() -> Vec<Case> {
    let of = |[b, k, _]: [usize; 3]| {
        let known = |b: usize| if b.is_multiple_of(3) { EMPTY } else { [(b % 7) as f32 * 4.0 - 12.0, 2.5, 1.5] };
        let [log_w, _] = log_w(6, b, k);
        case([b, k, 1]).read(log_w).update((0..b).flat_map(known).collect(), EXPONENTIALS)
    };
    SIZES.map(of).into()
}

const BACKWARD: Tolerance = Tolerance::Because(4e-6, "a sum of up to 65 products with an exp of size up to e");

fn backward_reads([b, k, z]: [usize; 3]) -> Case {
    let case = [7, 8, 9].into_iter().fold(case([b, k, z]), |case, seed| case.read(uniform(seed, b * k * z, -1.0, 1.0)));
    case.read(uniform(10, b * z, -1.0, 1.0))
}

fn backward_iwae_cases() -> Vec<Case> {
    let of = |[b, k, z]: [usize; 3]| {
        let case = backward_reads([b, k, z]).read(uniform(11, b * k, 0.0, 1.0));
        case.assign(b * z, BACKWARD).assign(b * z, BACKWARD)
    };
    SIZES.map(of).into()
}

fn backward_dreg_cases() -> Vec<Case> {
    let of = |[b, k, z]: [usize; 3]| {
        let case = backward_reads([b, k, z]).read(uniform(12, b * k, 0.0, 1.0)).read(uniform(11, b * k, 0.0, 1.0));
        case.assign(b * z, BACKWARD).assign(b * z, BACKWARD)
    };
    SIZES.map(of).into()
}

// ---- Gradients

/// For the finite-difference check: the bound with a reconstruction that depends on z, and the objective whose gradient
/// the doubly reparameterised one is.
fn gradients() -> Vec<GradientCase> {
    const B: usize = 3;
    const K: usize = 4;
    const Z: usize = 2;
    let inputs = || vec![(vec![B, Z], uniform(1, B * Z, -1.0, 1.0)), (vec![B, Z], uniform(2, B * Z, -0.5, 0.5))];
    let words = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<u32>>();
    let samples = |seed, low, high| words(uniform(seed, B * K * Z, low, high));
    let matrix = |tensor: Tensor| tensor.reshape(&[B * K, Z]);
    vec![
        GradientCase {
            label: "importance".into(),
            inputs: inputs(),
            output: vec![B],
            record: Box::new(move |r, inputs, dy| {
                let [mean, logvar, noise, x] = [inputs[0], inputs[1], matrix(inputs[2]), matrix(inputs[3])];
                let z = sample(r, mean, logvar, noise);
                let recon = super::mse::loss(r, z, x, 0.8);
                let log_w = log_weights(r, recon, logvar, [noise, z]);
                let (bound, shares) = bound(r, log_w, B);
                let weights = super::joint::weigh(r, shares.reshape(&[B, K]), dy).reshape(&[B * K]);
                let dz = super::mse::backward(r, z, x, 0.8, 1.0);
                let dz = super::joint::weigh(r, dz, weights);
                (bound, backward_iwae(r, dz, [z, noise, logvar], weights).into())
            }),
            state: vec![("noise", samples(3, -2.0, 2.0)), ("x", samples(4, -1.0, 1.0))],
        },
        // q's density is that of the state, which the inputs do not move: -sum_k share^2 log w_k.
        GradientCase {
            label: "importance, doubly reparameterised".into(),
            inputs: inputs(),
            output: vec![B],
            record: Box::new(move |r, inputs, dy| {
                let [mean, logvar, noise, x] = [inputs[0], inputs[1], matrix(inputs[2]), matrix(inputs[3])];
                let [still_logvar, still_mean, precision, shares] =
                    [inputs[4].reshape(&[B, Z]), matrix(inputs[5]), matrix(inputs[6]), inputs[7]];
                let z = sample(r, mean, logvar, noise);
                let recon = super::mse::loss(r, z, x, 0.8);
                let away = super::joint::add(r, z, still_mean, -1.0);
                let still_noise = super::joint::multiply(r, away, precision);
                let log_w = log_weights(r, recon, still_logvar, [still_noise, z]);
                let squares = super::joint::multiply(r, shares, shares);
                let counted = super::joint::multiply(r, squares, log_w).reshape(&[B, K]);
                let sum = super::reduce::rows(r, counted);
                let y = super::joint::scale(r, sum, -1.0);
                let weights = super::joint::weigh(r, shares.reshape(&[B, K]), dy).reshape(&[B * K]);
                let dz = super::mse::backward(r, z, x, 0.8, 1.0);
                let dz = super::joint::weigh(r, dz, weights);
                (y, backward_dreg(r, dz, [z, noise, logvar], [shares, weights]).into())
            }),
            state: {
                let [(_, mean), (_, logvar)] = inputs().try_into().expect("two inputs");
                let repeated = |values: &[f32]| values.chunks(Z).flat_map(|row| row.repeat(K)).collect::<Vec<f32>>();
                let precision = repeated(&logvar).into_iter().map(|logvar| (-0.5 * logvar).exp()).collect();
                vec![
                    ("noise", samples(3, -2.0, 2.0)),
                    ("x", samples(4, -1.0, 1.0)),
                    ("still_logvar", words(logvar)),
                    ("still_mean", words(repeated(&mean))),
                    ("precision", words(precision)),
                    ("shares", words(uniform(5, B * K, 0.1, 0.9))),
                ]
            },
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

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
