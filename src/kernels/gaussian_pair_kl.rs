//! KL(N(mean_q, e^logvar_q) || N(mean_p, e^logvar_p)) by row, `shaders/gaussian_pair_kl.wgsl`: of a prior that a
//! network gives, as that of a level of a ladder, or of a step of a sequence.

use bytemuck::{Pod, Zeroable};

use super::rows::Rows;
use super::threads::chunks;
use super::{CHUNK, clock, math};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{
    Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Reference, Shader, Source, grid_1d, params,
};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// `scale` multiplies the gradient beside the KL weight of the step.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    z: u32,
    scale: f32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "gaussian_pair_kl.wgsl",
    text: include_str!("../../shaders/gaussian_pair_kl.wgsl"),
    common: &[super::INDEX, super::CLOCK],
    bindings: &["mean_q", "logvar_q", "mean_p", "logvar_p", "clock", "row_kl", "dmean", "dlogvar"],
    ..PLAIN_SOURCE
};

/// mean_q, logvar_q, mean_p, logvar_p (B,Z) to row_kl (B) in nats summed over the dimensions, assigned; recorded by
/// [`rows`].
pub static ROWS: Kernel = Kernel {
    accelerated: Some(rows_accelerated),
    ..kernel(
        "gaussian_pair_kl.rows",
        "rows",
        "row_kl[r] = sum_j (e^d - 1 - d + (mean_q - mean_p)^2 e^-logvar_p)/2, d = logvar_q - logvar_p",
        (&["mean_q", "logvar_q", "mean_p", "logvar_p"], &["row_kl"]),
        |p, _| grid_1d(p[0] as usize, 64),
        |p, reads, writes| {
            let [b, z] = [p[0] as usize, p[1] as usize];
            for r in 0..b {
                let terms = (r * z..(r + 1) * z).map(|i| divergence([0, 1, 2, 3].map(|t| reads[t][i] as f64)));
                writes[0][r] = terms.sum::<f64>() as f32;
            }
        },
        rows_cases,
    )
};

/// The four of [`ROWS`], and the clock, whose row has the KL weight, to dmean and dlogvar of q (B,Z), assigned;
/// recorded by [`backward_q`], before the gradient through z is added.
pub static BACKWARD_Q: Kernel = Kernel {
    accelerated: Some(backward_q_accelerated),
    ..kernel(
        "gaussian_pair_kl.backward_q",
        "backward_q",
        "dmean = w (mean_q - mean_p) e^-logvar_p, dlogvar = w (e^(logvar_q - logvar_p) - 1)/2, w = scale * kl_weight",
        (&["mean_q", "logvar_q", "mean_p", "logvar_p", "clock"], &["dmean", "dlogvar"]),
        |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
        |p, reads, writes| {
            let p: Params = params(p);
            let w = p.scale as f64 * clock::Row::read(reads[4]).kl_weight as f64;
            for i in 0..p.b as usize * p.z as usize {
                let [mean_q, logvar_q, mean_p, logvar_p] = [0, 1, 2, 3].map(|t| reads[t][i] as f64);
                writes[0][i] = (w * (mean_q - mean_p) * (-logvar_p).exp()) as f32;
                writes[1][i] = (0.5 * w * (logvar_q - logvar_p).exp_m1()) as f32;
            }
        },
        backward_cases,
    )
};

