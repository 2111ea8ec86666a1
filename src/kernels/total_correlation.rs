//! The KL of a batch in three parts, mutual information, total correlation and the KL of each dimension,
//! `shaders/total_correlation.wgsl` (Chen, Li, Grosse & Duvenaud 2018, arXiv 1802.04942), log q(z) by
//! minibatch-weighted sampling (their appendix C.1).

use bytemuck::{Pod, Zeroable};

use super::mixture::{log_density, log_sum};
use super::{clock, mixture};
use crate::cases::Case;
use crate::kernel::{
    Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Reference, Shader, Source, grid_1d, params,
};
use crate::program::Recorder;
use crate::tensor::Tensor;

mod accelerated;
mod cases;

// ---- Params

/// B rows of Z numbers; log(N M) in nats; `scale` multiplies the gradient.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    z: u32,
    log_nm: f32,
    scale: f32,
}

fn sizes(p: &[u32]) -> [usize; 2] {
    [0, 1].map(|i| p[i] as usize)
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "total_correlation.wgsl",
    text: include_str!("../../shaders/total_correlation.wgsl"),
    common: &[super::INDEX, super::CLOCK],
    bindings: &[
        "z",
        "mean",
        "logvar",
        "pairs",
        "sums",
        "clock",
        "log_sums",
        "information",
        "correlation",
        "dimensions",
        "dz",
        "dmean",
        "dlogvar",
    ],
    ..PLAIN_SOURCE
};

/// z, mean and logvar (B,Z), pairs (B,B) to log_sums (B,Z+1), assigned; recorded by [`terms`].
pub static MARGINALS: Kernel = Kernel {
    accelerated: Some(accelerated::marginals),
    ..kernel(
        "total_correlation.marginals",
        "marginals",
        "log_sums[i,d] = log sum_j q(z[i,d]|x_j), log_sums[i,Z] = log sum_j e^pairs[i,j]",
        (&["z", "mean", "logvar", "pairs"], &["log_sums"]),
        |p, _| grid_1d(p[0] as usize * (p[1] as usize + 1), 64),
        |p, reads, writes| {
            let [b, z] = sizes(p);
            for i in 0..b {
                for d in 0..z {
                    writes[0][i * (z + 1) + d] = log_sum((0..b).map(|j| element(reads, z, [i, j, d]))) as f32;
                }
                writes[0][i * (z + 1) + z] = log_sum((0..b).map(|j| f64::from(reads[3][i * b + j]))) as f32;
            }
        },
        cases::marginals,
    )
};

/// z (B,Z), pairs (B,B) and sums (B,Z+1) to information, correlation and dimensions (B), assigned; recorded by
/// [`terms`].
pub static TERMS: Kernel = kernel(
    "total_correlation.terms",
    "terms",
    "information = log q(z|x) - log q(z), correlation = log q(z) - sum_d log q(z_d), dimensions = sum_d log q(z_d) - \
     log p(z), log q(z) = sums[i,Z] - log NM, log q(z_d) = sums[i,d] - log NM",
    (&["z", "pairs", "sums"], &["information", "correlation", "dimensions"]),
    |p, _| grid_1d(p[0] as usize, 64),
    |p, reads, writes| {
        let [b, z] = sizes(p);
        let log_nm = f64::from(params::<Params>(p).log_nm);
        for i in 0..b {
            let sums = &reads[2][i * (z + 1)..][..z + 1];
            let marginal: f64 = sums[..z].iter().map(|&sum| f64::from(sum) - log_nm).sum();
            let together = f64::from(sums[z]) - log_nm;
            let prior: f64 = reads[0][i * z..][..z].iter().map(|&z| log_density(z, 0.0, 0.0)).sum();
            writes[0][i] = (f64::from(reads[1][i * b + i]) - together) as f32;
            writes[1][i] = (together - marginal) as f32;
            writes[2][i] = (marginal - prior) as f32;
        }
    },
    cases::terms,
);

/// z, mean and logvar (B,Z), pairs (B,B), sums (B,Z+1) and the clock, whose row has beta in the place of the KL weight;
/// dz (B,Z) is added to. Recorded by [`backward`].
pub static BACKWARD_Z: Kernel = Kernel {
    accelerated: Some(accelerated::backward_z),
    ..kernel(
        "total_correlation.backward_z",
        "backward_z",
        "dz += scale (z - sum_j s_ijd (z - mean_j) e^-logvar_j), s_ijd = (beta - 1) (e^(pairs[i,j] - sums[i,Z]) - \
         q(z[i,d]|x_j) e^-sums[i,d])",
        (&["z", "mean", "logvar", "pairs", "sums", "clock"], &["dz"]),
        |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
        |p, reads, writes| {
            let [b, z] = sizes(p);
            for i in 0..b * z {
                let of = |j: usize| {
                    let at = j * z + i % z;
                    let [z_, mean, logvar] = [reads[0][i], reads[1][at], reads[2][at]].map(f64::from);
                    share(reads, [b, z], [i / z, j, i % z]) * (z_ - mean) * (-logvar).exp()
                };
                let sum = f64::from(reads[0][i]) - (0..b).map(of).sum::<f64>();
                writes[0][i] = (f64::from(writes[0][i]) + f64::from(params::<Params>(p).scale) * sum) as f32;
            }
        },
        cases::backward_z,
    )
};

