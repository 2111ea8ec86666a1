//! A label that is summed out, `shaders/marginal.wgsl`: how much each class of an example counts, and the gradient of
//! that (Kingma, Mohamed, Rezende & Welling 2014, arXiv 1406.5298, eq. 7).
//!
//!   cost = sum_k pi_k R_k + KL(pi || uniform) of a row,   R = recon + kl_weight * kl
//!
//! pi is the label where it is known, else q(y|x). `docs/src/semi_supervised.md` derives the gradient.

use bytemuck::{Pod, Zeroable};

use super::cross_entropy::{self, log_sum_exp};
use super::{clock, joint, reduce};
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
    file: "marginal.wgsl",
    text: include_str!("../../shaders/marginal.wgsl"),
    common: &[super::INDEX, super::CLOCK],
    bindings: &["logits", "y", "pi", "recon", "kl", "clock", "weights_pi", "rows", "dlogits"],
    ..PLAIN_SOURCE
};

/// logits (B,K), y (B,K) to pi (B,K), assigned; recorded by [`weights`].
pub static WEIGHTS: Kernel = Kernel {
    name: "marginal.weights",
    formula: "pi[r] = y[r], or softmax(l[r]) where y[r] is all 0",
    params: &["B", "K", "scale"],
    reads: &["logits", "y"],
    writes: &["weights_pi"],
    shader: Shader {
        source: &SOURCE,
        entry: "weights",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let k = p.k as usize;
        for r in 0..p.b as usize {
            let (logits, y) = (&reads[0][r * k..][..k], &reads[1][r * k..][..k]);
            let pi = &mut writes[0][r * k..][..k];
            if y.iter().any(|&y| y > 0.0) {
                pi.copy_from_slice(y);
            } else {
                let log_sum = log_sum_exp(logits);
                pi.iter_mut().zip(logits).for_each(|(pi, &l)| *pi = (l as f64 - log_sum).exp() as f32);
            }
        }
    },
    cost: |p| Cost { flops: 6 * p[0] as u64 * p[1] as u64, bytes: 12 * p[0] as u64 * p[1] as u64 },
    cases: weights_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// pi (B,K) to rows (B) in nats, assigned; recorded by [`loss`].
pub static LOSS: Kernel = Kernel {
    name: "marginal.loss",
    formula: "rows[r] = KL(pi[r] || uniform) = log K + sum_k pi log pi",
    reads: &["pi"],
    writes: &["rows"],
    shader: Shader { entry: "loss", ..WEIGHTS.shader },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let k = p.k as usize;
        for r in 0..p.b as usize {
            let sum: f64 = reads[0][r * k..][..k].iter().map(|&pi| times_log(pi as f64)).sum();
            writes[0][r] = ((k as f64).ln() + sum) as f32;
        }
    },
    cases: loss_cases,
    ..WEIGHTS
};

/// pi, recon and kl (B,K), and the clock, whose row has the KL weight, to dlogits (B,K), assigned; recorded by
/// [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "marginal.backward",
    formula: "dl = scale * pi (g - sum_j pi[j] g[j]), g = recon + kl_weight * kl + log pi",
    reads: &["pi", "recon", "kl", "clock"],
    writes: &["dlogits"],
    shader: Shader { entry: "backward", ..WEIGHTS.shader },
    reference: |p, reads, writes| {
        let weight = clock::Row::read(reads[3]).kl_weight as f64;
        let p: Params = params(p);
        let k = p.k as usize;
        for r in 0..p.b as usize {
            let row = r * k..(r + 1) * k;
            let pi = |i: usize| reads[0][i] as f64;
            let cost = |i: usize| reads[1][i] as f64 + weight * reads[2][i] as f64;
            let mean: f64 = row.clone().map(|i| pi(i) * cost(i) + times_log(pi(i))).sum();
            for i in row {
                writes[0][i] = (p.scale as f64 * (pi(i) * (cost(i) - mean) + times_log(pi(i)))) as f32;
            }
        }
    },
    cost: |p| Cost { flops: 12 * p[0] as u64 * p[1] as u64, bytes: 16 * p[0] as u64 * p[1] as u64 },
    cases: backward_cases,
    ..WEIGHTS
};

// ---- Record

/// How much each class of a row counts: logits (B,K) of q(y|x), y (B,K) with 1 at the label or all 0, to (B,K).
pub fn weights(r: &mut Recorder, logits: Tensor, y: Tensor) -> Tensor {
    assert!(logits.shape() == y.shape(), "marginal.weights: logits {logits:?}, y {y:?}");
    let [b, k] = logits.matrix();
    let pi = r.tensor("pi", &[b, k]);
    r.dispatch(&WEIGHTS, Params { b: b as u32, k: k as u32, scale: 1.0 }, &[logits, y], &[pi]);
    pi
}

