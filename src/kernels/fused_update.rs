//! The end of a step in one dispatch, `shaders/fused_update.wgsl`: what [`adam::forward`], [`clock::tally`] and
//! [`clock::tick`] do in three. [`fusion`](crate::fusion) records it in their place.

use bytemuck::{Pod, Zeroable};

use super::adam::{self, Adam};
use super::clock::{self, Clock};
use super::fused_batch::MOMENT;
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// N parameters, B rows of the batch; the terms are `recon` parts of -log p(x|z) and, from word `first` on, `kl` parts
/// of the KL.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    adam: adam::Params,
    b: u32,
    recon: u32,
    first: u32,
    kl: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "fused_update.wgsl",
    text: include_str!("../../shaders/fused_update.wgsl"),
    common: &[super::INDEX, super::ADAM],
    bindings: &["grad", "moment", "terms", "p", "m", "v", "losses", "clock"],
    ..PLAIN_SOURCE
};

/// grad (N), moment (16) and terms to p, m and v (N), losses (batches, 4) and the clock, all updated; recorded by
/// [`adam()`].
pub static ADAM: Kernel = Kernel {
    name: "fused_update.adam",
    formula: "adam.forward; losses[batch] = (sum of recon, sum of kl, kl_weight, B); step += 1, batch += 1",
    params: &["N", "beta1", "beta2", "eps", "weight_decay", "decoupled", "B", "recon", "first", "kl"],
    reads: &["grad", "moment", "terms"],
    writes: &["p", "m", "v", "losses", "clock"],
    shader: Shader { source: &SOURCE, entry: "adam", workgroup: [64, 1, 1], grid: |p, _| grid_1d(p[0] as usize, 64) },
    reference: |p, reads, writes| {
        let [values, means, squares, losses, clock] = writes else {
            unreachable!("fused_update.adam writes five tensors")
        };
        (adam::FORWARD.reference)(adam_words(p), &reads[..2], &mut [values, means, squares]);
        end(params(p), reads[1], reads[2], losses, clock);
    },
    accelerated: Some(|p, reads, writes| {
        let [values, means, squares, losses, clock] = writes else {
            unreachable!("fused_update.adam writes five tensors")
        };
        let adam = adam::FORWARD.accelerated.expect("adam.forward has an accelerated form");
        adam(adam_words(p), &reads[..2], &mut [values, means, squares]);
        end(params(p), reads[1], reads[2], losses, clock);
    }),
    cost: |p| (adam::FORWARD.cost)(adam_words(p)),
    cases,
    gradients: GradientCheck::None("follows the gradients: nothing is differentiated through an update"),
    ..PLAIN
};

/// The params of adam.forward.
fn adam_words(p: &[u32]) -> &[u32] {
    &p[..adam::FORWARD.params.len()]
}

/// Losses and clock.
fn end(p: Params, moment: &[f32], terms: &[f32], losses: &mut [f32], clock: &mut [f32]) {
    let sum = |values: &[f32]| values.iter().map(|&v| v as f64).sum::<f64>() as f32;
    let [recon, first, kl] = [p.recon, p.first, p.kl].map(|v| v as usize);
    let batch = clock[3].to_bits() as usize;
    let weight = clock::Row::read(moment).kl_weight;
    losses[4 * batch..][..4].copy_from_slice(&[
        sum(&terms[..recon]),
        sum(&terms[first..first + kl]),
        weight,
        p.b as f32,
    ]);
    for word in [2, 3] {
        clock[word] = f32::from_bits(clock[word].to_bits() + 1);
    }
}

// ---- Record

/// The terms of a loss: views of one tensor, `recon` at its start.
#[derive(Clone, Copy)]
pub struct Terms {
    /// Both, and what lies between them.
    pub all: Tensor,
    /// Parts of -log p(x|z), in nats.
    pub recon: Tensor,
    /// Parts of the KL, in nats.
    pub kl: Tensor,
}

impl Terms {
    /// Room for so many parts, as views that a kernel can write.
    pub fn new(r: &mut Recorder, recon: &[usize], kl: &[usize]) -> Terms {
        let [len, kl_len]: [usize; 2] = [recon, kl].map(|shape| shape.iter().product());
        let first = len.next_multiple_of(crate::arena::ALIGNMENT);
        let all = r.tensor("terms", &[first + kl_len]);
        Terms { all, recon: Tensor::new(all.buffer, 0, recon), kl: Tensor::new(all.buffer, first, kl) }
    }
}

/// Updates the parameters and moments `[p, m, v]` from `grad`, all of one length, writes the losses of the batch of
/// `rows`, and moves the clock on.
pub fn adam(
    r: &mut Recorder,
    adam: Adam,
    [grad, moment]: [Tensor; 2],
    terms: &Terms,
    rows: usize,
    [p, m, v]: [Tensor; 3],
    [losses, clock]: [Tensor; 2],
) {
    assert!(
        [p, m, v].iter().all(|t| t.len() == grad.len()),
        "fused_update.adam: grad {grad:?}, p {p:?}, m {m:?}, v {v:?}"
    );
    assert!(moment.len() == MOMENT, "fused_update.adam: moment {moment:?}");
    let [b, recon, first, kl] = [rows, terms.recon.len(), terms.kl.offset, terms.kl.len()].map(|v| v as u32);
    let params = Params { adam: adam.params(grad.len()), b, recon, first, kl };
    r.dispatch(&ADAM, params, &[grad, moment, terms.all], &[p, m, v, losses, clock]);
}

// ---- Cases

fn cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(1e-6, "division 2.5 ulp, square root and five rounded operations");
    let case = |(n, weight_decay, decoupled): (usize, f32, bool)| {
        let adam = Adam { betas: [0.9, 0.99], eps: 1e-8, weight_decay, decoupled };
        let (recon, first, kl) = (n / 2 + 1, n / 2 + 4, n / 3 + 1);
        let params = Params { adam: adam.params(n), b: 17, recon: recon as u32, first: first as u32, kl: kl as u32 };
        let clock = Clock::example();
        let moment = Clock { batch: 0, rows: vec![clock.rows[1]], ..clock.clone() };
        Case::new(format!("{n} decay {weight_decay}"), params)
            .read(uniform(1, n, -1.0, 1.0))
            .read_words(moment.words())
            .read(uniform(5, first + kl, 1.0, 2.0))
            .update(uniform(2, n, -1.0, 1.0), tolerance)
            .update(uniform(3, n, -0.1, 0.1), tolerance)
            .update(uniform(4, n, 0.0, 0.1), tolerance)
            .update(uniform(6, 12, -1.0, 1.0), Tolerance::Because(1e-6, "a sum of positive terms, relative to it"))
            .update(bytemuck::allocation::cast_vec(clock.words()), Tolerance::Exact)
    };
    [(1, 0.0, false), (65, 0.1, false), (1001, 0.1, true), (5003, 0.0, false)].map(case).into()
}
