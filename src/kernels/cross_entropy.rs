//! Cross-entropy of classes from logits, `shaders/cross_entropy.wgsl`: `cross_entropy` of PyTorch with labels as rows
//! of probabilities, of which one that is all 0 costs nothing.

use bytemuck::{Pod, Zeroable};

use super::joint;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// `scale` multiplies the gradient.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    k: u32,
    scale: f32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "cross_entropy.wgsl",
    text: include_str!("../../shaders/cross_entropy.wgsl"),
    common: &[super::INDEX],
    bindings: &["logits", "y", "rows", "dlogits"],
    ..PLAIN_SOURCE
};

/// logits (B,K), y (B,K) to rows (B) in nats, assigned; recorded by [`loss`].
pub static LOSS: Kernel = Kernel {
    name: "cross_entropy.loss",
    formula: "rows[r] = sum_k y[r,k] (log sum_j e^l[r,j] - l[r,k])",
    params: &["B", "K", "scale"],
    reads: &["logits", "y"],
    writes: &["rows"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |p, _| grid_1d(p[0] as usize, 64) },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let k = p.k as usize;
        for r in 0..p.b as usize {
            let (logits, y) = (&reads[0][r * k..][..k], &reads[1][r * k..][..k]);
            let log_sum = log_sum_exp(logits);
            writes[0][r] = (0..k).map(|j| y[j] as f64 * (log_sum - logits[j] as f64)).sum::<f64>() as f32;
        }
    },
    cost: |p| Cost { flops: 6 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: || cases(|case, b, _| case.assign(b, TOLERANCE)),
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// logits (B,K), y (B,K) to rows (B), 1 for each label that is not at the largest logit, assigned; recorded by
/// [`errors`].
pub static ERRORS: Kernel = Kernel {
    name: "cross_entropy.errors",
    formula: "rows[r] = sum_k y[r,k] where l[r,k] is not the largest of its row",
    shader: Shader { entry: "errors", ..LOSS.shader },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let k = p.k as usize;
        for r in 0..p.b as usize {
            let (logits, y) = (&reads[0][r * k..][..k], &reads[1][r * k..][..k]);
            let place = largest(logits);
            writes[0][r] = (0..k).filter(|&j| j != place).map(|j| y[j] as f64).sum::<f64>() as f32;
        }
    },
    cases: || cases(|case, b, _| case.assign(b, Tolerance::Exact)),
    gradients: GradientCheck::None("counts, whose slope is 0 everywhere"),
    ..LOSS
};

/// logits (B,K), y (B,K) to dlogits (B,K), assigned; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "cross_entropy.backward",
    formula: "dl[r,k] = scale * (sum_j y[r,j] * softmax(l[r])[k] - y[r,k])",
    writes: &["dlogits"],
    shader: Shader { entry: "backward", ..LOSS.shader },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let k = p.k as usize;
        for r in 0..p.b as usize {
            let (logits, y) = (&reads[0][r * k..][..k], &reads[1][r * k..][..k]);
            let (log_sum, labelled) = (log_sum_exp(logits), y.iter().map(|&y| y as f64).sum::<f64>());
            for j in 0..k {
                let probability = (logits[j] as f64 - log_sum).exp();
                writes[0][r * k + j] = (p.scale as f64 * (labelled * probability - y[j] as f64)) as f32;
            }
        }
    },
    cost: |p| Cost { flops: 8 * p[0] as u64 * p[1] as u64, bytes: 12 * p[0] as u64 * p[1] as u64 },
    cases: || cases(|case, b, k| case.assign(b * k, TOLERANCE)),
    ..LOSS
};

// ---- Record

fn sizes(logits: Tensor, y: Tensor, scale: f32) -> Params {
    assert!(logits.shape() == y.shape(), "cross_entropy: logits {logits:?}, y {y:?}");
    let [b, k] = logits.matrix();
    Params { b: b as u32, k: k as u32, scale }
}

/// Cross-entropy of each row in nats: logits (B,K), y (B,K) with 1 at the label, to (B). 0 for a row without a label.
pub fn loss(r: &mut Recorder, logits: Tensor, y: Tensor) -> Tensor {
    let params = sizes(logits, y, 1.0);
    let rows = r.tensor("cross_entropy", &[params.b as usize]);
    r.dispatch(&LOSS, params, &[logits, y], &[rows]);
    rows
}

/// 1 for each row whose label is not at its largest logit, else 0: logits (B,K), y (B,K) to (B).
pub fn errors(r: &mut Recorder, logits: Tensor, y: Tensor) -> Tensor {
    let params = sizes(logits, y, 1.0);
    let rows = r.tensor("errors", &[params.b as usize]);
    r.dispatch(&ERRORS, params, &[logits, y], &[rows]);
    rows
}

/// dlogits of scale * sum of the rows: (B,K).
pub fn backward(r: &mut Recorder, logits: Tensor, y: Tensor, scale: f32) -> Tensor {
    let params = sizes(logits, y, scale);
    let dlogits = r.tensor("dlogits", logits.shape());
    r.dispatch(&BACKWARD, params, &[logits, y], &[dlogits]);
    dlogits
}

// ---- References

/// log sum_k e^l_k, without overflow.
pub(super) fn log_sum_exp(logits: &[f32]) -> f64 {
    let most = logits.iter().fold(f64::NEG_INFINITY, |most, &l| most.max(l as f64));
    most + logits.iter().map(|&l| (l as f64 - most).exp()).sum::<f64>().ln()
}

/// The place of the largest, the first one of equals.
pub fn largest(values: &[f32]) -> usize {
    (0..values.len()).fold(0, |place, i| if values[i] > values[place] { i } else { place })
}

// ---- Cases

const TOLERANCE: Tolerance =
    Tolerance::Because(1e-5, "exp and log of a sum of up to 257 terms, of arguments of size 12: 3 + 2|x| ulp each");

/// Logits that would overflow, equal ones, and rows without a label.
fn cases(outputs: fn(Case, usize, usize) -> Case) -> Vec<Case> {
    let case = |[b, k]: [usize; 2]| {
        let mut logits = uniform(1, b * k, -6.0, 6.0);
        for (l, extreme) in logits.iter_mut().skip(1).zip([1.0, 1.0, 100.0, -100.0]) {
            *l = extreme;
        }
        let params = Params { b: b as u32, k: k as u32, scale: 0.5 };
        outputs(Case::new(format!("{b}x{k}"), params).read(logits).read(labels(b, k)), b, k)
    };
    [[1, 1], [17, 10], [65, 3], [3, 257], [257, 10]].map(case).into()
}

/// (B,K): labels that go round, and every third row has none.
pub(super) fn labels(b: usize, k: usize) -> Vec<f32> {
    (0..b * k).map(|i| f32::from(i / k % 3 != 2 && i / k % k == i % k)).collect()
}

// ---- Gradients

/// For the finite-difference check: each row with a weight of its own.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "cross_entropy".into(),
        inputs: vec![(vec![5, 4], uniform(1, 20, -2.0, 2.0))],
        output: vec![5],
        record: Box::new(|r, inputs, dy| {
            let y = inputs[1].reshape(&[5, 4]);
            let dlogits = backward(r, inputs[0], y, 1.0);
            (loss(r, inputs[0], y), vec![joint::weigh(r, dlogits, dy)])
        }),
        state: vec![("y", labels(5, 4).into_iter().map(f32::to_bits).collect())],
    }]
}
