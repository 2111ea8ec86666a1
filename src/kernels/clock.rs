//! The device's sense of time, `shaders/clock.wgsl`: which step, batch and epoch it is, and what the host planned for it.
//!
//! The host writes the clock once an epoch. Between steps it only ticks: the batch to gather, the random numbers,
//! the learning rate, the KL weight, Adam's bias correction and the place of the losses all follow from it.

use bytemuck::{Pod, Zeroable};

use crate::arena::Arena;
use crate::check::case::{Case, uniform};
use crate::check::close::Tolerance;
use crate::kernel::{Cost, GradientCheck, Kernel, Shader, Source};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Layout

/// Words before the rows.
const HEADER: usize = 8;

/// What the host writes: words 0,1 seed; 2 step; 3 batch; 4 epoch; from word 8 on a [`Row`] for each batch.
#[derive(Clone, Debug)]
pub struct Clock {
    /// The key of every random number.
    pub seed: u64,
    /// Steps since the start of training.
    pub step: u32,
    /// The next batch of this epoch.
    pub batch: u32,
    /// Epochs since the start of training; with the seed it decides the order of the data.
    pub epoch: u32,
    /// One for each batch of the epoch.
    pub rows: Vec<Row>,
}

/// The schedules at one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Learning rate.
    pub lr: f32,
    /// What the KL term is multiplied by, without a unit: beta of the beta-VAE (Higgins et al. 2017), as warm-up has it
    /// at this step.
    pub kl_weight: f32,
    /// 1 - beta1^t of Adam.
    pub bias_correction1: f32,
    /// sqrt(1 - beta2^t) of Adam.
    pub bias_correction2_sqrt: f32,
}

impl Row {
    /// The row of the clock's batch. `words` is the clock as a reference reads it.
    pub fn read(words: &[f32]) -> Row {
        let batch = words[3].to_bits() as usize;
        let [lr, kl_weight, bias_correction1, bias_correction2_sqrt] =
            *words[HEADER + 4 * batch..].first_chunk().expect("the clock has a row for its batch");
        Row { lr, kl_weight, bias_correction1, bias_correction2_sqrt }
    }
}

impl Clock {
    /// Room on the device for the clock of an epoch of `batches`.
    pub fn tensor(arena: &mut Arena, name: &str, batches: usize) -> Tensor {
        arena.tensor(name, &[HEADER + 4 * batches])
    }

    /// As it lies on the device, (8 + 4 * rows): the header, whose last three words are 0, then each row's four f32 in
    /// the order of [`Row`]'s fields.
    pub fn words(&self) -> Vec<u32> {
        let mut words = vec![self.seed as u32, (self.seed >> 32) as u32, self.step, self.batch, self.epoch, 0, 0, 0];
        for row in &self.rows {
            let row = [row.lr, row.kl_weight, row.bias_correction1, row.bias_correction2_sqrt];
            words.extend(row.map(f32::to_bits));
        }
        words
    }

    /// A clock somewhere in an epoch, for the cases.
    pub fn example() -> Clock {
        let row = |i: u32| Row {
            lr: 1e-3 * (i + 1) as f32,
            kl_weight: 0.5 + 0.25 * i as f32,
            bias_correction1: 0.1 + 0.1 * i as f32,
            bias_correction2_sqrt: 0.03 + 0.01 * i as f32,
        };
        Clock { seed: 0x0123_4567_89ab_cdef, step: 41, batch: 1, epoch: 3, rows: (0..3).map(row).collect() }
    }

    /// A clock at its first step with every weight 1.
    pub fn unit() -> Clock {
        let row = Row { lr: 1.0, kl_weight: 1.0, bias_correction1: 1.0, bias_correction2_sqrt: 1.0 };
        Clock { seed: 1, step: 0, batch: 0, epoch: 0, rows: vec![row] }
    }
}

// ---- Params

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    recon: u32,
    kl: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "clock.wgsl",
    text: include_str!("../../shaders/clock.wgsl"),
    common: &[],
    bindings: &["recon", "kl", "time", "losses", "clock"],
    constants: &[],
};

