//! A KL held at a capacity that grows, `shaders/capacity.wgsl` (Burgess et al. 2018, arXiv 1804.03599).

use bytemuck::{Pod, Zeroable};

use super::clock;
use super::gaussian_kl;
use super::rows::Rows;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// B rows, P parts of their KL; `scale` is what a row counts.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    p: u32,
    scale: f32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "capacity.wgsl",
    text: include_str!("../../shaders/capacity.wgsl"),
    common: &[super::SUM, super::CLOCK],
    bindings: &["kl", "clock", "gap", "weights"],
    ..PLAIN_SOURCE
};

/// kl (P), and the clock, whose first knob is C, to gap (1) and weights (B), both assigned; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "capacity.forward",
    formula: "gap = |sum kl - B C|, weights[b] = scale * sign(sum kl - B C)",
    params: &["B", "P", "scale"],
    reads: &["kl", "clock"],
    writes: &["gap", "weights"],
    shader: Shader { source: &SOURCE, entry: "forward", workgroup: [64, 1, 1], grid: |_, _| [1, 1, 1] },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let kl: f64 = reads[0][..p.p as usize].iter().map(|&kl| f64::from(kl)).sum();
        let over = kl - f64::from(p.b) * f64::from(clock::Row::read(reads[1]).knobs[0]);
        // Not `signum`, which is 1 at 0. A NaN stays one.
        let side = if over == 0.0 { 0.0 } else { over.signum() };
        writes[0][0] = over.abs() as f32;
        writes[1][..p.b as usize].fill(p.scale * side as f32);
    },
    cost: |p| Cost { flops: p[1] as u64, bytes: 4 * (p[0] as u64 + p[1] as u64) },
    cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

// ---- Record

/// B |KL/B - C| in nats, (1), of a KL in parts summed over a batch of B rows; and what each row's KL counts in scale
/// times it, (B): scale above C, -scale below. C is the clock's first knob.
pub fn forward(r: &mut Recorder, kl: Tensor, rows: usize, clock: Tensor, scale: f32) -> (Tensor, Tensor) {
    let (gap, weights) = (r.tensor("gap", &[1]), r.tensor("weights", &[rows]));
    let params = Params { b: rows as u32, p: kl.len() as u32, scale };
    r.dispatch(&FORWARD, params, &[kl, clock], &[gap, weights]);
    (gap, weights)
}

// ---- Cases

/// The example clock's capacity is 1.1 nats a row: a KL below it and one above, in as many parts as a latent has.
fn cases() -> Vec<Case> {
    let case = |(b, p, each): (usize, usize, f32)| {
        Case::new(format!("{b} rows, {p} parts up to {each}"), Params { b: b as u32, p: p as u32, scale: 0.7 })
            .read(uniform(1, p, 0.0, each))
            .read_words(clock::Clock::example().words())
            .assign(1, Tolerance::Because(2e-6, "a difference of two sums, neither of them larger by much"))
            .assign(b, Tolerance::Exact)
    };
    [(1, 1, 0.3), (128, 10, 9.0), (128, 10, 400.0), (65, 129, 3.0), (7, 65, 0.01)].map(case).into()
}

/// For the finite-difference check: a KL above the capacity and one below.
fn gradients() -> Vec<GradientCase> {
    let case = |capacity: f32| GradientCase {
        label: format!("capacity {capacity}"),
        inputs: vec![(vec![6, 3], uniform(1, 18, -1.0, 1.0)), (vec![6, 3], uniform(2, 18, -1.0, 1.0))],
        output: vec![1],
        record: Box::new(|r, inputs, dy| {
            let [mean, logvar, clock] = [inputs[0], inputs[1], inputs[2]];
            let kl = gaussian_kl::loss(r, mean, logvar, 0.0);
            let (gap, weights) = forward(r, kl, 6, clock, 1.0);
            let (dmean, dlogvar) = gaussian_kl::backward_rows(r, [mean, logvar], clock, Rows::Weights(weights));
            (gap, [dmean, dlogvar].map(|gradient| super::weighted(r, dy, gradient)).into())
        }),
        state: {
            let mut clock = clock::Clock::unit();
            clock.rows[0].knobs[0] = capacity;
            vec![("clock", clock.words())]
        },
    };
    vec![case(0.1), case(5.0)]
}