/// [`weights`] where no label is known: softmax of each row, (B,K).
pub fn probabilities(r: &mut Recorder, logits: Tensor) -> Tensor {
    // Nothing writes this tensor, and it starts as zeros.
    let none = r.tensor("labels", logits.shape());
    weights(r, logits, none)
}

/// KL(pi || uniform) of each row in nats: (B,K) to (B). For a label that is known that is log K, the cost of the label.
pub fn loss(r: &mut Recorder, pi: Tensor) -> Tensor {
    let [b, k] = pi.matrix();
    let rows = r.tensor("kl_y", &[b]);
    r.dispatch(&LOSS, Params { b: b as u32, k: k as u32, scale: 1.0 }, &[pi], &[rows]);
    rows
}

/// dlogits (B,K) of scale * sum of the rows' costs: through pi, with what each row costs under each label held fixed.
/// `recon` and `kl` are (B,K) in nats; the KL weight is the clock's for this step.
pub fn backward(r: &mut Recorder, [pi, recon, kl]: [Tensor; 3], clock: Tensor, scale: f32) -> Tensor {
    let [b, k] = pi.matrix();
    assert!(
        recon.shape() == [b, k] && kl.shape() == [b, k],
        "marginal.backward: pi {pi:?}, recon {recon:?}, kl {kl:?}"
    );
    let dlogits = r.tensor("dlogits", &[b, k]);
    let params = Params { b: b as u32, k: k as u32, scale };
    r.dispatch(&BACKWARD, params, &[pi, recon, kl, clock], &[dlogits]);
    dlogits
}

// ---- References

/// p log p, 0 at 0.
fn times_log(p: f64) -> f64 {
    if p == 0.0 { 0.0 } else { p * p.ln() }
}

// ---- Cases

const SIZES: [[usize; 2]; 5] = [[1, 1], [17, 10], [65, 3], [3, 257], [257, 10]];

fn case([b, k]: [usize; 2]) -> Case {
    Case::new(format!("{b}x{k}"), Params { b: b as u32, k: k as u32, scale: 0.5 })
}

/// Softmax of numbers, as labels go round: some rows one class alone, in all others each a share.
fn shares(b: usize, k: usize) -> Vec<f32> {
    let (logits, labels) = (uniform(1, b * k, -4.0, 4.0), cross_entropy::labels(b, k));
    let mut pi = vec![0.0; b * k];
    (WEIGHTS.reference)(&[b as u32, k as u32, 0], &[&logits, &labels], &mut [&mut pi]);
    pi
}

fn weights_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(1e-5, "a quotient of exp of an argument of size 12, and a sum of up to 257");
    let case = |[b, k]: [usize; 2]| {
        let mut logits = uniform(2, b * k, -6.0, 6.0);
        logits.iter_mut().rev().zip([100.0, -100.0]).for_each(|(l, extreme)| *l = extreme);
        case([b, k]).read(logits).read(cross_entropy::labels(b, k)).assign(b * k, tolerance)
    };
    SIZES.map(case).into()
}

fn loss_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(1e-5, "a sum of up to 257 terms through log that cancels log K");
    SIZES.map(|[b, k]| case([b, k]).read(shares(b, k)).assign(b, tolerance)).into()
}

fn backward_cases() -> Vec<Case> {
    // Costs of 50 to 60, whose differences count.
    let tolerance = Tolerance::Because(2e-5, "differences of sums of size 60");
    let case = |[b, k]: [usize; 2]| {
        let case =
            case([b, k]).read(shares(b, k)).read(uniform(3, b * k, 40.0, 45.0)).read(uniform(4, b * k, 10.0, 12.0));
        case.read_words(clock::Clock::example().words()).assign(b * k, tolerance)
    };
    SIZES.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: the costs of rows with and without a label.
fn gradients() -> Vec<GradientCase> {
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    vec![GradientCase {
        label: "marginal".into(),
        inputs: vec![(vec![5, 4], uniform(1, 20, -1.0, 1.0))],
        output: vec![5],
        record: Box::new(|r, inputs, dy| {
            let [y, recon, kl] = [1, 2, 3].map(|i| inputs[i].reshape(&[5, 4]));
            let pi = weights(r, inputs[0], y);
            let row = joint::add(r, recon, kl, 1.0);
            let weighed = joint::multiply(r, pi, row);
            let (mean, divergence) = (reduce::rows(r, weighed), loss(r, pi));
            let dlogits = backward(r, [pi, recon, kl], inputs[4], 1.0);
            (joint::add(r, mean, divergence, 1.0), vec![joint::weigh(r, dlogits, dy)])
        }),
        state: vec![
            ("y", bits(cross_entropy::labels(5, 4))),
            ("recon", bits(uniform(2, 20, 0.0, 2.0))),
            ("kl", bits(uniform(3, 20, 0.0, 2.0))),
            ("clock", clock::Clock::unit().words()),
        ],
    }]
}
