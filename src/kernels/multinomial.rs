//! Negative log-likelihood of a multinomial from logits, `shaders/multinomial.wgsl`: which of I items somebody chose
//! (Liang et al. 2018, arXiv 1802.05814). Of one choice a row it is `cross_entropy` of PyTorch.

use bytemuck::{Pod, Zeroable};

use super::math;
use super::rows::Rows;
use super::threads::{chunk, chunks};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// `scale` multiplies the gradient: 1 for a summed loss, 1/B for a mean over the batch.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    i: u32,
    scale: f32,
}

// ---- Kernels

const FIELDS: &[&str] = &["B", "I", "scale"];

const SOURCE: Source = Source {
    file: "multinomial.wgsl",
    text: include_str!("../../shaders/multinomial.wgsl"),
    common: &[super::INDEX, super::SUM, super::LARGEST],
    bindings: &["logits", "x", "sums", "rows", "row", "dlogits"],
    ..PLAIN_SOURCE
};

/// logits (B,I), x (B,I), the choices, to rows (B) in nats and row (B,2), log sum e^logits and sum of x, both assigned;
/// recorded by [`loss`]. The multinomial coefficient is left out.
pub static LOSS: Kernel = Kernel {
    name: "multinomial.loss",
    formula: "rows[r] = -sum_i x[r,i] log softmax(logits[r])[i]",
    params: FIELDS,
    reads: &["logits", "x"],
    writes: &["rows", "row"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |p, _| [p[0], 1, 1] },
    reference: |p, reads, writes| {
        let [b, i] = [p[0] as usize, p[1] as usize];
        for r in 0..b {
            let [logits, x] = [0, 1].map(|of| reads[of][r * i..(r + 1) * i].iter().map(|&v| v as f64));
            // Not `f64::max`, which would pass over a NaN; the sum has it in any case.
            let most = logits.clone().fold(f64::NEG_INFINITY, |most, l| if l > most { l } else { most });
            let log_sum = logits.clone().map(|l| (l - most).exp()).sum::<f64>().ln();
            let n: f64 = x.clone().sum();
            let below: f64 = logits.zip(x).map(|(l, x)| x * (most - l)).sum();
            writes[0][r] = (n * log_sum + below) as f32;
            writes[1][2 * r] = (most + log_sum) as f32;
            writes[1][2 * r + 1] = n as f32;
        }
    },
    accelerated: Some(loss_accelerated),
    cost: |p| Cost { flops: 7 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: loss_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// logits (B,I), x (B,I), the loss's sums (B,2) to dlogits (B,I), assigned; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "multinomial.backward",
    formula: "dl = scale * (n[r] softmax(logits[r]) - x[r]), n[r] = sum_i x[r,i]",
    params: FIELDS,
    reads: &["logits", "x", "sums"],
    writes: &["dlogits"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [b, i] = [p.b as usize, p.i as usize];
        for at in 0..b * i {
            let [log_sum, n] = [0, 1].map(|k| reads[2][2 * (at / i) + k] as f64);
            let expected = n * (reads[0][at] as f64 - log_sum).exp();
            writes[0][at] = (p.scale as f64 * (expected - reads[1][at] as f64)) as f32;
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: 5 * p[0] as u64 * p[1] as u64, bytes: 12 * p[0] as u64 * p[1] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

// ---- Record

/// A recorded loss, and what its backward needs.
#[derive(Clone, Copy, Debug)]
pub struct Loss {
    /// (B): -log p of each row in nats.
    pub rows: Tensor,
    logits: Tensor,
    x: Tensor,
    /// (B,2)
    sums: Tensor,
}

/// -sum_i x log softmax(logits) of each row in nats: logits (B,I), x (B,I) of numbers that are not negative.
pub fn loss(r: &mut Recorder, logits: Tensor, x: Tensor) -> Loss {
    assert!(logits.shape() == x.shape(), "multinomial: logits {logits:?}, x {x:?}");
    let [b, i] = logits.matrix();
    let (rows, sums) = (r.tensor("recon", &[b]), r.tensor("sums", &[b, 2]));
    r.dispatch(&LOSS, Params { b: b as u32, i: i as u32, scale: 1.0 }, &[logits, x], &[rows, sums]);
    Loss { rows, logits, x, sums }
}

/// dlogits (B,I) of the loss's rows, of which each counts as `rows` says.
pub fn backward(r: &mut Recorder, loss: Loss, rows: Rows) -> Tensor {
    let Loss { logits, x, sums, .. } = loss;
    let [b, i] = logits.matrix();
    let [dlogits] = rows.apply(r, |r, scale| {
        let dlogits = r.tensor("dlogits", logits.shape());
        r.dispatch(&BACKWARD, Params { b: b as u32, i: i as u32, scale }, &[logits, x, sums], &[dlogits]);
        [dlogits]
    });
    dlogits
}

// ---- Accelerated

/// Threads share the rows.
fn loss_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, i] = [p[0] as usize, p[1] as usize];
    let [rows, sums] = writes else { unreachable!("multinomial.loss writes rows and row") };
    let outputs = [(&mut rows[..b], 1), (&mut sums[..2 * b], 2)];
    chunks(outputs, (super::CHUNK / i).max(1), |r, [row, sums]| {
        let (logits, x) = (chunk(reads[0], i, r), chunk(reads[1], i, r));
        let most = math::largest(logits);
        let log_sum = math::ln(math::sum_pairs([logits, x], move |l, _| math::exp_negative(l - most)));
        let n = math::sum_pairs([logits, x], |_, x| x);
        let below = math::sum_pairs([logits, x], move |l, x| x * (most - l));
        row[0] = n * log_sum + below;
        sums.copy_from_slice(&[most + log_sum, n]);
    });
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let Params { b, i, scale } = params(p);
    let [b, i] = [b as usize, i as usize];
    chunks([(&mut writes[0][..b * i], i)], (super::CHUNK / i).max(1), |r, [dlogits]| {
        let (logits, x) = (chunk(reads[0], i, r), chunk(reads[1], i, r));
        let [log_sum, n] = [reads[2][2 * r], reads[2][2 * r + 1]];
        let gradient = move |_: f32, l: f32, x: f32| scale * (n * math::exp_negative(l - log_sum) - x);
        math::update_pairs(dlogits, [logits, x], gradient);
    });
}

// ---- Cases

const SIZES: [[usize; 2]; 5] = [[1, 1], [17, 65], [3, 257], [5, 1001], [128, 17]];

/// Logits (rows, columns) with some that are far from the rest, in rows of their own.
pub(super) fn logits_of_cases(rows: usize, columns: usize) -> Vec<f32> {
    let mut logits = uniform(1, rows * columns, -6.0, 6.0);
    for (row, extreme) in logits.chunks_mut(columns).zip([0.0, 1e4, -1e4, 80.0]) {
        row[columns / 2] = extreme;
    }
    logits
}

/// Choices of few items.
fn inputs(b: usize, i: usize) -> [Vec<f32>; 2] {
    let logits = logits_of_cases(b, i);
    let x = uniform(2, b * i, 0.0, 1.0).into_iter().map(|v| if v < 0.1 { 1.0 } else { 0.0 }).collect();
    [logits, x]
}

fn params_of(b: usize, i: usize) -> Params {
    Params { b: b as u32, i: i as u32, scale: 0.5 }
}

fn loss_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(4e-6, "hundreds of exponentials, and a logarithm times the choices of a row");
    let case = |[b, i]: [usize; 2]| {
        let [logits, x] = inputs(b, i);
        Case::new(format!("{b}x{i}"), params_of(b, i))
            .read(logits)
            .read(x)
            .assign(b, tolerance)
            .assign(2 * b, tolerance)
    };
    SIZES.map(case).into()
}

fn backward_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(3e-6, "exp of an argument of size 20, times the choices of a row");
    let case = |[b, i]: [usize; 2]| {
        let [logits, x] = inputs(b, i);
        let (mut rows, mut sums) = (vec![0.0; b], vec![0.0; 2 * b]);
        (LOSS.reference)(&[b as u32, i as u32, 0], &[&logits, &x], &mut [&mut rows, &mut sums]);
        Case::new(format!("{b}x{i}"), params_of(b, i)).read(logits).read(x).read(sums).assign(b * i, tolerance)
    };
    SIZES.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: rows of several choices, each with a weight of its own.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "multinomial".into(),
        inputs: vec![(vec![3, 7], uniform(1, 21, -2.0, 2.0))],
        output: vec![3],
        record: Box::new(|r, inputs, dy| {
            let loss = loss(r, inputs[0], inputs[1].reshape(&[3, 7]));
            (loss.rows, vec![backward(r, loss, Rows::Weights(dy))])
        }),
        state: vec![("x", uniform(2, 21, 0.0, 1.0).into_iter().map(|v| f32::from(v < 0.4).to_bits()).collect())],
    }]
}
