//! A linear layer whose weights are Gaussian, sampled where they act, `shaders/local_reparameterise.wgsl` (Kingma,
//! Salimans & Welling 2015, arXiv 1506.02557, section 2.1). These are its elementwise parts; its two products are
//! [`matmul`](super::matmul)'s.

use bytemuck::{Pod, Zeroable};

use super::math;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Reference, Shader, Source, grid_1d};
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
    file: "local_reparameterise.wgsl",
    text: include_str!("../../shaders/local_reparameterise.wgsl"),
    common: &[super::INDEX],
    bindings: &["logvar", "mean", "variance", "noise", "x", "dy", "y", "sum"],
    ..PLAIN_SOURCE
};

/// logvar of any shape to y, assigned; recorded by [`variances`].
pub static VARIANCES: Kernel = Kernel {
    accelerated: Some(|p, reads, writes| {
        let n = p[0] as usize;
        math::map_pairs(&mut writes[0][..n], [reads[0], reads[0]], |logvar, _| math::exp(logvar));
    }),
    ..kernel(
        "local_reparameterise.variances",
        "variances",
        "y = e^logvar",
        &["logvar"],
        "y",
        |p, reads, writes| {
            for i in 0..p[0] as usize {
                writes[0][i] = (reads[0][i] as f64).exp() as f32;
            }
        },
        variances_cases,
    )
};

/// mean, variance and noise (B,O) to y (B,O), assigned; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    accelerated: Some(|p, reads, writes| {
        let n = p[0] as usize;
        writes[0][..n].copy_from_slice(&reads[0][..n]);
        math::update_all_pairs(&mut writes[0][..n], [reads[1], reads[2]], |mean, variance, noise| {
            mean + variance.sqrt() * noise
        });
    }),
    ..kernel(
        "local_reparameterise.forward",
        "forward",
        "y = mean + sqrt(variance) * noise",
        &["mean", "variance", "noise"],
        "y",
        |p, reads, writes| {
            for i in 0..p[0] as usize {
                let [mean, variance, noise] = [reads[0][i], reads[1][i], reads[2][i]].map(f64::from);
                writes[0][i] = (mean + variance.sqrt() * noise) as f32;
            }
        },
        forward_cases,
    )
};

/// variance, noise and dy (B,O) to y = dvariance (B,O), assigned; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    accelerated: Some(|p, reads, writes| {
        let n = p[0] as usize;
        writes[0][..n].copy_from_slice(&reads[2][..n]);
        math::update_all_pairs(&mut writes[0][..n], [reads[0], reads[1]], |dy, variance, noise| {
            if variance > 0.0 { 0.5 * dy * noise / variance.sqrt() } else { 0.0 }
        });
    }),
    ..kernel(
        "local_reparameterise.backward",
        "backward",
        "y = dy * noise / (2 sqrt(variance)), 0 where the variance is",
        &["variance", "noise", "dy"],
        "y",
        |p, reads, writes| {
            for i in 0..p[0] as usize {
                let [variance, noise, dy] = [reads[0][i], reads[1][i], reads[2][i]].map(f64::from);
                writes[0][i] = if variance > 0.0 { (0.5 * dy * noise / variance.sqrt()) as f32 } else { 0.0 };
            }
        },
        backward_cases,
    )
};

/// variance = e^logvar and dy of one shape; sum = dlogvar is added to. Recorded by [`backward_logvar`].
pub static BACKWARD_LOGVAR: Kernel = Kernel {
    accelerated: Some(|p, reads, writes| {
        let n = p[0] as usize;
        math::update_all_pairs(&mut writes[0][..n], [reads[0], reads[1]], |sum, variance, dy| sum + variance * dy);
    }),
    ..kernel(
        "local_reparameterise.backward_logvar",
        "backward_logvar",
        "sum += variance * dy",
        &["variance", "dy"],
        "sum",
        |p, reads, writes| {
            for i in 0..p[0] as usize {
                writes[0][i] += reads[0][i] * reads[1][i];
            }
        },
        sum_cases,
    )
};

/// x and dy (B,I), the gradient of x^2; sum = dx is added to. Recorded by [`backward_x`].
pub static BACKWARD_X: Kernel = Kernel {
    accelerated: Some(|p, reads, writes| {
        let n = p[0] as usize;
        math::update_all_pairs(&mut writes[0][..n], [reads[0], reads[1]], |sum, x, dy| sum + 2.0 * x * dy);
    }),
    ..kernel(
        "local_reparameterise.backward_x",
        "backward_x",
        "sum += 2 * x * dy",
        &["x", "dy"],
        "sum",
        |p, reads, writes| {
            for i in 0..p[0] as usize {
                writes[0][i] += 2.0 * reads[0][i] * reads[1][i];
            }
        },
        sum_cases,
    )
};

const fn kernel(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    reads: &'static [&'static str],
    writes: &'static str,
    reference: Reference,
    cases: fn() -> Vec<Case>,
) -> Kernel {
    const Y: &[&str] = &["y"];
    const SUM: &[&str] = &["sum"];
    Kernel {
        name,
        formula,
        params: &["N"],
        reads,
        writes: if writes.len() == 1 { Y } else { SUM },
        shader: Shader { source: &SOURCE, entry, workgroup: [64, 1, 1], grid },
        reference,
        cost: |p| Cost { flops: 4 * p[0] as u64, bytes: 16 * p[0] as u64 },
        cases,
        gradients: GradientCheck::Cases(gradients),
        ..PLAIN
    }
}

