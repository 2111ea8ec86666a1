//! Binary cross-entropy from logits, `shaders/bce.wgsl`: `binary_cross_entropy_with_logits` of PyTorch, summed a row.

use bytemuck::{Pod, Zeroable};

use super::{activation, math};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::kernels::weighted;
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// `scale` multiplies the gradient: 1 for a summed loss, 1/B for a mean over the batch.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    d: u32,
    scale: f32,
}

// ---- Kernels

const FIELDS: &[&str] = &["B", "D", "scale"];

const SOURCE: Source = Source {
    file: "bce.wgsl",
    text: include_str!("../../shaders/bce.wgsl"),
    common: &[super::INDEX, super::SUM, super::ACTIVATION],
    bindings: &["logits", "x", "rows", "dlogits"],
    ..PLAIN_SOURCE
};

/// logits (B,D), x (B,D) in `[0,1]` to rows (B) in nats, assigned; recorded by [`loss`]. In this form nothing
/// overflows, however large l is.
pub static LOSS: Kernel = Kernel {
    name: "bce.loss",
    formula: "rows[r] = sum_d max(l,0) - l*x + log(1 + e^-|l|)",
    params: FIELDS,
    reads: &["logits", "x"],
    writes: &["rows"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |p, _| [p[0], 1, 1] },
    reference: |p, reads, writes| {
        let [b, d] = [p[0] as usize, p[1] as usize];
        for r in 0..b {
            let terms = (r * d..(r + 1) * d).map(|i| cross_entropy(reads[0][i] as f64, reads[1][i] as f64));
            writes[0][r] = terms.sum::<f64>() as f32;
        }
    },
    accelerated: Some(loss_accelerated),
    cost: |p| Cost { flops: 6 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: loss_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// logits (B,D), x (B,D) to dlogits (B,D), assigned; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "bce.backward",
    formula: "dl = scale * (sigmoid(l) - x)",
    params: FIELDS,
    reads: &["logits", "x"],
    writes: &["dlogits"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        for i in 0..p.b as usize * p.d as usize {
            let difference = activation::sigmoid(reads[0][i] as f64) - reads[1][i] as f64;
            writes[0][i] = (p.scale as f64 * difference) as f32;
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: 5 * p[0] as u64 * p[1] as u64, bytes: 12 * p[0] as u64 * p[1] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

pub(crate) fn cross_entropy(l: f64, x: f64) -> f64 {
    l.max(0.0) - l * x + (-l.abs()).exp().ln_1p()
}

// ---- Record

fn sizes(logits: Tensor, x: Tensor, scale: f32) -> Params {
    assert!(logits.shape() == x.shape(), "bce: logits {logits:?}, x {x:?}");
    let [b, d] = logits.matrix();
    Params { b: b as u32, d: d as u32, scale }
}

/// Cross-entropy of each row in nats: logits (B,D), x (B,D) in `[0,1]`, to (B).
pub fn loss(r: &mut Recorder, logits: Tensor, x: Tensor) -> Tensor {
    let params = sizes(logits, x, 1.0);
    let rows = r.tensor("recon", &[params.b as usize]);
    r.dispatch(&LOSS, params, &[logits, x], &[rows]);
    rows
}

/// dlogits of scale * sum of the rows: (B,D).
pub fn backward(r: &mut Recorder, logits: Tensor, x: Tensor, scale: f32) -> Tensor {
    let params = sizes(logits, x, scale);
    let dlogits = r.tensor("dlogits", logits.shape());
    r.dispatch(&BACKWARD, params, &[logits, x], &[dlogits]);
    dlogits
}

// ---- Accelerated

fn loss_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, d] = [p[0] as usize, p[1] as usize];
    math::row_sums(&mut writes[0][..b], [reads[0], reads[1]], d, loss_of);
}

/// The cross-entropy of one pixel.
#[inline(always)]
pub(crate) fn loss_of(l: f32, x: f32) -> f32 {
    (if l < 0.0 { 0.0 } else { l }) - l * x + math::log1p_unit(math::exp_negative(-l.abs()))
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let n = p.b as usize * p.d as usize;
    math::map_pairs(&mut writes[0][..n], [reads[0], reads[1]], move |l, x| p.scale * (math::sigmoid(l) - x));
}

// ---- Cases

const SIZES: [[usize; 2]; 4] = [[1, 1], [17, 65], [128, 784], [3, 257]];

fn inputs(b: usize, d: usize) -> Case {
    let mut logits = uniform(1, b * d, -12.0, 12.0);
    for (l, extreme) in logits.iter_mut().zip([0.0, 100.0, -100.0, 1e4, -1e4]) {
        *l = extreme;
    }
    let mut x = uniform(2, b * d, 0.0, 1.0);
    for (x, extreme) in x.iter_mut().zip([0.5, 1.0, 0.0, 1.0, 0.0]) {
        *x = extreme;
    }
    Case::new(format!("{b}x{d}"), Params { b: b as u32, d: d as u32, scale: 0.5 }).read(logits).read(x)
}

fn loss_cases() -> Vec<Case> {
    // Terms of size up to 12, hence relative to the row's sum of several hundred.
    let tolerance = Tolerance::Because(3e-6, "hundreds of terms through exp and log, relative to their sum");
    SIZES.map(|[b, d]| inputs(b, d).assign(b, tolerance)).into()
}

fn backward_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-6, "exp of an argument of size 12: 3 + 2|x| ulp of a value below 1");
    SIZES.map(|[b, d]| inputs(b, d).assign(b * d, tolerance)).into()
}

// ---- Gradients

/// For the finite-difference check: the sum of the rows.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "bce".into(),
        inputs: vec![(vec![3, 7], uniform(1, 21, -3.0, 3.0))],
        output: vec![1],
        record: Box::new(|r, inputs, dy| {
            let x = r.tensor("x", &[3, 7]);
            super::fill::forward(r, x, 0.3);
            let rows = loss(r, inputs[0], x);
            let y = super::reduce::whole(r, rows.reshape(&[1, 3]));
            let dlogits = backward(r, inputs[0], x, 1.0);
            (y, vec![weighted(r, dy, dlogits)])
        }),
        state: vec![],
    }]
}
