//! The device's sense of time, `shaders/clock.wgsl`: which step, batch and epoch it is, and what the host planned for
//! it.
//!
//! The host writes the clock once an epoch. Between steps it only ticks: the batch to gather, the random numbers,
//! the learning rate, the KL weight, Adam's bias correction, a model's knobs and the place of the losses all follow
//! from it.

use bytemuck::{Pod, Zeroable};

use crate::arena::Arena;
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Layout

/// Words before the rows.
pub(crate) const HEADER: usize = 8;
/// Words of a row.
pub(crate) const ROW: usize = 8;

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
    /// Whatever else a model schedules, such as a temperature; 0 where it has none. A kernel reads knob k as
    /// `clock_row(4u + k)`.
    pub knobs: [f32; 4],
}

/// A step that moves nothing: learning rate and KL weight 0, no bias correction, no knobs.
impl Default for Row {
    fn default() -> Row {
        Row { lr: 0.0, kl_weight: 0.0, bias_correction1: 1.0, bias_correction2_sqrt: 1.0, knobs: [0.0; 4] }
    }
}

impl Row {
    /// The row of the clock's batch. `words` is the clock as a reference reads it.
    pub fn read(words: &[f32]) -> Row {
        let batch = words[3].to_bits() as usize;
        let [lr, kl_weight, bias_correction1, bias_correction2_sqrt, knobs @ ..]: [f32; ROW] =
            *words[HEADER + ROW * batch..].first_chunk().expect("the clock has a row for its batch");
        Row { lr, kl_weight, bias_correction1, bias_correction2_sqrt, knobs }
    }
}

impl Clock {
    /// Room on the device for the clock of an epoch of `batches`.
    pub fn tensor(arena: &mut Arena, name: &str, batches: usize) -> Tensor {
        arena.tensor(name, &[HEADER + ROW * batches])
    }

    /// As it lies on the device, (8 + 8 * rows): the header, whose last three words are 0, then each row's eight f32 in
    /// the order of [`Row`]'s fields.
    pub fn words(&self) -> Vec<u32> {
        let mut words = vec![self.seed as u32, (self.seed >> 32) as u32, self.step, self.batch, self.epoch, 0, 0, 0];
        for row in &self.rows {
            let scheduled = [row.lr, row.kl_weight, row.bias_correction1, row.bias_correction2_sqrt];
            words.extend(scheduled.iter().chain(&row.knobs).map(|value| value.to_bits()));
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
            knobs: [1.0, 2.0, 3.0, 4.0].map(|knob| knob + 0.1 * i as f32),
        };
        Clock { seed: 0x0123_4567_89ab_cdef, step: 41, batch: 1, epoch: 3, rows: (0..3).map(row).collect() }
    }

    /// A clock at its first step with every weight 1.
    pub fn unit() -> Clock {
        let row = Row { lr: 1.0, kl_weight: 1.0, ..Row::default() };
        Clock { seed: 1, step: 0, batch: 0, epoch: 0, rows: vec![row] }
    }
}

// ---- Params

/// B rows of the batch; how many parts the two terms have, of which the second may be missing (0); the first one's
/// column in the losses, and their width.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    recon: u32,
    kl: u32,
    column: u32,
    width: u32,
}

// ---- Kernels

const FIELDS: &[&str] = &["B", "recon", "kl", "column", "width"];

const SOURCE: Source = Source {
    file: "clock.wgsl",
    text: include_str!("../../shaders/clock.wgsl"),
    bindings: &["recon", "kl", "time", "losses", "clock"],
    ..PLAIN_SOURCE
};

/// Parts of two terms in nats, recon and kl for instance, and the clock as `time`; in row `batch` of losses
/// (batches, width) the terms' columns and the last two are assigned, the others stay. A kl of 0 parts has no column.
/// Recorded by [`tally()`], once for each two terms.
pub static TALLY: Kernel = Kernel {
    name: "clock.tally",
    formula: "losses[batch] = (.., sum of recon, sum of kl, .., kl_weight, B), the first of them in column `column`",
    params: FIELDS,
    reads: &["recon", "kl", "time"],
    writes: &["losses"],
    shader: Shader { source: &SOURCE, entry: "tally", workgroup: [64, 1, 1], grid: |_, _| [1, 1, 1] },
    reference: |p, reads, writes| {
        let [recon, kl, column, width] = [p[1], p[2], p[3], p[4]].map(|n| n as usize);
        let sum = |values: &[f32]| values.iter().map(|&v| v as f64).sum::<f64>() as f32;
        let batch = reads[2][3].to_bits() as usize;
        let row = &mut writes[0][width * batch..][..width];
        row[column] = sum(&reads[0][..recon]);
        if kl > 0 {
            row[column + 1] = sum(&reads[1][..kl]);
        }
        row[width - 2..].copy_from_slice(&[Row::read(reads[2]).kl_weight, p[0] as f32]);
    },
    cost: |p| Cost { flops: (p[1] + p[2]) as u64, bytes: 4 * (p[1] + p[2]) as u64 },
    cases: tally_cases,
    gradients: GradientCheck::None("counts and sums losses for the host: nothing is differentiated through it"),
    ..PLAIN
};