/// recon (B) and kl (Z) in nats, and the clock as `time`; row `batch` of losses (batches,4) is assigned, the others
/// stay. Recorded by [`tally()`].
pub static TALLY: Kernel = Kernel {
    name: "clock.tally",
    formula: "losses[batch] = (sum of recon, sum of kl, kl_weight, B)",
    params: &["B", "recon", "kl"],
    reads: &["recon", "kl", "time"],
    writes: &["losses"],
    shader: Shader { source: &SOURCE, entry: "tally", workgroup: [64, 1, 1], grid: |_| [1, 1, 1] },
    software: None,
    candidates: None,
    reference: |p, reads, writes| {
        let [recon, kl] = [p[1] as usize, p[2] as usize];
        let sum = |values: &[f32]| values.iter().map(|&v| v as f64).sum::<f64>() as f32;
        let row = [sum(&reads[0][..recon]), sum(&reads[1][..kl]), Row::read(reads[2]).kl_weight, p[0] as f32];
        let batch = reads[2][3].to_bits() as usize;
        writes[0][4 * batch..][..4].copy_from_slice(&row);
    },
    accelerated: None,
    cost: |p| Cost { flops: (p[1] + p[2]) as u64, bytes: 4 * (p[1] + p[2]) as u64 },
    cases: tally_cases,
    gradients: GradientCheck::None("counts and sums losses for the host: nothing is differentiated through it"),
};

/// The clock (8 + 4 * batches) is updated in place: words 2 and 3, as integers. Recorded by [`tick`], last in a step.
pub static TICK: Kernel = Kernel {
    name: "clock.tick",
    formula: "step += 1, batch += 1",
    params: &["B", "recon", "kl"],
    reads: &[],
    writes: &["clock"],
    shader: Shader { source: &SOURCE, entry: "tick", workgroup: [1, 1, 1], grid: |_| [1, 1, 1] },
    software: None,
    candidates: None,
    reference: |_, _, writes| {
        for word in [2, 3] {
            writes[0][word] = f32::from_bits(writes[0][word].to_bits() + 1);
        }
    },
    accelerated: None,
    cost: |_| Cost { flops: 2, bytes: 16 },
    cases: tick_cases,
    gradients: GradientCheck::None("counts and sums losses for the host: nothing is differentiated through it"),
};

// ---- Record

/// Writes the step's losses into row `batch` of `losses` (batches, 4): recon and kl in nats summed over the batch, the KL
/// weight, the rows of the batch. `recon` and `kl` are parts of the two sums: (B) and (Z) as models record them.
pub fn tally(r: &mut Recorder, rows: usize, [recon, kl]: [Tensor; 2], clock: Tensor, losses: Tensor) {
    assert!(losses.matrix()[1] == 4, "clock.tally: losses {losses:?} has no rows of 4");
    let params = tally_params(rows as u32, recon, kl);
    r.dispatch_words(&TALLY, params, &[recon, kl, clock], &[losses]);
}

/// The params of a tally of so many rows, whose terms are in these tensors.
pub(crate) fn tally_params(rows: u32, recon: Tensor, kl: Tensor) -> Vec<u32> {
    vec![rows, recon.len() as u32, kl.len() as u32]
}

/// The next step, the next batch.
pub fn tick(r: &mut Recorder, clock: Tensor) {
    r.dispatch(&TICK, Params { b: 0, recon: 0, kl: 0 }, &[], &[clock]);
}

// ---- Cases

fn tally_cases() -> Vec<Case> {
    let case = |[b, z]: [usize; 2]| {
        Case::new(format!("{b} and {z} parts"), Params { b: 7, recon: b as u32, kl: z as u32 })
            .read(uniform(1, b, 80.0, 140.0))
            .read(uniform(2, z, 0.0, 300.0))
            .read_words(Clock::example().words())
            .update(uniform(3, 12, -1.0, 1.0), Tolerance::Because(1e-6, "a sum of positive terms, relative to it"))
    };
    [[1, 1], [128, 20], [257, 65]].map(case).into()
}

fn tick_cases() -> Vec<Case> {
    let clock = bytemuck::allocation::cast_vec(Clock::example().words());
    vec![Case::new("from step 41, batch 1", Params { b: 0, recon: 0, kl: 0 }).update(clock, Tolerance::Exact)]
}
