//! The CPU device: the same programs, each dispatch a function over slices.

use std::ops::Range;
use web_time::Instant;

use super::{Counters, Plan, TimingClock, Timings, room};
use crate::arena::Arena;
use crate::error::{Error, Result};
use crate::kernel::Reference;
use crate::program::{Program, Step};
use crate::tensor::Tensor;
use crate::units;

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

/// Memory and programs of one arena, in the host's memory.
pub struct Session {
    cpu: Cpu,
    memory: Vec<Box<[u32]>>,
    programs: Vec<Vec<LoadedStep>>,
    /// What was done so far; there are no submissions.
    pub counters: Counters,
}

impl Session {
    /// Without memory and programs yet.
    pub fn new(cpu: Cpu) -> Session {
        Session { cpu, memory: Vec::new(), programs: Vec::new(), counters: Counters::default() }
    }

    /// The form that it runs.
    pub fn cpu(&self) -> Cpu {
        self.cpu
    }

    /// Errors: no memory for the arena. Panics on a dispatch that writes what it reads, or writes the same words twice.
    pub fn load(&mut self, arena: &Arena, program: &Program) -> Result<usize> {
        if self.memory.is_empty() {
            room::check(arena, 0)?;
        }
        for (index, buffer) in arena.buffers().iter().enumerate() {
            match self.memory.get(index) {
                None => self.memory.push(zeros(&buffer.name, buffer.words)?),
                Some(m) => assert!(m.len() == buffer.words, "{} grew after the first program was loaded", buffer.name),
            }
        }
        self.programs.push(program.steps.iter().map(|step| LoadedStep::new(self.cpu, step)).collect());
        Ok(self.programs.len() - 1)
    }