/// The same to dmean and dlogvar of p (B,Z), assigned; recorded by [`backward_p`].
pub static BACKWARD_P: Kernel = Kernel {
    accelerated: Some(backward_p_accelerated),
    ..kernel(
        "gaussian_pair_kl.backward_p",
        "backward_p",
        "dmean = -w m e^-logvar_p, dlogvar = w (1 - e^(logvar_q - logvar_p) - m^2 e^-logvar_p)/2, m = mean_q - mean_p",
        (&["mean_q", "logvar_q", "mean_p", "logvar_p", "clock"], &["dmean", "dlogvar"]),
        |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
        |p, reads, writes| {
            let p: Params = params(p);
            let w = p.scale as f64 * clock::Row::read(reads[4]).kl_weight as f64;
            for i in 0..p.b as usize * p.z as usize {
                let [mean_q, logvar_q, mean_p, logvar_p] = [0, 1, 2, 3].map(|t| reads[t][i] as f64);
                let (m, precision) = (mean_q - mean_p, (-logvar_p).exp());
                writes[0][i] = (-w * m * precision) as f32;
                writes[1][i] = (-0.5 * w * ((logvar_q - logvar_p).exp_m1() + m * m * precision)) as f32;
            }
        },
        backward_cases,
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
        params: &["B", "Z", "scale"],
        reads,
        writes,
        shader: Shader { source: &SOURCE, entry, workgroup: [64, 1, 1], grid },
        reference,
        cost: |p| Cost { flops: 9 * p[0] as u64 * p[1] as u64, bytes: 20 * p[0] as u64 * p[1] as u64 },
        cases,
        gradients: GradientCheck::Cases(gradients),
        ..PLAIN
    }
}

/// KL(N(mean_q, e^logvar_q) || N(mean_p, e^logvar_p)) in nats.
fn divergence([mean_q, logvar_q, mean_p, logvar_p]: [f64; 4]) -> f64 {
    let (d, m) = (logvar_q - logvar_p, mean_q - mean_p);
    0.5 * (d.exp_m1() - d + m * m * (-logvar_p).exp())
}

// ---- Record

fn sizes(q: [Tensor; 2], p: [Tensor; 2], scale: f32) -> Params {
    let [mean, logvar] = q;
    let fits = [logvar, p[0], p[1]].iter().all(|t| t.shape() == mean.shape());
    assert!(fits, "gaussian_pair_kl: q {q:?}, p {p:?}");
    let [b, z] = mean.matrix();
    Params { b: b as u32, z: z as u32, scale }
}

/// KL(q || p) of each row in nats, summed over the dimensions: q and p are mean and logvar, (B,Z) each, to (B).
pub fn rows(r: &mut Recorder, q: [Tensor; 2], p: [Tensor; 2]) -> Tensor {
    let params = sizes(q, p, 1.0);
    let kl = r.tensor("kl", &[params.b as usize]);
    r.dispatch(&ROWS, params, &[q[0], q[1], p[0], p[1]], &[kl]);
    kl
}

/// dmean and dlogvar of q, (B,Z) each and assigned, of the clock's kl_weight times the [`rows`], of which each counts
/// as `weight` says.
pub fn backward_q(r: &mut Recorder, q: [Tensor; 2], p: [Tensor; 2], clock: Tensor, weight: Rows) -> [Tensor; 2] {
    backward(r, &BACKWARD_Q, [q, p], clock, weight)
}

/// The same of p.
pub fn backward_p(r: &mut Recorder, q: [Tensor; 2], p: [Tensor; 2], clock: Tensor, weight: Rows) -> [Tensor; 2] {
    backward(r, &BACKWARD_P, [q, p], clock, weight)
}

fn backward(
    r: &mut Recorder,
    kernel: &'static Kernel,
    [q, p]: [[Tensor; 2]; 2],
    clock: Tensor,
    weight: Rows,
) -> [Tensor; 2] {
    weight.apply(r, |r, scale| {
        let gradients = ["dmean", "dlogvar"].map(|name| r.tensor(name, q[0].shape()));
        r.dispatch(kernel, sizes(q, p, scale), &[q[0], q[1], p[0], p[1], clock], &gradients);
        gradients
    })
}

// ---- Accelerated

fn rows_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, z] = [p[0] as usize, p[1] as usize];
    chunks([(&mut writes[0][..b], 1)], (CHUNK / z).max(1), |r, [kl]| {
        let term = |i: usize| {
            let [mean_q, logvar_q, mean_p, logvar_p] = [0, 1, 2, 3].map(|t| reads[t][i]);
            let (d, m) = (logvar_q - logvar_p, mean_q - mean_p);
            f64::from(0.5 * (math::expm1(d) - d + m * m * math::exp(-logvar_p)))
        };
        kl[0] = (r * z..(r + 1) * z).map(term).sum::<f64>() as f32;
    });
}

