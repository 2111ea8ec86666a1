//! Cross-entropy of words of a vocabulary from logits, `shaders/token_cross_entropy.wgsl`: `cross_entropy` of PyTorch
//! with numbers of classes and `ignore_index`. The gradient takes the place of the logits.

use bytemuck::{Pod, Zeroable};

use super::math;
use super::multinomial::logits_of_cases;
use super::rows::Rows;
use super::threads::{chunk, chunks};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// C rows of V logits, from row `first` of all on. A row whose target is `ignored` counts nothing. B sentences have
/// weights, and row r is of sentence r % B; 0: there are none. `scale` multiplies the gradient.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    c: u32,
    v: u32,
    first: u32,
    ignored: u32,
    b: u32,
    scale: f32,
}

// ---- Kernels

const FIELDS: &[&str] = &["C", "V", "first", "ignored", "B", "scale"];

const SOURCE: Source = Source {
    file: "token_cross_entropy.wgsl",
    text: include_str!("../../shaders/token_cross_entropy.wgsl"),
    common: &[super::INDEX, super::SUM, super::LARGEST],
    bindings: &["logits", "targets", "sums", "weights", "rows", "counted", "log_sums", "dlogits"],
    ..PLAIN_SOURCE
};

/// logits (C,V), targets (R) as integers, to rows (R) in nats, counted (R), 0 where a row counts nothing, else 1, and
/// log_sums (R), of all three the C rows from `first` on assigned; recorded by [`loss`].
pub static LOSS: Kernel = Kernel {
    name: "token_cross_entropy.loss",
    formula: "rows[r] = log sum_v e^l[r,v] - l[r,target], 0 where the target is ignored",
    params: FIELDS,
    reads: &["logits", "targets"],
    writes: &["rows", "counted", "log_sums"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |p, _| [p[0], 1, 1] },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [c, v, first] = [p.c, p.v, p.first].map(|n| n as usize);
        for (row, r) in (first..first + c).enumerate() {
            let logits = reads[0][row * v..][..v].iter().map(|&l| l as f64);
            // Not `f64::max`, which would pass over a NaN; the sum has it in any case.
            let most = logits.clone().fold(f64::NEG_INFINITY, |most, l| if l > most { l } else { most });
            let log_sum = logits.map(|l| (l - most).exp()).sum::<f64>().ln();
            let target = reads[1][r].to_bits();
            let nats = log_sum + (most - reads[0][row * v + (target as usize).min(v - 1)] as f64);
            writes[0][r] = if target == p.ignored { 0.0 } else { nats as f32 };
            writes[1][r] = f32::from(target != p.ignored);
            writes[2][r] = (most + log_sum) as f32;
        }
    },
    accelerated: Some(loss_accelerated),
    cost: |p| Cost { flops: 4 * p[0] as u64 * p[1] as u64, bytes: 4 * p[0] as u64 * p[1] as u64 },
    cases: loss_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// targets (R) as integers, the loss's log-sums (R), weights (B), and dlogits (C,V), which holds the logits and is
