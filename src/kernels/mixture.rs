//! Log densities of rows under K diagonal Gaussians, and the mixture of these as a prior, `shaders/mixture.wgsl` (the
//! VampPrior of Tomczak & Welling 2018, arXiv 1705.07120): its log density, the KL from q(z|x) by one sample, and the
//! gradient of that to the sample, to q and to the components.

use std::f64::consts::TAU;

use bytemuck::{Pod, Zeroable};

use super::{clock, fill};
use crate::cases::Case;
use crate::kernel::{
    Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Reference, Shader, Source, grid_1d, params,
};
use crate::program::Recorder;
use crate::tensor::Tensor;

mod accelerated;
mod cases;

pub(super) use accelerated::{exponentials, precisions};

// ---- Params

/// B rows, K Gaussians, Z numbers of a row; `scale` multiplies the gradient beside the KL weight of the step.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    k: u32,
    z: u32,
    scale: f32,
}

fn sizes(p: &[u32]) -> [usize; 3] {
    [0, 1, 2].map(|i| p[i] as usize)
}

/// scale * kl_weight
fn weight(p: &[u32], clock: &[f32]) -> f64 {
    f64::from(params::<Params>(p).scale) * f64::from(clock::Row::read(clock).kl_weight)
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "mixture.wgsl",
    text: include_str!("../../shaders/mixture.wgsl"),
    common: &[super::INDEX, super::CLOCK],
    bindings: &[
        "z",
        "mean",
        "logvar",
        "log_pairs",
        "shares",
        "log_p",
        "noise",
        "q_logvar",
        "clock",
        "pair_densities",
        "row_log_p",
        "row_shares",
        "row_kl",
        "dz",
        "q_dlogvar",
        "dmean",
        "dlogvar",
    ],
    ..PLAIN_SOURCE
};

/// z (B,Z), mean and logvar (K,Z) to pair_densities (B,K), assigned; recorded by [`pairs`].
pub static PAIRS: Kernel = Kernel {
    accelerated: Some(accelerated::pairs),
    ..kernel(
        "mixture.pairs",
        "pairs",
        "pair[b,k] = -sum_j (log 2 pi + logvar[k,j] + (z[b,j] - mean[k,j])^2 e^-logvar[k,j])/2",
        (&["z", "mean", "logvar"], &["pair_densities"]),
        |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
        |p, reads, writes| {
            let [b, k, z] = sizes(p);
            for i in 0..b * k {
                let (row, component) = (i / k * z, i % k * z);
                let of = |j: usize| log_density(reads[0][row + j], reads[1][component + j], reads[2][component + j]);
                writes[0][i] = (0..z).map(of).sum::<f64>() as f32;
            }
        },
        cases::pairs,
    )
};

/// log_pairs (B,K) to row_log_p (B) and row_shares (B,K), both assigned; recorded by [`density`].
pub static DENSITY: Kernel = Kernel {
    accelerated: Some(accelerated::density),
    ..kernel(
        "mixture.density",
        "density",
        "log_p[b] = log sum_k e^pair[b,k] - log K, shares[b,k] = e^pair[b,k] / sum",
        (&["log_pairs"], &["row_log_p", "row_shares"]),
        |p, _| grid_1d(p[0] as usize, 64),
        |p, reads, writes| {
            let [b, k, _] = sizes(p);
            for b in 0..b {
                let pairs = &reads[0][b * k..][..k];
                let log_sum = log_sum(pairs.iter().map(|&pair| f64::from(pair)));
                for (share, &pair) in writes[1][b * k..][..k].iter_mut().zip(pairs) {
                    *share = (f64::from(pair) - log_sum).exp() as f32;
                }
                writes[0][b] = (log_sum - (k as f64).ln()) as f32;
            }
        },
        cases::density,
    )
};

