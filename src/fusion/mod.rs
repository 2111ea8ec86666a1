//! Fusion: a recorded step, rewritten with fewer dispatches. Models record one kernel an operation, which is how they
//! read best; on a large GPU such a step is all waiting, since each dispatch waits for the one before it. So when a
//! program is recorded, sequences that have a fused kernel are replaced by it, with what lies between them no longer
//! written:
//!
//! | rule | in place of | one dispatch of |
//! |---|---|---|
//! | `latent` | heads, noise, reparameterise, KL, first decoder layer; and their backwards | `fused_latent.forward`, `fused_latent.backward` |
//! | `loss` | last decoder layer, binary cross-entropy, its backward | `matmul_bce.forward` |
//! | `linear` | a linear layer's backward, the activation's before it | `fused_linear.backward` |
//! | `slope` | a linear layer's backward to its input, the activation's before it | `matmul.backward_x` |
//! | `weights` | up to three layers' weight gradients | `fused_weights.backward` |
//! | `partial_sums` | the gradient of a convolution's weights or bias, on a GPU, where few workgroups would do it | two, for many |
//! | `fold` | a convolution's gradient to its input, on a GPU, where most taps miss | a product and a sum, for one |
//! | `fill` | the clearing of the gradients, where each is made by one dispatch, which then assigns it | none |
//! | `update` | gather, the reads of the clock; Adam, the tally of the losses, the tick of the clock | `fused_batch.begin`, `fused_update.adam` |
//!
//! A rule looks for its sequence by kernels and tensors and leaves a program alone where anything is not as it expects.
//! The recorded program stays the specification: tests run both and compare every parameter, and `--no-fuse` trains
//! with it.

mod fill;
mod fold;
mod latent;
mod linear;
mod loss;
mod partial_sums;
mod slope;
mod steps;
mod update;
mod weights;

use std::collections::HashSet;

use crate::arena::Arena;
use crate::backend::{Device, cpu::Cpu};
use crate::kernel::Kernel;
use crate::program::Program;
use steps::Steps;

/// Which fused kernels a device is better off with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fusion {
    /// The program as recorded: on adapters that run on a CPU, where a dispatch costs little and a portable form much.
    None,
    /// Those that have an accelerated form, on the CPU device.
    Accelerated,
    /// All, on GPUs. The references take them too.
    Full,
}

impl Fusion {
    /// What suits the device.
    pub fn of(device: &Device) -> Fusion {
        match device {
            Device::Gpu(gpu) if gpu.runs_software_forms() => Fusion::None,
            Device::Gpu(_) | Device::Cpu(Cpu::Reference) => Fusion::Full,
            Device::Cpu(Cpu::Accelerated) => Fusion::Accelerated,
        }
    }

    /// Whether it takes a dispatch of that kernel.
    fn takes(self, kernel: &Kernel) -> bool {
        match self {
            Fusion::None => false,
            Fusion::Accelerated => kernel.accelerated.is_some(),
            Fusion::Full => true,
        }
    }
}

/// The program with fewer dispatches, which leaves the same in every parameter, moment, loss and clock, but for
/// rounding. Buffers of the arena from `first` on that only the old program used are given up.
pub fn fuse(arena: &mut Arena, program: Program, fusion: Fusion, first: usize) -> Program {
    if fusion == Fusion::None {
        return program;
    }
    let mut steps = Steps::new(arena, program.steps, fusion);
    // The middle and the loss before the layers' backwards, which would take parts of them; the update last, since it
    // needs the losses' parts and the moment.
    let rules = [
        latent::apply,
        loss::apply,
        linear::apply,
        slope::apply,
        weights::apply,
        partial_sums::apply,
        fold::apply,
        fill::apply,
        update::apply,
    ];
    for rule in rules {
        // None: there was nothing for it, and the steps are as they were.
        let _ = rule(&mut steps);
    }
    let steps = steps.list;
    let used: HashSet<usize> = steps.iter().flat_map(|s| s.reads.iter().chain(&s.writes)).map(|t| t.buffer).collect();
    let unused: Vec<usize> = (first..arena.buffers().len()).filter(|buffer| !used.contains(buffer)).collect();
    unused.into_iter().for_each(|buffer| arena.give_up(buffer));
    Program { steps, ..program }
}