/// The clock (8 + 8 * batches) is updated in place: words 2 and 3, as integers. Recorded by [`tick`], last in a step.
pub static TICK: Kernel = Kernel {
    name: "clock.tick",
    formula: "step += 1, batch += 1",
    params: FIELDS,
    reads: &[],
    writes: &["clock"],
    shader: Shader { source: &SOURCE, entry: "tick", workgroup: [1, 1, 1], grid: |_, _| [1, 1, 1] },
    reference: |_, _, writes| {
        for word in [2, 3] {
            writes[0][word] = f32::from_bits(writes[0][word].to_bits() + 1);
        }
    },
    cost: |_| Cost { flops: 2, bytes: 16 },
    cases: tick_cases,
    gradients: GradientCheck::None("counts and sums losses for the host: nothing is differentiated through it"),
    ..PLAIN
};

// ---- Record

/// Writes the step's losses into row `batch` of `losses` (batches, T + 2): the T terms in nats, each summed over the
/// batch, the KL weight, the rows of the batch. `terms` are the parts of each sum, as many as there are: (B) and (Z),
/// for instance, of -log p(x|z) and of the KL. A dispatch for each two of them.
pub fn tally(r: &mut Recorder, rows: usize, terms: &[Tensor], clock: Tensor, losses: Tensor) {
    let width = losses.matrix()[1];
    assert!(width == terms.len() + 2 && width > 2, "clock.tally: losses {losses:?} of {} terms", terms.len());
    for (pair, both) in terms.chunks(2).enumerate() {
        // A term without a second stands in for it, and none of its parts is read.
        let (first, second) = (both[0], both.get(1));
        let params = Params {
            b: rows as u32,
            recon: first.len() as u32,
            kl: second.map_or(0, |second| second.len() as u32),
            column: 2 * pair as u32,
            width: width as u32,
        };
        r.dispatch(&TALLY, params, &[first, *second.unwrap_or(&first), clock], &[losses]);
    }
}

/// The params of a tally whose terms now have the parts that it reads.
pub(crate) fn recount(words: &mut [u32], reads: &[Tensor]) {
    words[1] = reads[0].len() as u32;
    if words[2] > 0 {
        words[2] = reads[1].len() as u32;
    }
}

/// The next step, the next batch.
pub fn tick(r: &mut Recorder, clock: Tensor) {
    r.dispatch(&TICK, Params::zeroed(), &[], &[clock]);
}

// ---- Cases

/// The two terms of a VAE, then pairs within more terms, of which the last may be alone.
fn tally_cases() -> Vec<Case> {
    let case = |([recon, kl], column, width): ([usize; 2], u32, u32)| {
        let label = format!("{recon} and {kl} parts, column {column} of {width}");
        Case::new(label, Params { b: 7, recon: recon as u32, kl: kl as u32, column, width })
            .read(uniform(1, recon, 80.0, 140.0))
            .read(uniform(2, kl.max(1), 1.0, 300.0))
            .read_words(Clock::example().words())
            .update(
                uniform(3, 3 * width as usize, -1.0, 1.0),
                Tolerance::Because(1e-6, "a sum of positive terms, relative to it"),
            )
    };
    let pairs = [[1, 1], [128, 20], [257, 65]].map(|parts| (parts, 0, 4));
    let others = [([65, 33], 2, 7), ([65, 0], 4, 7), ([17, 0], 0, 3)];
    pairs.into_iter().chain(others).map(case).collect()
}

fn tick_cases() -> Vec<Case> {
    let clock = bytemuck::allocation::cast_vec(Clock::example().words());
    vec![Case::new("from step 41, batch 1", Params::zeroed()).update(clock, Tolerance::Exact)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Device, cpu::Cpu};

    #[test]
    fn a_row_is_read_as_it_was_planned() {
        let clock = Clock::example();
        assert_eq!(Row::read(bytemuck::cast_slice(&clock.words())), clock.rows[1]);
    }

    #[test]
    fn any_number_of_terms_is_tallied() {
        for count in 1..6 {
            let arena = &mut Arena::new();
            let time = Clock::tensor(arena, "clock", 3);
            let terms: Vec<Tensor> = (0..count).map(|n| arena.tensor(format!("term{n}"), &[n + 1])).collect();
            let losses = arena.tensor("losses", &[3, count + 2]);
            let mut r = Recorder::new(arena);
            tally(&mut r, 7, &terms, time, losses);
            let program = r.finish("tally");
            assert_eq!(program.steps.len(), count.div_ceil(2));
            let mut backend = Device::Cpu(Cpu::Reference).backend();
            let loaded = backend.load(arena, &program).unwrap();
            backend.write_words(time, &Clock::example().words());
            for (n, &term) in terms.iter().enumerate() {
                backend.write(term, &vec![10.0 * (n + 1) as f32; n + 1]);
            }
            backend.run(&[(loaded, 1)]).unwrap();
            // Row 1 of three, with the KL weight of the example's second batch.
            let sums = (1..=count).map(|n| 10.0 * (n * n) as f32);
            let row = sums.chain([0.75, 7.0]);
            let empty = || std::iter::repeat_n(0.0, count + 2);
            let want: Vec<f32> = empty().chain(row).chain(empty()).collect();
            assert_eq!(backend.read_one(losses).unwrap(), want);
        }
    }
}