/// noise and q_logvar (B,Z), log_p (B) to row_kl (B), assigned; recorded by [`kl`].
pub static KL: Kernel = kernel(
    "mixture.kl",
    "kl",
    "kl[b] = -sum_j (log 2 pi + q_logvar[b,j] + noise[b,j]^2)/2 - log_p[b]",
    (&["noise", "q_logvar", "log_p"], &["row_kl"]),
    |p, _| grid_1d(p[0] as usize, 64),
    |p, reads, writes| {
        let [b, _, z] = sizes(p);
        for b in 0..b {
            let of = |i: usize| -0.5 * (TAU.ln() + f64::from(reads[1][i]) + f64::from(reads[0][i]).powi(2));
            writes[0][b] = ((b * z..(b + 1) * z).map(of).sum::<f64>() - f64::from(reads[2][b])) as f32;
        }
    },
    cases::kl,
);

/// z (B,Z), mean and logvar (K,Z), shares (B,K) and the clock, whose row has the KL weight; dz (B,Z) is added to,
/// q_dlogvar (B,Z) is assigned. Recorded by [`backward`], before the gradient through z is added.
pub static BACKWARD_Z: Kernel = Kernel {
    accelerated: Some(accelerated::backward_z),
    ..kernel(
        "mixture.backward_z",
        "backward_z",
        "dz += w sum_k share (z - mean) e^-logvar, q_dlogvar = -w/2, w = scale * kl_weight",
        (&["z", "mean", "logvar", "shares", "clock"], &["dz", "q_dlogvar"]),
        |p, _| grid_1d(p[0] as usize * p[2] as usize, 64),
        |p, reads, writes| {
            let [b, k, z] = sizes(p);
            let w = weight(p, reads[4]);
            for i in 0..b * z {
                let of = |k_: usize| {
                    let c = k_ * z + i % z;
                    let [at, mean, logvar] = [reads[0][i], reads[1][c], reads[2][c]].map(f64::from);
                    f64::from(reads[3][i / z * k + k_]) * (at - mean) * (-logvar).exp()
                };
                writes[0][i] = (f64::from(writes[0][i]) + w * (0..k).map(of).sum::<f64>()) as f32;
                writes[1][i] = (-0.5 * w) as f32;
            }
        },
        cases::backward_z,
    )
};

/// z (B,Z), mean and logvar (K,Z), shares (B,K) and the clock to dmean and dlogvar (K,Z), assigned; recorded by
/// [`backward`].
pub static BACKWARD_COMPONENTS: Kernel = Kernel {
    accelerated: Some(accelerated::backward_components),
    ..kernel(
        "mixture.backward_components",
        "backward_components",
        "dmean = -w sum_b share (z - mean) e^-logvar, dlogvar = -w/2 sum_b share ((z - mean)^2 e^-logvar - 1), \
         w = scale * kl_weight",
        (&["z", "mean", "logvar", "shares", "clock"], &["dmean", "dlogvar"]),
        |p, _| grid_1d(p[1] as usize * p[2] as usize, 64),
        |p, reads, writes| {
            let [b, k, z] = sizes(p);
            let w = weight(p, reads[4]);
            for c in 0..k * z {
                let [mean, logvar] = [reads[1][c], reads[2][c]].map(f64::from);
                let (mut to_mean, mut to_logvar) = (0.0, 0.0);
                for b in 0..b {
                    let share = f64::from(reads[3][b * k + c / z]);
                    let away = f64::from(reads[0][b * z + c % z]) - mean;
                    to_mean += share * away * (-logvar).exp();
                    to_logvar += share * (away * away * (-logvar).exp() - 1.0);
                }
                writes[0][c] = (-w * to_mean) as f32;
                writes[1][c] = (-0.5 * w * to_logvar) as f32;
            }
        },
        cases::backward_components,
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
        params: &["B", "K", "Z", "scale"],
        reads,
        writes,
        shader: Shader { source: &SOURCE, entry, workgroup: [64, 1, 1], grid },
        reference,
        cost: |p| {
            let [b, k, z] = [p[0] as u64, p[1] as u64, p[2] as u64];
            Cost { flops: 6 * b * k * z, bytes: 4 * (b * k + b * z + k * z) }
        },
        cases,
        gradients: GradientCheck::Cases(cases::gradients),
        ..PLAIN
    }
}

// ---- Record

