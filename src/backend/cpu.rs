//! The CPU device: the same programs, each dispatch a function over slices.

use std::time::Instant;

use super::{Counters, Plan, TimingClock, Timings};
use crate::arena::Arena;
use crate::error::{Error, Result};
use crate::fusion::Fusion;
use crate::program::{Program, Step};
use crate::tensor::Tensor;

/// The most tensors a kernel reads or writes.
const MAX_BINDINGS: usize = 8;

/// Which form of the kernels runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpu {
    /// The accelerated form where a kernel has one: training.
    Accelerated,
    /// The references alone: the specification.
    Reference,
}

impl Cpu {
    /// The fused kernels that suit it. Every one has a reference.
    pub fn fusion(self) -> Fusion {
        match self {
            Cpu::Accelerated => Fusion::Accelerated,
            Cpu::Reference => Fusion::Full,
        }
    }
}

/// Memory and programs of one arena, in the host's memory.
pub struct Session {
    cpu: Cpu,
    memory: Vec<Vec<u32>>,
    programs: Vec<Program>,
    /// What was done so far; there are no submissions.
    pub counters: Counters,
}

impl Session {
    /// Without memory and programs yet.
    pub fn new(cpu: Cpu) -> Session {
        Session { cpu, memory: Vec::new(), programs: Vec::new(), counters: Counters::default() }
    }

    /// [`Cpu::fusion`]
    pub fn fusion(&self) -> Fusion {
        self.cpu.fusion()
    }

    /// Errors: no memory for the arena.
    pub fn load(&mut self, arena: &Arena, program: &Program) -> Result<usize> {
        for (index, buffer) in arena.buffers().iter().enumerate() {
            match self.memory.get(index) {
                None => {
                    // Kernels count elements in 32 bits. Asking first turns a refusal into an error; the zeros then
                    // come from the system page by page.
                    let refused = Vec::<u32>::new().try_reserve_exact(buffer.words).is_err();
                    if refused || buffer.words > u32::MAX as usize {
                        return Err(Error::Device(format!(
                            "there is no memory for {} of {} MiB: use smaller --hidden sizes or a smaller --batch-size",
                            buffer.name,
                            buffer.words >> 18
                        )));
                    }
                    self.memory.push(vec![0; buffer.words]);
                }
                Some(m) => assert!(m.len() == buffer.words, "{} grew after the first program was loaded", buffer.name),
            }
        }
        self.programs.push(program.clone());
        Ok(self.programs.len() - 1)
    }

    /// Runs the plan in order. `progress` hears how many replays are done, after each, and returns false to stop.
    /// Returns the replays run.
    pub fn run(&mut self, plan: &Plan, progress: &mut dyn FnMut(usize) -> bool) -> usize {
        let mut done = 0;
        for &(program, times) in plan {
            for _ in 0..times {
                let steps = &self.programs[program.0].steps;
                // From one of the threads that share the work out, handing half of it on takes a tenth of the time.
                rayon::scope(|_| steps.iter().for_each(|step| run_step(self.cpu, &mut self.memory, step)));
                self.counters.dispatches += steps.len() as u64;
                done += 1;
                if !progress(done) {
                    return done;
                }
            }
        }
        done
    }

    /// Runs the program once and times each of its dispatches.
    pub fn time(&mut self, program: usize) -> Timings {
        let time = |step| {
            let start = Instant::now();
            run_step(self.cpu, &mut self.memory, step);
            start.elapsed().as_secs_f64()
        };
        let seconds: Vec<f64> = rayon::scope(|_| self.programs[program].steps.iter().map(time).collect());
        self.counters.dispatches += seconds.len() as u64;
        Timings { seconds, clock: TimingClock::Wall }
    }

    /// Overwrites the words of a tensor.
    pub fn write(&mut self, tensor: Tensor, words: &[u32]) {
        self.memory[tensor.buffer][tensor.offset..][..words.len()].copy_from_slice(words);
    }

    /// The words of each tensor.
    pub fn read(&mut self, tensors: &[Tensor]) -> Vec<Vec<u32>> {
        self.counters.synchronisations += 1;
        tensors.iter().map(|t| self.memory[t.buffer][t.offset..][..t.len()].to_vec()).collect()
    }
}

fn run_step(cpu: Cpu, memory: &mut [Vec<u32>], step: &Step) {
    let mut reads: [&[f32]; MAX_BINDINGS] = [&[]; MAX_BINDINGS];
    let mut writes: [&mut [f32]; MAX_BINDINGS] = Default::default();
    // A buffer is either only read by a step or only written (wgpu holds programs to the same rule), so each can be
    // lent out whole: shared slices of one, disjoint mutable slices of the other.
    for (index, buffer) in memory.iter_mut().enumerate() {
        let written = step.writes.iter().any(|t| t.buffer == index);
        if written {
            assert!(
                step.reads.iter().all(|t| t.buffer != index),
                "{} reads and writes the same buffer",
                step.kernel.name
            );
            lend_mutably(bytemuck::cast_slice_mut(buffer), index, step, &mut writes);
        } else {
            let words: &[f32] = bytemuck::cast_slice(buffer);
            for (slot, tensor) in reads.iter_mut().zip(&step.reads) {
                if tensor.buffer == index {
                    *slot = &words[tensor.offset..][..tensor.len()];
                }
            }
        }
    }
    let function = match cpu {
        Cpu::Accelerated => step.kernel.accelerated.unwrap_or(step.kernel.reference),
        Cpu::Reference => step.kernel.reference,
    };
    function(&step.params, &reads[..step.reads.len()], &mut writes[..step.writes.len()]);
}

/// Splits one buffer into the disjoint views a step writes, in order of their offsets.
fn lend_mutably<'a>(mut rest: &'a mut [f32], buffer: usize, step: &Step, writes: &mut [&'a mut [f32]]) {
    let mut consumed = 0;
    loop {
        let next = (0..step.writes.len())
            .filter(|&i| step.writes[i].buffer == buffer && writes[i].is_empty())
            .min_by_key(|&i| step.writes[i].offset);
        let Some(index) = next else { return };
        let tensor = step.writes[index];
        assert!(tensor.offset >= consumed, "{} writes overlapping views", step.kernel.name);
        let (_, tail) = rest.split_at_mut(tensor.offset - consumed);
        let (view, tail) = tail.split_at_mut(tensor.len());
        writes[index] = view;
        rest = tail;
        consumed = tensor.offset + tensor.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Device;
    use crate::instruments::subject::Subject;

    #[test]
    fn the_number_of_threads_does_not_change_a_bit_of_a_training() {
        for (name, batch) in [("mnist-mlp", 128), ("mnist-conv", 9)] {
            let subject = Subject::open(name, Some(batch)).unwrap();
            let trained = |threads: usize| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                let mut backend = Device::Cpu(Cpu::Accelerated).backend();
                let step = subject.load(&mut backend).unwrap();
                pool.install(|| backend.run(&[(step, 2)])).unwrap();
                backend.read_one(subject.arena.flat_parameters()).unwrap()
            };
            let one = trained(1);
            assert!(one.iter().all(|v| v.is_finite()));
            for threads in [2, 5, 64] {
                assert!(trained(threads) == one, "{name} with {threads} threads");
            }
        }
    }
}
