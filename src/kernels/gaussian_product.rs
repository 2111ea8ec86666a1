//! The normalised product of two Gaussian densities, `shaders/gaussian_product.wgsl`: what is known of z from two sides
//! (Sønderby, Raiko, Maaløe, Sønderby & Winther 2016, arXiv 1602.02282, equations 15 to 17).

use bytemuck::{Pod, Zeroable};

use super::math;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d};
use crate::kernels::{activation, joint};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "gaussian_product.wgsl",
    text: include_str!("../../shaders/gaussian_product.wgsl"),
    common: &[super::INDEX],
    bindings: &[
        "mean_a",
        "logvar_a",
        "mean_b",
        "logvar_b",
        "dmean",
        "dlogvar",
        "mean",
        "logvar",
        "dmean_a",
        "dlogvar_a",
    ],
    ..PLAIN_SOURCE
};

/// mean_a, logvar_a, mean_b, logvar_b (B,Z), N = B*Z, to mean and logvar (B,Z), assigned; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "gaussian_product.forward",
    formula: "mean = s mean_a + (1-s) mean_b, logvar = -log(e^-logvar_a + e^-logvar_b), s = sigmoid(logvar_b - logvar_a)",
    params: &["N"],
    reads: &["mean_a", "logvar_a", "mean_b", "logvar_b"],
    writes: &["mean", "logvar"],
    shader: Shader { source: &SOURCE, entry: "forward", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| {
        for i in 0..p[0] as usize {
            let [mean_a, logvar_a, mean_b, logvar_b] = [0, 1, 2, 3].map(|t| reads[t][i] as f64);
            let d = logvar_b - logvar_a;
            writes[0][i] = (activation::sigmoid(d) * mean_a + activation::sigmoid(-d) * mean_b) as f32;
            writes[1][i] = (logvar_a.min(logvar_b) - (-d.abs()).exp().ln_1p()) as f32;
        }
    },
    accelerated: Some(|p, reads, writes| {
        let inputs = [reads[0], reads[1], reads[2], reads[3]];
        math::map_all(p[0] as usize, writes, inputs, |[mean_a, logvar_a, mean_b, logvar_b]| {
            let d = logvar_b - logvar_a;
            let smaller = if d < 0.0 { logvar_b } else { logvar_a };
            let logvar = smaller - math::log1p_unit(math::exp_negative(-d.abs()));
            [math::sigmoid(d) * mean_a + math::sigmoid(-d) * mean_b, logvar]
        });
    }),
    cost: |p| Cost { flops: 14 * p[0] as u64, bytes: 24 * p[0] as u64 },
    cases: forward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// The four of [`FORWARD`], dmean and dlogvar of the product to dmean_a and dlogvar_a, all (B,Z) and assigned; recorded
/// twice by [`backward`], with a and b exchanged the second time.
pub static BACKWARD: Kernel = Kernel {
    name: "gaussian_product.backward",
    formula: "dmean_a = s dmean, dlogvar_a = s (dlogvar - (1-s) (mean_a - mean_b) dmean), s = sigmoid(logvar_b - logvar_a)",
    params: &["N"],
    reads: &["mean_a", "logvar_a", "mean_b", "logvar_b", "dmean", "dlogvar"],
    writes: &["dmean_a", "dlogvar_a"],
    shader: Shader { source: &SOURCE, entry: "backward", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| {
        for i in 0..p[0] as usize {
            let [mean_a, logvar_a, mean_b, logvar_b, dmean, dlogvar] = [0, 1, 2, 3, 4, 5].map(|t| reads[t][i] as f64);
            let d = logvar_b - logvar_a;
            let [share, other] = [activation::sigmoid(d), activation::sigmoid(-d)];
            writes[0][i] = (share * dmean) as f32;
            writes[1][i] = (share * (dlogvar - other * (mean_a - mean_b) * dmean)) as f32;
        }
    },
    accelerated: Some(|p, reads, writes| {
        let inputs = [reads[0], reads[1], reads[2], reads[3], reads[4], reads[5]];
        math::map_all(p[0] as usize, writes, inputs, |[mean_a, logvar_a, mean_b, logvar_b, dmean, dlogvar]| {
            let d = logvar_b - logvar_a;
            let share = math::sigmoid(d);
            [share * dmean, share * (dlogvar - math::sigmoid(-d) * (mean_a - mean_b) * dmean)]
        });
    }),
    cost: |p| Cost { flops: 14 * p[0] as u64, bytes: 32 * p[0] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

fn grid(p: &[u32], _: &[Constant]) -> [u32; 3] {
    grid_1d(p[0] as usize, 64)
}

// ---- Record

fn sizes(tensors: &[Tensor], kernel: &Kernel) -> Params {
    let fits = tensors.iter().all(|t| t.shape() == tensors[0].shape());
    assert!(fits, "{}: {tensors:?}", kernel.name);
    Params { n: tensors[0].len() as u32 }
}

/// Mean and logvar of the product of a and b, each mean and logvar; all (B,Z).
pub fn forward(r: &mut Recorder, a: [Tensor; 2], b: [Tensor; 2]) -> [Tensor; 2] {
    let reads = [a, b].concat();
    let product = ["mean", "logvar"].map(|name| r.tensor(name, a[0].shape()));
    r.dispatch(&FORWARD, sizes(&reads, &FORWARD), &reads, &product);
    product
}

/// The gradients of a and of b, each dmean and dlogvar, from those of the product, dmean and dlogvar; all (B,Z) and
/// assigned.
pub fn backward(r: &mut Recorder, a: [Tensor; 2], b: [Tensor; 2], dy: [Tensor; 2]) -> [[Tensor; 2]; 2] {
    [[a, b, dy], [b, a, dy]].map(|operands| {
        let reads = operands.concat();
        let gradients = ["dmean", "dlogvar"].map(|name| r.tensor(name, a[0].shape()));
        r.dispatch(&BACKWARD, sizes(&reads, &BACKWARD), &reads, &gradients);
        gradients
    })
}

// ---- Cases

const SIZES: [usize; 4] = [1, 63, 128 * 32, 1001];

/// Among the logvars are some that are far apart, in both directions.
fn inputs(n: usize, count: u64) -> Case {
    let case = Case::new(format!("{n}"), Params { n: n as u32 });
    (0..count).fold(case, |case, seed| {
        let is_logvar = seed == 1 || seed == 3;
        let mut values = uniform(seed, n, -2.0, 2.0);
        if is_logvar && n > 4 {
            let far = if seed == 1 { [90.0, -90.0, 12.0, 0.5] } else { [-90.0, 90.0, -12.0, 0.5] };
            values[..4].copy_from_slice(&far);
        }
        case.read(values)
    })
}

fn forward_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(1e-6, "a few ulp of exp and log, and a weighted mean");
    SIZES.map(|n| inputs(n, 4).assign(n, tolerance).assign(n, tolerance)).into()
}

fn backward_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-6, "a few ulp of exp times numbers of size 8");
    SIZES.map(|n| inputs(n, 6).assign(n, tolerance).assign(n, tolerance)).into()
}

// ---- Gradients

/// For the finite-difference check: mean and logvar side by side, from all four.
fn gradients() -> Vec<GradientCase> {
    let input = |seed| (vec![4, 3], uniform(seed, 12, -1.0, 1.0));
    vec![GradientCase {
        label: "gaussian_product".into(),
        inputs: vec![input(1), input(2), input(3), input(4)],
        output: vec![4, 6],
        record: Box::new(|r, inputs, dy| {
            let (a, b) = ([inputs[0], inputs[1]], [inputs[2], inputs[3]]);
            let [mean, logvar] = forward(r, a, b);
            let (dmean, dlogvar) = joint::split(r, dy, 3);
            let gradients = backward(r, a, b, [dmean, dlogvar]);
            (joint::concat(r, mean, logvar), gradients.concat())
        }),
        state: vec![],
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn product(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
        let (mut mean, mut logvar) = ([0.0], [0.0]);
        let [a, b] = [a, b].map(|of| of.map(|v| [v]));
        (FORWARD.reference)(&[1], &[&a[0], &a[1], &b[0], &b[1]], &mut [&mut mean, &mut logvar]);
        [mean[0], logvar[0]]
    }

    #[test]
    fn two_alike_halve_the_variance_and_who_knows_nothing_changes_nothing() {
        let [mean, logvar] = product([1.0, 0.4], [3.0, 0.4]);
        assert!((mean - 2.0).abs() < 1e-6 && (logvar - (0.4 - 2f32.ln())).abs() < 1e-6, "{mean} {logvar}");
        for [mean, logvar] in [product([1.0, 0.4], [3.0, 80.0]), product([3.0, 80.0], [1.0, 0.4])] {
            assert!((mean - 1.0).abs() < 1e-6 && (logvar - 0.4).abs() < 1e-6, "{mean} {logvar}");
        }
    }
}