/// updated; recorded by [`backward`]. Where B is 0 nothing is read of `weights`.
pub static BACKWARD: Kernel = Kernel {
    name: "token_cross_entropy.backward",
    formula: "dl = scale * weight[r % B] * (softmax(l[r])[v] - [v = target]), 0 where the target is ignored",
    params: FIELDS,
    reads: &["targets", "sums", "weights"],
    writes: &["dlogits"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [c, v, first] = [p.c, p.v, p.first].map(|n| n as usize);
        for at in 0..c * v {
            let r = first + at / v;
            let (target, scale) = (reads[0][r].to_bits(), scale_of(p, r, reads[2]) as f64);
            let chosen = f64::from(target as usize == at % v);
            let d = scale * ((writes[0][at] as f64 - reads[1][r] as f64).exp() - chosen);
            writes[0][at] = if target == p.ignored { 0.0 } else { d as f32 };
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: 4 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

// ---- Record

/// Where the losses of all rows go, and what the backward needs of them.
#[derive(Clone, Copy, Debug)]
pub struct Losses {
    /// (R): -log p of each row's target in nats; 0 where it is ignored.
    pub rows: Tensor,
    /// (R): 1 for each row that counts, else 0.
    pub counted: Tensor,
    /// (R)
    log_sums: Tensor,
    /// (R), integers.
    targets: Tensor,
    /// The target that counts nothing.
    ignored: u32,
}

/// Room for the losses of the rows with these targets (R), of which those that are `ignored` cost nothing. Every row
/// has to be in one [`loss`].
pub fn losses(r: &mut Recorder, targets: Tensor, ignored: u32) -> Losses {
    let [rows, counted, log_sums] = ["recon", "counted", "log_sums"].map(|name| r.tensor(name, &[targets.len()]));
    Losses { rows, counted, log_sums, targets, ignored }
}

/// Writes the losses of the rows from `first` on, whose logits are (C,V).
pub fn loss(r: &mut Recorder, losses: Losses, logits: Tensor, first: usize) {
    let params = sizes(losses, logits, first, 0, 1.0);
    let Losses { rows, counted, log_sums, targets, .. } = losses;
    r.dispatch(&LOSS, params, &[logits, targets], &[rows, counted, log_sums]);
}

/// Turns the logits (C,V) of the rows from `first` on into the gradient of their losses. A sentence counts as `weight`
/// says.
pub fn backward(r: &mut Recorder, losses: Losses, logits: Tensor, first: usize, weight: Rows) {
    let Losses { log_sums, targets, .. } = losses;
    let (weights, b, scale) = match weight {
        Rows::Scale(scale) => (log_sums, 0, scale),
        Rows::Weights(weights) => (weights, weights.len(), 1.0),
    };
    r.dispatch(&BACKWARD, sizes(losses, logits, first, b, scale), &[targets, log_sums, weights], &[logits]);
}

fn sizes(losses: Losses, logits: Tensor, first: usize, b: usize, scale: f32) -> Params {
    let [c, v] = logits.matrix();
    let rows = losses.targets.len();
    assert!(first + c <= rows, "token_cross_entropy: logits {logits:?} from row {first} of {rows}");
    Params { c: c as u32, v: v as u32, first: first as u32, ignored: losses.ignored, b: b as u32, scale }
}

// ---- References

fn scale_of(p: Params, r: usize, weights: &[f32]) -> f32 {
    if p.b == 0 { p.scale } else { p.scale * weights[r % p.b as usize] }
}

// ---- Accelerated

/// Threads share the rows.
fn loss_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [c, v, first] = [p.c, p.v, p.first].map(|n| n as usize);
    let [rows, counted, log_sums] = writes else { unreachable!("token_cross_entropy.loss writes three tensors") };
    let [rows, counted, log_sums] = [rows, counted, log_sums].map(|of| &mut of[first..][..c]);
    counted.iter_mut().zip(&reads[1][first..]).for_each(|(c, t)| *c = f32::from(t.to_bits() != p.ignored));
    chunks([(rows, 1), (log_sums, 1)], (super::CHUNK / v).max(1), |i, [row, log_sum]| {
        let logits = chunk(reads[0], v, i);
        let most = math::largest(logits);
        let sum = math::ln(math::sum_pairs([logits, logits], move |l, _| math::exp_negative(l - most)));
        let target = reads[1][first + i].to_bits();
        let nats = sum + (most - logits[(target as usize).min(v - 1)]);
        row[0] = if target == p.ignored { 0.0 } else { nats };
        log_sum[0] = most + sum;
    });
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [c, v, first] = [p.c, p.v, p.first].map(|n| n as usize);
    chunks([(&mut writes[0][..c * v], v)], (super::CHUNK / v).max(1), |row, [dlogits]| {
        let r = first + row;
        let (target, log_sum) = (reads[0][r].to_bits(), reads[1][r]);
        if target == p.ignored {
            return dlogits.fill(0.0);
        }
        let scale = scale_of(p, r, reads[2]);
        math::update(dlogits, move |l| scale * math::exp_negative(l - log_sum));
        if let Some(chosen) = dlogits.get_mut(target as usize) {
            *chosen -= scale;
        }
    });
}

// ---- Cases

/// [C, V, first, R, B]: rows of all, vocabulary, and sentences with a weight.
const SIZES: [[usize; 5]; 5] =
    [[1, 1, 0, 1, 0], [17, 65, 0, 17, 0], [3, 257, 2, 9, 3], [5, 5024, 1, 6, 2], [128, 17, 64, 200, 8]];

const IGNORED: u32 = 0;

/// Some targets are ignored.
fn inputs([c, v, _, r, _]: [usize; 5]) -> (Vec<f32>, Vec<u32>) {
    (logits_of_cases(c, v), (0..r).map(|r| ((r * 7 + 1) % v * (r % 5).min(1)) as u32).collect())
}

fn params_of([c, v, first, _, b]: [usize; 5]) -> Params {
    Params { c: c as u32, v: v as u32, first: first as u32, ignored: IGNORED, b: b as u32, scale: 0.5 }
}

fn loss_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(4e-6, "thousands of exponentials, and a logarithm");
    let case = |sizes: [usize; 5]| {
        let [c, v, first, r, _] = sizes;
        let (logits, targets) = inputs(sizes);
        let case = Case::new(format!("{c}x{v} from {first} of {r}"), params_of(sizes)).read(logits).read_words(targets);
        // Rows of other dispatches stay.
        let case = case.update(uniform(2, r, 0.0, 1.0), tolerance).update(vec![7.0; r], Tolerance::Exact);
        case.update(uniform(3, r, 0.0, 1.0), tolerance)
    };
    SIZES.map(case).into()
}

fn backward_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(3e-6, "exp of an argument of size 20");
    let case = |sizes: [usize; 5]| {
        let [c, v, first, r, b] = sizes;
        let (logits, targets) = inputs(sizes);
        let words: Vec<f32> = targets.iter().map(|&t| f32::from_bits(t)).collect();
        let [mut rows, mut counted, mut sums] = [(); 3].map(|_| vec![0.0; r]);
        let params = bytemuck::pod_collect_to_vec(&[params_of(sizes)]);
        (LOSS.reference)(&params, &[&logits, &words], &mut [&mut rows, &mut counted, &mut sums]);
        Case::new(format!("{c}x{v} from {first} of {r}, {b} weights"), params_of(sizes))
            .read_words(targets)
            .read(sums)
            .read(uniform(4, b.max(1), 0.0, 2.0))
            .update(logits, tolerance)
    };
    SIZES.map(case).into()
}

// ---- Gradients

/// For the finite-difference check: six words, each with a weight of its own, of which the second is ignored.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "token_cross_entropy".into(),
        inputs: vec![(vec![6, 7], uniform(1, 42, -2.0, 2.0))],
        output: vec![6],
        record: Box::new(move |r, inputs, dy| {
            // The gradient takes the place of the logits, and the inputs have to stay.
            let logits = super::joint::scale(r, inputs[0], 1.0);
            let losses = losses(r, inputs[1], IGNORED);
            loss(r, losses, logits, 0);
            backward(r, losses, logits, 0, Rows::Weights(dy));
            (losses.rows, vec![logits])
        }),
        state: vec![("targets", vec![3, 0, 6, 1, 3, 2])],
    }]
}