fn grid(p: &[u32], _: &[Constant]) -> [u32; 3] {
    grid_1d(p[0] as usize, 64)
}

// ---- Record

fn flat(a: Tensor) -> Params {
    Params { n: a.len() as u32 }
}

fn agree(kernel: &str, tensors: &[Tensor]) {
    let first = tensors[0];
    for &other in &tensors[1..] {
        assert!(first.shape() == other.shape(), "local_reparameterise.{kernel}: {first:?} and {other:?}");
    }
}

/// e^logvar, of its shape.
pub fn variances(r: &mut Recorder, logvar: Tensor) -> Tensor {
    let y = r.tensor("variance", logvar.shape());
    r.dispatch(&VARIANCES, flat(logvar), &[logvar], &[y]);
    y
}

/// y = mean + sqrt(variance) * noise, all (B,O).
pub fn forward(r: &mut Recorder, mean: Tensor, variance: Tensor, noise: Tensor) -> Tensor {
    agree("forward", &[mean, variance, noise]);
    let y = r.tensor("y", mean.shape());
    r.dispatch(&FORWARD, flat(mean), &[mean, variance, noise], &[y]);
    y
}

/// dvariance, all (B,O). The mean's gradient is dy itself.
pub fn backward(r: &mut Recorder, variance: Tensor, noise: Tensor, dy: Tensor) -> Tensor {
    agree("backward", &[variance, noise, dy]);
    let y = r.tensor("dvariance", variance.shape());
    r.dispatch(&BACKWARD, flat(variance), &[variance, noise, dy], &[y]);
    y
}

/// Adds the gradient through variance = e^logvar to `dlogvar`, all of one shape.
pub fn backward_logvar(r: &mut Recorder, variance: Tensor, dvariance: Tensor, dlogvar: Tensor) {
    agree("backward_logvar", &[variance, dvariance, dlogvar]);
    r.dispatch(&BACKWARD_LOGVAR, flat(variance), &[variance, dvariance], &[dlogvar]);
}

/// Adds the gradient through x^2 to `dx`, all (B,I).
pub fn backward_x(r: &mut Recorder, x: Tensor, dsquares: Tensor, dx: Tensor) {
    agree("backward_x", &[x, dsquares, dx]);
    r.dispatch(&BACKWARD_X, flat(x), &[x, dsquares], &[dx]);
}

// ---- Cases

const SIZES: [usize; 4] = [1, 63, 257, 10_001];

fn case(n: usize) -> Case {
    Case::new(format!("{n}"), Params { n: n as u32 })
}

fn variances_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-6, "exp of an argument down to -10: 3 + 2|x| ulp");
    SIZES.map(|n| case(n).read(uniform(1, n, -10.0, 1.0)).assign(n, tolerance)).into()
}

fn forward_cases() -> Vec<Case> {
    let of = |n| case(n).read(uniform(1, n, -2.0, 2.0)).read(uniform(2, n, 0.0, 2.0)).read(uniform(3, n, -3.0, 3.0));
    SIZES.map(|n| of(n).assign(n, Tolerance::Because(1e-6, "a root and two operations"))).into()
}

/// Some variances are 0.
fn backward_cases() -> Vec<Case> {
    let variance = |n| uniform(2, n, -0.2, 2.0).into_iter().map(|v: f32| v.max(0.0)).collect();
    let of = |n| case(n).read(variance(n)).read(uniform(3, n, -3.0, 3.0)).read(uniform(4, n, -1.0, 1.0));
    SIZES.map(|n| of(n).assign(n, Tolerance::Because(2e-6, "a root and a quotient, 2.5 ulp each"))).into()
}

fn sum_cases() -> Vec<Case> {
    let of = |n| case(n).read(uniform(5, n, 0.0, 2.0)).read(uniform(6, n, -1.0, 1.0));
    SIZES.map(|n| of(n).update(uniform(7, n, -1.0, 1.0), Tolerance::Because(3e-7, "a product and a sum"))).into()
}

// ---- Gradients

/// For the finite-difference check: y = mean + sqrt(x^2 e^logvar) noise of x, mean and logvar, the noise fixed.
fn gradients() -> Vec<GradientCase> {
    let shape = || vec![3, 5];
    vec![GradientCase {
        label: "local_reparameterise".into(),
        inputs: vec![
            (shape(), uniform(1, 15, 0.5, 1.5)),
            (shape(), uniform(2, 15, -1.0, 1.0)),
            (shape(), uniform(3, 15, -2.0, 1.0)),
        ],
        output: shape(),
        record: Box::new(|r, inputs, dy| {
            let &[x, mean, logvar] = inputs else { unreachable!("three inputs") };
            let noise = r.tensor("noise", &[3, 5]);
            super::fill::forward(r, noise, 0.8);
            let weight = variances(r, logvar);
            let squares = super::joint::multiply(r, x, x);
            let variance = super::joint::multiply(r, squares, weight);
            let y = forward(r, mean, variance, noise);

            let dvariance = backward(r, variance, noise, dy);
            let (dsquares, dweight) = super::joint::backward_multiply(r, squares, weight, dvariance);
            let [dx, dlogvar] = ["dx", "dlogvar"].map(|name| r.tensor(name, &[3, 5]));
            [dx, dlogvar].iter().for_each(|&gradient| super::fill::forward(r, gradient, 0.0));
            backward_x(r, x, dsquares, dx);
            backward_logvar(r, weight, dweight, dlogvar);
            (y, vec![dx, dy, dlogvar])
        }),
        state: vec![],
    }]
}