fn backward_q_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    backward_accelerated(p, reads, writes, |w, [mean_q, logvar_q, mean_p, logvar_p]| {
        [w * (mean_q - mean_p) * math::exp(-logvar_p), 0.5 * w * math::expm1(logvar_q - logvar_p)]
    });
}

fn backward_p_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    backward_accelerated(p, reads, writes, |w, [mean_q, logvar_q, mean_p, logvar_p]| {
        let (m, precision) = (mean_q - mean_p, math::exp(-logvar_p));
        [-w * m * precision, -0.5 * w * (math::expm1(logvar_q - logvar_p) + m * m * precision)]
    });
}

#[inline(always)]
fn backward_accelerated(
    p: &[u32],
    reads: &[&[f32]],
    writes: &mut [&mut [f32]],
    gradients: impl Fn(f32, [f32; 4]) -> [f32; 2] + Sync + Copy,
) {
    let p: Params = params(p);
    let w = p.scale * clock::Row::read(reads[4]).kl_weight;
    let inputs = [reads[0], reads[1], reads[2], reads[3]];
    math::map_all(p.b as usize * p.z as usize, writes, inputs, move |values| gradients(w, values));
}

// ---- Cases

/// (B, Z): the levels of the preset, odd sizes.
const SIZES: [[usize; 2]; 5] = [[1, 1], [128, 32], [65, 3], [17, 65], [257, 10]];

fn inputs([b, z]: [usize; 2]) -> Case {
    let of = |seed, size: f32| uniform(seed, b * z, -size, size);
    let case = Case::new(format!("{b}x{z}"), Params { b: b as u32, z: z as u32, scale: 0.7 });
    case.read(of(1, 1.0)).read(of(2, 2.0)).read(of(3, 1.0)).read(of(4, 2.0))
}

fn rows_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-6, "exponentials of arguments of size 4, summed up");
    SIZES.map(|size| inputs(size).assign(size[0], tolerance)).into()
}

fn backward_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(3e-6, "exp of arguments of size 4, and exp - 1 near 0");
    let case = |[b, z]: [usize; 2]| {
        let case = inputs([b, z]).read_words(clock::Clock::example().words());
        case.assign(b * z, tolerance).assign(b * z, tolerance)
    };
    SIZES.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: to both distributions, each row with a weight of its own.
fn gradients() -> Vec<GradientCase> {
    let input = |seed| (vec![5, 3], uniform(seed, 15, -1.0, 1.0));
    vec![GradientCase {
        label: "gaussian_pair_kl".into(),
        inputs: vec![input(1), input(2), input(3), input(4)],
        output: vec![5],
        record: Box::new(|r, inputs, dy| {
            let (q, p, clock) = ([inputs[0], inputs[1]], [inputs[2], inputs[3]], inputs[4]);
            let dq = backward_q(r, q, p, clock, Rows::Weights(dy));
            let dp = backward_p(r, q, p, clock, Rows::Weights(dy));
            (rows(r, q, p), [dq, dp].concat())
        }),
        state: vec![("clock", clock::Clock::unit().words())],
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::gaussian_kl;

    #[test]
    fn to_the_standard_normal_it_is_the_kl_of_a_vae() {
        for (mean, logvar) in [(0.0, 0.0), (1.5, -2.0), (-0.3, 1.2)] {
            let [pair, single] = [divergence([mean, logvar, 0.0, 0.0]), gaussian_kl::divergence(mean, logvar)];
            assert!((pair - single).abs() < 1e-12, "{pair} {single}");
        }
        assert_eq!(divergence([0.7, -1.1, 0.7, -1.1]), 0.0);
    }

    /// In units of p's standard deviation, from its mean on, p is N(0,1).
    #[test]
    fn it_does_not_depend_on_the_units() {
        let [mean_q, logvar_q, mean_p, logvar_p]: [f64; 4] = [0.4, -1.0, -0.8, 0.6];
        let whitened = gaussian_kl::divergence((mean_q - mean_p) * (-0.5 * logvar_p).exp(), logvar_q - logvar_p);
        assert!((divergence([mean_q, logvar_q, mean_p, logvar_p]) - whitened).abs() < 1e-12);
    }
}