/// z, mean and logvar (B,Z), pairs (B,B), sums (B,Z+1) and the clock to dmean and dlogvar (B,Z), assigned; recorded by
/// [`backward`], before the gradient through z is added.
pub static BACKWARD_Q: Kernel = Kernel {
    accelerated: Some(accelerated::backward_q),
    ..kernel(
        "total_correlation.backward_q",
        "backward_q",
        "dmean_j = scale sum_i s_ijd (z_i - mean) e^-logvar, dlogvar_j = scale/2 (sum_i s_ijd ((z_i - mean)^2 \
         e^-logvar - 1) - 1)",
        (&["z", "mean", "logvar", "pairs", "sums", "clock"], &["dmean", "dlogvar"]),
        |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
        |p, reads, writes| {
            let [b, z] = sizes(p);
            let scale = f64::from(params::<Params>(p).scale);
            for at in 0..b * z {
                let [mean, logvar] = [reads[1][at], reads[2][at]].map(f64::from);
                let (mut to_mean, mut to_logvar) = (0.0, -1.0);
                for i in 0..b {
                    let away = f64::from(reads[0][i * z + at % z]) - mean;
                    let share = share(reads, [b, z], [i, at / z, at % z]);
                    to_mean += share * away * (-logvar).exp();
                    to_logvar += share * (away * away * (-logvar).exp() - 1.0);
                }
                writes[0][at] = (scale * to_mean) as f32;
                writes[1][at] = (0.5 * scale * to_logvar) as f32;
            }
        },
        cases::backward_q,
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
        params: &["B", "Z", "log_nm", "scale"],
        reads,
        writes,
        shader: Shader { source: &SOURCE, entry, workgroup: [64, 1, 1], grid },
        reference,
        cost: |p| {
            let [b, z] = [p[0] as u64, p[1] as u64];
            Cost { flops: 10 * b * b * z, bytes: 4 * (b * b + 5 * b * z) }
        },
        cases,
        gradients: GradientCheck::Cases(cases::gradients),
        ..PLAIN
    }
}

// ---- Record

/// The parts of a batch's KL, and what their backward reads.
pub struct Parts {
    /// Mutual information, total correlation, KL of the dimensions, (B) each, in nats of a row.
    pub terms: [Tensor; 3],
    /// (B,B)
    pairs: Tensor,
    /// (B,Z+1)
    sums: Tensor,
}

/// log q(z|x) - log q(z), log q(z) - sum_d log q(z_d) and sum_d log q(z_d) - log N(z; 0, 1) of each row, for z (B,Z),
/// of which row i is the sample of N(mean_i, e^logvar_i), mean and logvar (B,Z), and `examples` N of the data set.
pub fn terms(r: &mut Recorder, z: Tensor, [mean, logvar]: [Tensor; 2], examples: usize) -> Parts {
    assert!(z.shape() == mean.shape(), "total_correlation: z {z:?}, mean {mean:?}");
    let pairs = mixture::pairs(r, z, [mean, logvar]);
    let [b, width] = z.matrix();
    let params = params_of(z, ((b * examples) as f32).ln(), 1.0);
    let sums = r.tensor("log_sums", &[b, width + 1]);
    r.dispatch(&MARGINALS, params, &[z, mean, logvar, pairs], &[sums]);
    let terms = ["mutual_information", "total_correlation", "dimension_kl"].map(|name| r.tensor(name, &[b]));
    r.dispatch(&TERMS, params, &[z, pairs, sums], &terms);
    Parts { terms, pairs, sums }
}

/// dmean and dlogvar (B,Z) of scale * (mutual information + beta total correlation + KL of the dimensions), the noise
/// fixed and without what z is of them; beta is the clock's KL weight. The gradient of z is added to dz (B,Z).
pub fn backward(
    r: &mut Recorder,
    parts: &Parts,
    [z, dz]: [Tensor; 2],
    [mean, logvar]: [Tensor; 2],
    clock: Tensor,
    scale: f32,
) -> [Tensor; 2] {
    assert!(z.shape() == dz.shape(), "total_correlation.backward: z {z:?}, dz {dz:?}");
    let (params, reads) = (params_of(z, 0.0, scale), [z, mean, logvar, parts.pairs, parts.sums, clock]);
    r.dispatch(&BACKWARD_Z, params, &reads, &[dz]);
    let gradients = ["dmean", "dlogvar"].map(|name| r.tensor(name, mean.shape()));
    r.dispatch(&BACKWARD_Q, params, &reads, &gradients);
    gradients
}

fn params_of(z: Tensor, log_nm: f32, scale: f32) -> Params {
    let [b, z] = z.matrix();
    Params { b: b as u32, z: z as u32, log_nm, scale }
}

// ---- References

/// log q(z_id|x_j)
fn element(reads: &[&[f32]], z: usize, [i, j, d]: [usize; 3]) -> f64 {
    log_density(reads[0][i * z + d], reads[1][j * z + d], reads[2][j * z + d])
}

/// What log q(z_id|x_j) counts in (beta - 1) (log q(z_i) - log q(z_id)).
fn share(reads: &[&[f32]], [b, z]: [usize; 2], [i, j, d]: [usize; 3]) -> f64 {
    let beta = f64::from(clock::Row::read(reads[5]).kl_weight);
    let sums = &reads[4][i * (z + 1)..][..z + 1];
    let together = (f64::from(reads[3][i * b + j]) - f64::from(sums[z])).exp();
    (beta - 1.0) * (together - (element(reads, z, [i, j, d]) - f64::from(sums[d])).exp())
}