    /// Runs the plan in order. `progress` hears how many replays are done, after each, and returns false to stop.
    /// Returns the replays run.
    pub fn run(&mut self, plan: &Plan, progress: &mut dyn FnMut(usize) -> bool) -> usize {
        let mut done = 0;
        for &(program, times) in plan {
            for _ in 0..times {
                let (steps, memory) = (&self.programs[program.0], &mut self.memory);
                // From one of the threads that share the work out, handing half of it on takes a tenth of the time.
                rayon::scope(|_| steps.iter().for_each(|step| step.run(memory)));
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
        let (steps, memory) = (&self.programs[program], &mut self.memory);
        let time = |step: &LoadedStep| {
            let start = Instant::now();
            step.run(memory);
            start.elapsed().as_secs_f64()
        };
        let seconds: Vec<f64> = rayon::scope(|_| steps.iter().map(time).collect());
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

/// Memory of that many words, all 0: the system hands it out page by page as it is touched. Errors: there is none;
/// kernels count elements in 32 bits, so more than these reach is none either.
fn zeros(name: &str, words: usize) -> Result<Box<[u32]>> {
    let memory = if words > u32::MAX as usize { None } else { bytemuck::allocation::try_zeroed_slice_box(words).ok() };
    memory.ok_or_else(|| {
        let size = units::memory(words.saturating_mul(4));
        Error::Device(format!("there is no memory for {name} of {size}: {}", room::advice(name)))
    })
}

/// A dispatch with what it takes to run it: nothing is looked for once a program is loaded.
struct LoadedStep {
    function: Reference,
    params: Vec<u32>,
    /// How many tensors it reads and writes.
    counts: [usize; 2],
    /// The buffers that it uses, in the order of their numbers.
    buffers: Vec<Lent>,
}

/// A buffer while a dispatch has it.
struct Lent {
    buffer: usize,
    /// A buffer is either only read by a dispatch or only written (wgpu holds programs to the same rule), so each can
    /// be lent out whole: shared slices of one, disjoint mutable slices of the other.
    is_written: bool,
    /// The tensors in it; where it is written, in the order of their places.
    views: Vec<View>,
}

/// A tensor of a dispatch: which of those that it reads or writes, and the words of its buffer.
struct View {
    binding: usize,
    words: Range<usize>,
}

impl LoadedStep {
    fn new(cpu: Cpu, step: &Step) -> LoadedStep {
        let name = step.kernel.name;
        let mut buffers: Vec<Lent> = Vec::new();
        for (tensors, is_written) in [(&step.reads, false), (&step.writes, true)] {
            for (binding, tensor) in tensors.iter().enumerate() {
                let view = View { binding, words: tensor.offset..tensor.offset + tensor.len() };
                match buffers.iter_mut().find(|lent| lent.buffer == tensor.buffer) {
                    Some(lent) => {
                        assert!(lent.is_written == is_written, "{name} reads and writes the same buffer");
                        lent.views.push(view);
                    }
                    None => buffers.push(Lent { buffer: tensor.buffer, is_written, views: vec![view] }),
                }
            }
        }
        buffers.sort_by_key(|lent| lent.buffer);
        for lent in buffers.iter_mut().filter(|lent| lent.is_written) {
            lent.views.sort_by_key(|view| view.words.start);
            let is_apart = lent.views.is_sorted_by(|a, b| a.words.end <= b.words.start);
            assert!(is_apart, "{name} writes overlapping views");
        }
        let function = match cpu {
            Cpu::Accelerated => step.kernel.accelerated.unwrap_or(step.kernel.reference),
            Cpu::Reference => step.kernel.reference,
        };
        let counts = [step.reads.len(), step.writes.len()];
        LoadedStep { function, params: step.params.clone(), counts, buffers }
    }

    fn run(&self, memory: &mut [Box<[u32]>]) {
        let mut reads: [&[f32]; MAX_BINDINGS] = [&[]; MAX_BINDINGS];
        let mut writes: [&mut [f32]; MAX_BINDINGS] = Default::default();
        let mut rest = memory;
        let mut passed = 0;
        for lent in &self.buffers {
            // The buffers in between stay behind.
            let (buffer, behind) = rest[lent.buffer - passed..].split_first_mut().expect("a buffer of the arena");
            (rest, passed) = (behind, lent.buffer + 1);
            if lent.is_written {
                lend_mutably(bytemuck::cast_slice_mut(buffer), &lent.views, &mut writes);
            } else {
                let words: &[f32] = bytemuck::cast_slice(buffer);
                lent.views.iter().for_each(|view| reads[view.binding] = &words[view.words.clone()]);
            }
        }
        let [read, written] = self.counts;
        (self.function)(&self.params, &reads[..read], &mut writes[..written]);
    }
}

/// Splits one buffer into the views, which are disjoint and in the order of their places.
fn lend_mutably<'a>(mut rest: &'a mut [f32], views: &[View], writes: &mut [&'a mut [f32]]) {
    let mut consumed = 0;
    for View { binding, words } in views {
        let (view, tail) = rest[words.start - consumed..].split_at_mut(words.len());
        writes[*binding] = view;
        (rest, consumed) = (tail, words.end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Device;
    use crate::instruments::subject::Subject;
    use crate::kernels::{fill, joint};
    use crate::program::Recorder;

    /// Views out of order, of one buffer and of several, beside buffers that the dispatch does not use.
    #[test]
    fn a_dispatch_gets_the_views_that_it_names() {
        let mut arena = Arena::new();
        let [halves, _unused, both] = ["halves", "unused", "both"].map(|name| arena.tensor(name, &[2, 128]));
        let late = arena.tensor("late", &[2, 64]);
        let half = |n: usize, of: Tensor| Tensor::new(of.buffer, 128 * n, &[2, 64]);
        let mut r = Recorder::new(&mut arena);
        fill::forward(&mut r, half(1, halves), 3.0);
        fill::forward(&mut r, half(0, halves), 2.0);
        fill::forward(&mut r, late, 5.0);
        let (da, db) = joint::backward_multiply(&mut r, half(1, halves), half(0, halves), late);
        let mut program = r.finish("views");
        // The two gradients as halves of one buffer, the first behind the second.
        program.steps.last_mut().unwrap().writes = vec![half(1, both), half(0, both)];
        let mut backend = Device::Cpu(Cpu::Reference).backend();
        let loaded = backend.load(&arena, &program).unwrap();
        backend.run(&[(loaded, 1)]).unwrap();
        let got = backend.read_one(both).unwrap();
        assert!(got[..128].iter().all(|&v| v == 15.0) && got[128..].iter().all(|&v| v == 10.0), "{got:?}");
        assert!(backend.read(&[da, db]).unwrap().concat().iter().all(|&v| v == 0.0));
    }

    #[test]
    #[should_panic(expected = "joint.add reads and writes the same buffer")]
    fn a_dispatch_in_place_is_refused_when_it_is_loaded() {
        let mut arena = Arena::new();
        let [a, b] = ["a", "b"].map(|name| arena.tensor(name, &[1, 4]));
        let mut r = Recorder::new(&mut arena);
        joint::add(&mut r, a, b, 1.0);
        let mut program = r.finish("in place");
        program.steps[0].writes = vec![a];
        let _ = Device::Cpu(Cpu::Reference).backend().load(&arena, &program);
    }

    #[test]
    #[should_panic(expected = "joint.backward_multiply writes overlapping views")]
    fn overlapping_outputs_are_refused_when_they_are_loaded() {
        let mut arena = Arena::new();
        let [a, b, dy] = ["a", "b", "dy"].map(|name| arena.tensor(name, &[1, 4]));
        let mut r = Recorder::new(&mut arena);
        let (da, _) = joint::backward_multiply(&mut r, a, b, dy);
        let mut program = r.finish("overlapping");
        program.steps[0].writes = vec![da, da];
        let _ = Device::Cpu(Cpu::Reference).backend().load(&arena, &program);
    }

    /// More than kernels can count.
    #[test]
    fn memory_that_is_not_there_is_an_error_with_its_size() {
        let message = |words: usize| zeros("fc1.y", words).unwrap_err().to_string();
        assert!(message(1 << 40).contains("no memory for fc1.y of 4.0 TiB"), "{}", message(1 << 40));
        assert!(message(usize::MAX).contains("no memory for fc1.y"));
        assert_eq!(zeros("small", 3).unwrap()[..], [0; 3]);
    }

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
