//! KL(q || uniform) of categorical variables, `shaders/categorical_kl.wgsl`. R rows, each a variable of K classes.

use bytemuck::{Pod, Zeroable};

use super::rows::Rows;
use super::{CHUNK, clock, math, threads};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// `scale` multiplies the gradient beside the KL weight of the step.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    r: u32,
    k: u32,
    scale: f32,
}

impl Params {
    fn sizes(self) -> [usize; 2] {
        [self.r as usize, self.k as usize]
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "categorical_kl.wgsl",
    text: include_str!("../../shaders/categorical_kl.wgsl"),
    common: &[super::INDEX, super::CLOCK],
    bindings: &["logits", "clock", "kl", "dlogits"],
    ..PLAIN_SOURCE
};

/// Logits (R,K) to kl (R) in nats, assigned; recorded by [`loss`].
pub static LOSS: Kernel = Kernel {
    name: "categorical_kl.loss",
    formula: "kl[r] = sum_k q_k (log q_k + log K), q = softmax(logits)",
    params: &["R", "K", "scale"],
    reads: &["logits"],
    writes: &["kl"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| {
        let [r, k] = params::<Params>(p).sizes();
        for (row, kl) in writes[0][..r].iter_mut().enumerate() {
            let (_, entropy) = log_probabilities(&reads[0][row * k..][..k]);
            *kl = ((k as f64).ln() - entropy) as f32;
        }
    },
    accelerated: Some(loss_accelerated),
    cost: |p| cost(p, 5),
    cases: loss_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// Logits (R,K), and the clock, whose row has the KL weight, to dlogits (R,K), assigned; recorded by [`backward`],
/// before the gradient through the sample is added.
pub static BACKWARD: Kernel = Kernel {
    name: "categorical_kl.backward",
    formula: "dlogits_k = w q_k (log q_k - sum_j q_j log q_j), w = scale * kl_weight",
    params: &["R", "K", "scale"],
    reads: &["logits", "clock"],
    writes: &["dlogits"],
    shader: Shader { source: &SOURCE, entry: "backward", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| {
        let weight = f64::from(params::<Params>(p).scale) * f64::from(clock::Row::read(reads[1]).kl_weight);
        let [r, k] = params::<Params>(p).sizes();
        for row in 0..r {
            let (log_q, entropy) = log_probabilities(&reads[0][row * k..][..k]);
            for (d, log_q) in writes[0][row * k..][..k].iter_mut().zip(log_q) {
                *d = (weight * log_q.exp() * (log_q + entropy)) as f32;
            }
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| cost(p, 8),
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

fn grid(p: &[u32], _: &[Constant]) -> [u32; 3] {
    grid_1d(p[0] as usize, 64)
}

fn cost(p: &[u32], flops: u64) -> Cost {
    let elements = u64::from(p[0]) * u64::from(p[1]);
    Cost { flops: flops * elements, bytes: 4 * elements }
}

// ---- Record

/// KL(softmax(logits) || uniform) of each variable in nats: (R,K) to (R).
pub fn loss(r: &mut Recorder, logits: Tensor) -> Tensor {
    let [rows, k] = logits.matrix();
    let kl = r.tensor("kl", &[rows]);
    r.dispatch(&LOSS, Params { r: rows as u32, k: k as u32, scale: 1.0 }, &[logits], &[kl]);
    kl
}

/// dlogits (R,K), assigned, of kl_weight times the [`loss`]. R is a multiple of the batch's B rows, of which each counts
/// as `rows` says; the KL weight is the clock's for this step.
pub fn backward(r: &mut Recorder, logits: Tensor, clock: Tensor, rows: Rows, batch: usize) -> Tensor {
    let [variables, k] = logits.matrix();
    assert!(variables.is_multiple_of(batch), "categorical_kl.backward: logits {logits:?} of a batch of {batch}");
    let [dlogits] = rows.apply(r, |r, scale| {
        let dlogits = r.tensor("dlogits", logits.shape());
        r.dispatch(&BACKWARD, Params { r: variables as u32, k: k as u32, scale }, &[logits, clock], &[dlogits]);
        [dlogits.reshape(&[batch, logits.len() / batch])]
    });
    dlogits.reshape(logits.shape())
}

// ---- References

/// log q of a row, and the entropy of q in nats.
fn log_probabilities(logits: &[f32]) -> (Vec<f64>, f64) {
    let logits = logits.iter().map(|&logit| f64::from(logit));
    let most = logits.clone().fold(f64::NEG_INFINITY, f64::max);
    let log_sum = most + logits.clone().map(|logit| (logit - most).exp()).sum::<f64>().ln();
    let log_q: Vec<f64> = logits.map(|logit| logit - log_sum).collect();
    let entropy = -log_q.iter().map(|log_q| log_q.exp() * log_q).sum::<f64>();
    (log_q, entropy)
}

// ---- Accelerated

/// Numbers of whole rows that a thread takes at a time.
fn chunk(k: usize) -> usize {
    k * (CHUNK / k).max(1)
}

/// Writes e^(logit - largest) to `e`, which is then the sum of each row's to q, and calls `then` with each row's logits,
/// largest, sum s, and sum_k q_k (logit_k - largest).
fn each_row(e: &mut [f32], logits: &[f32], k: usize, mut then: impl FnMut(usize, &mut [f32], [f32; 3])) {
    let largest = |row: &[f32]| row.iter().fold(f32::NEG_INFINITY, |most, &l| if l > most { l } else { most });
    for (e, logits) in e.chunks_mut(k).zip(logits.chunks(k)) {
        let most = largest(logits);
        e.iter_mut().zip(logits).for_each(|(e, logit)| *e = logit - most);
    }
    math::update(e, math::exp);
    for (row, (e, logits)) in e.chunks_mut(k).zip(logits.chunks(k)).enumerate() {
        let most = largest(logits);
        let sum: f32 = e.iter().sum();
        let weighted: f32 = e.iter().zip(logits).map(|(e, logit)| e * (logit - most)).sum();
        then(row, e, [most, sum, weighted / sum]);
    }
}

fn loss_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [r, k] = params::<Params>(p).sizes();
    let log_k = (k as f32).ln();
    threads::chunks([(&mut writes[0][..r], chunk(k) / k)], 1, |i, [kl]| {
        let logits = &reads[0][i * chunk(k)..][..kl.len() * k];
        let mut e = super::scratch::any(logits.len());
        each_row(&mut e, logits, k, |row, _, [_, sum, weighted]| kl[row] = weighted - sum.ln() + log_k);
    });
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let weight = params::<Params>(p).scale * clock::Row::read(reads[1]).kl_weight;
    let [r, k] = params::<Params>(p).sizes();
    threads::chunks([(&mut writes[0][..r * k], chunk(k))], 1, |i, [dlogits]| {
        let logits = &reads[0][i * chunk(k)..][..dlogits.len()];
        each_row(dlogits, logits, k, |row, e, [most, sum, weighted]| {
            let scale = weight / sum;
            let logits = &logits[row * k..][..k];
            e.iter_mut().zip(logits).for_each(|(e, logit)| *e *= scale * ((logit - most) - weighted));
        });
    });
}

// ---- Cases

/// (R,K): one class, odd sizes, the preset's 128 x 20 variables of 10.
const SIZES: [[usize; 2]; 5] = [[1, 1], [17, 2], [65, 17], [257, 3], [2560, 10]];

fn case([r, k]: [usize; 2]) -> Case {
    Case::new(format!("{r}x{k}"), Params { r: r as u32, k: k as u32, scale: 0.7 }).read(uniform(1, r * k, -3.0, 3.0))
}

fn loss_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(4e-6, "a difference of logs of size 3");
    SIZES.map(|[r, k]| case([r, k]).assign(r, tolerance)).into()
}

fn backward_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(4e-6, "exp of an argument of size 6, a difference of logs");
    SIZES.map(|[r, k]| case([r, k]).read_words(clock::Clock::example().words()).assign(r * k, tolerance)).into()
}

// ---- Gradients

/// For the finite-difference check: each row with a weight of its own.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "categorical_kl".into(),
        inputs: vec![(vec![5, 4], uniform(1, 20, -1.5, 1.5))],
        output: vec![5],
        record: Box::new(|r, inputs, dy| {
            let [logits, clock] = [inputs[0], inputs[1]];
            (loss(r, logits), vec![backward(r, logits, clock, Rows::Weights(dy), 5)])
        }),
        state: vec![("clock", clock::Clock::unit().words())],
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uniform_q_costs_nothing_and_a_certain_one_log_k() {
        let of = |logits: &[f32]| {
            let mut kl = [0.0f32];
            let p = bytemuck::pod_collect_to_vec(&[Params { r: 1, k: logits.len() as u32, scale: 1.0 }]);
            let mut both = [LOSS.reference, loss_accelerated].map(|form| {
                form(&p, &[logits], &mut [&mut kl[..]]);
                kl[0]
            });
            both.sort_by(f32::total_cmp);
            both
        };
        assert!(of(&[0.3; 10]).iter().all(|kl| kl.abs() < 1e-6));
        assert!(of(&[-40.0, 40.0, -40.0]).iter().all(|kl| (kl - 3f32.ln()).abs() < 1e-6));
        assert!(of(&[0.0, f32::NAN]).iter().all(|kl| kl.is_nan()));
    }
}
