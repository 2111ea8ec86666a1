//! Squared error as the negative log-likelihood of a Gaussian with fixed sigma, `shaders/mse.wgsl`.

use bytemuck::{Pod, Zeroable};

use super::math;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::kernels::weighted;
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    d: u32,
    scale: f32,
    inverse_variance: f32,
    constant: f32,
}

// ---- Kernels

const FIELDS: &[&str] = &["B", "D", "scale", "inverse_variance", "constant"];

const SOURCE: Source = Source {
    file: "mse.wgsl",
    text: include_str!("../../shaders/mse.wgsl"),
    common: &[super::INDEX, super::SUM],
    bindings: &["y", "x", "rows", "dy"],
    ..PLAIN_SOURCE
};

/// Means y (B,D), x (B,D) to rows (B) in nats, assigned; recorded by [`loss`].
pub static LOSS: Kernel = Kernel {
    name: "mse.loss",
    formula: "rows[r] = sum_d (y - x)^2 / (2 sigma^2) + log(2 pi sigma^2)/2",
    params: FIELDS,
    reads: &["y", "x"],
    writes: &["rows"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |p, _| [p[0], 1, 1] },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [b, d] = [p.b as usize, p.d as usize];
        for r in 0..b {
            let term = |i: usize| {
                let e = reads[0][i] as f64 - reads[1][i] as f64;
                0.5 * p.inverse_variance as f64 * e * e + p.constant as f64
            };
            writes[0][r] = (r * d..(r + 1) * d).map(term).sum::<f64>() as f32;
        }
    },
    accelerated: Some(loss_accelerated),
    cost: |p| Cost { flops: 5 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: loss_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// y (B,D), x (B,D) to dy (B,D), assigned; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "mse.backward",
    formula: "dy = scale * (y - x) / sigma^2",
    params: FIELDS,
    reads: &["y", "x"],
    writes: &["dy"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        for i in 0..p.b as usize * p.d as usize {
            let e = reads[0][i] as f64 - reads[1][i] as f64;
            writes[0][i] = (p.scale as f64 * p.inverse_variance as f64 * e) as f32;
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: 3 * p[0] as u64 * p[1] as u64, bytes: 12 * p[0] as u64 * p[1] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

// ---- Record

fn sizes(y: Tensor, x: Tensor, scale: f32, sigma: f32) -> Params {
    assert!(y.shape() == x.shape(), "mse: y {y:?}, x {x:?}");
    let [b, d] = y.matrix();
    let variance = sigma as f64 * sigma as f64;
    Params {
        b: b as u32,
        d: d as u32,
        scale,
        inverse_variance: (1.0 / variance) as f32,
        constant: (0.5 * (2.0 * std::f64::consts::PI * variance).ln()) as f32,
    }
}

/// -log N(x; y, sigma^2) of each row in nats: y (B,D), x (B,D) to (B).
pub fn loss(r: &mut Recorder, y: Tensor, x: Tensor, sigma: f32) -> Tensor {
    let params = sizes(y, x, 1.0, sigma);
    let rows = r.tensor("recon", &[params.b as usize]);
    r.dispatch(&LOSS, params, &[y, x], &[rows]);
    rows
}

/// dy of scale * sum of the rows: (B,D).
pub fn backward(r: &mut Recorder, y: Tensor, x: Tensor, sigma: f32, scale: f32) -> Tensor {
    let params = sizes(y, x, scale, sigma);
    let dy = r.tensor("dy", y.shape());
    r.dispatch(&BACKWARD, params, &[y, x], &[dy]);
    dy
}

// ---- Accelerated

fn loss_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let half = 0.5 * p.inverse_variance;
    math::row_sums(&mut writes[0][..p.b as usize], [reads[0], reads[1]], p.d as usize, move |y, x| {
        half * (y - x) * (y - x) + p.constant
    });
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let n = p.b as usize * p.d as usize;
    let factor = p.scale * p.inverse_variance;
    math::map_pairs(&mut writes[0][..n], [reads[0], reads[1]], move |y, x| factor * (y - x));
}

// ---- Cases

const SIZES: [[usize; 2]; 4] = [[1, 1], [17, 65], [128, 784], [3, 257]];

fn inputs(b: usize, d: usize) -> Case {
    let (b32, d32) = (b as u32, d as u32);
    let params = Params { b: b32, d: d32, scale: 0.5, inverse_variance: 2.0, constant: 0.57 };
    Case::new(format!("{b}x{d}"), params).read(uniform(1, b * d, -1.0, 1.0)).read(uniform(2, b * d, 0.0, 1.0))
}

fn loss_cases() -> Vec<Case> {
    SIZES.map(|[b, d]| inputs(b, d).assign(b, Tolerance::Dot(2 * d))).into()
}

fn backward_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(3e-7, "three rounded operations");
    SIZES.map(|[b, d]| inputs(b, d).assign(b * d, tolerance)).into()
}

// ---- Gradients

/// For the finite-difference check: the sum of the rows.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "mse".into(),
        inputs: vec![(vec![3, 7], uniform(1, 21, -1.0, 1.0))],
        output: vec![1],
        record: Box::new(|r, inputs, dy| {
            let x = r.tensor("x", &[3, 7]);
            super::fill::forward(r, x, 0.3);
            let rows = loss(r, inputs[0], x, 0.7);
            let y = super::reduce::whole(r, rows.reshape(&[1, 3]));
            let gradient = backward(r, inputs[0], x, 0.7, 1.0);
            (y, vec![weighted(r, dy, gradient)])
        }),
        state: vec![],
    }]
}