/// log N(z_b; mean_k, e^logvar_k) in nats, (B,K), of z (B,Z), mean and logvar (K,Z).
pub fn pairs(r: &mut Recorder, z: Tensor, [mean, logvar]: [Tensor; 2]) -> Tensor {
    let params = params_of(z, [mean, logvar], 1.0, "mixture.pairs");
    let pairs = r.tensor("pairs", &[params.b as usize, params.k as usize]);
    r.dispatch(&PAIRS, params, &[z, mean, logvar], &[pairs]);
    pairs
}

/// log p(z) of each row in nats, (B), of the mixture whose [`pairs`] (B,K) these are, and each component's share of
/// p(z), (B,K).
pub fn density(r: &mut Recorder, pairs: Tensor) -> [Tensor; 2] {
    let [b, k] = pairs.matrix();
    let (log_p, shares) = (r.tensor("log_p", &[b]), r.tensor("shares", &[b, k]));
    r.dispatch(&DENSITY, Params { b: b as u32, k: k as u32, z: 1, scale: 1.0 }, &[pairs], &[log_p, shares]);
    [log_p, shares]
}

/// log q(z|x) - log p(z) of each row in nats, (B): noise and q's logvar (B,Z), log_p (B) of the sample.
pub fn kl(r: &mut Recorder, noise: Tensor, logvar: Tensor, log_p: Tensor) -> Tensor {
    let [b, z] = logvar.matrix();
    let fits = noise.shape() == logvar.shape() && log_p.shape() == [b];
    assert!(fits, "mixture.kl: noise {noise:?}, logvar {logvar:?}, log_p {log_p:?}");
    let kl = r.tensor("kl", &[b]);
    let params = Params { b: b as u32, k: 1, z: z as u32, scale: 1.0 };
    r.dispatch(&KL, params, &[noise, logvar, log_p], &[kl]);
    kl
}

/// The gradients of scale * kl_weight times the sum of [`kl`], the noise fixed: to q's mean and logvar (B,Z), without
/// what z is of them, and to the components' (K,Z). That of z is added to dz (B,Z).
pub fn backward(
    r: &mut Recorder,
    [z, shares, dz]: [Tensor; 3],
    components: [Tensor; 2],
    clock: Tensor,
    scale: f32,
) -> [[Tensor; 2]; 2] {
    let params = params_of(z, components, scale, "mixture.backward");
    let fits = shares.shape() == [params.b as usize, params.k as usize] && dz.shape() == z.shape();
    assert!(fits, "mixture.backward: z {z:?}, shares {shares:?}, dz {dz:?}");
    let reads = [z, components[0], components[1], shares, clock];
    let of_q = ["dmean", "dlogvar"].map(|name| r.tensor(name, z.shape()));
    fill::forward(r, of_q[0], 0.0); // the mean moves z alone
    r.dispatch(&BACKWARD_Z, params, &reads, &[dz, of_q[1]]);
    let of_components = ["dmean", "dlogvar"].map(|name| r.tensor(name, components[0].shape()));
    r.dispatch(&BACKWARD_COMPONENTS, params, &reads, &of_components);
    [of_q, of_components]
}

fn params_of(z: Tensor, [mean, logvar]: [Tensor; 2], scale: f32, kernel: &str) -> Params {
    let ([b, width], [k, z_]) = (z.matrix(), mean.matrix());
    let fits = width == z_ && mean.shape() == logvar.shape();
    assert!(fits, "{kernel}: z {z:?}, mean {mean:?}, logvar {logvar:?}");
    Params { b: b as u32, k: k as u32, z: z_ as u32, scale }
}

// ---- References

/// log N(z; mean, e^logvar)
pub(super) fn log_density(z: f32, mean: f32, logvar: f32) -> f64 {
    let [z, mean, logvar] = [z, mean, logvar].map(f64::from);
    -0.5 * (TAU.ln() + logvar + (z - mean).powi(2) * (-logvar).exp())
}

/// log sum e^term, from the largest on; a NaN that is not the first is passed over as that, and is in the sum.
pub(super) fn log_sum(terms: impl Iterator<Item = f64> + Clone) -> f64 {
    let most = terms.clone().reduce(|most, next| if next > most { next } else { most }).expect("some terms");
    most + terms.map(|term| (term - most).exp()).sum::<f64>().ln()
}
