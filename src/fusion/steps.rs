//! A program's dispatches, to be searched and rewritten.

use super::Fusion;
use crate::arena::Arena;
use crate::kernel::Kernel;
use crate::kernels::{clip, clock, fill, fused_weights};
use crate::program::{Recorder, Step};
use crate::tensor::Tensor;

pub struct Steps<'a> {
    arena: &'a mut Arena,
    fusion: Fusion,
    pub list: Vec<Step>,
}

/// Whether the two name the same words, under whatever shape.
pub fn same(a: Tensor, b: Tensor) -> bool {
    (a.buffer, a.offset, a.len()) == (b.buffer, b.offset, b.len())
}

/// Whether the two share a word.
fn overlap(a: Tensor, b: Tensor) -> bool {
    a.buffer == b.buffer && a.offset < b.offset + b.len() && b.offset < a.offset + a.len()
}

/// What the step writes. `fused_weights.backward` binds all gradients and writes those of its layers.
fn written(step: &Step) -> Vec<Tensor> {
    if !is(step, &fused_weights::BACKWARD) {
        return step.writes.clone();
    }
    fused_weights::layers(step).iter().flat_map(|layer| layer.to).flatten().collect()
}

/// Whether the step runs that kernel.
pub fn is(step: &Step, kernel: &'static Kernel) -> bool {
    std::ptr::eq(step.kernel, kernel)
}

/// A field of the step's params, by the kernel's name for it.
pub fn param(step: &Step, name: &str) -> u32 {
    let index = step.kernel.params.iter().position(|p| *p == name);
    step.params[index.unwrap_or_else(|| panic!("{} has no params field {name}", step.kernel.name))]
}

impl<'a> Steps<'a> {
    pub fn new(arena: &'a mut Arena, list: Vec<Step>, fusion: Fusion) -> Steps<'a> {
        Steps { arena, fusion, list }
    }

    /// What the device takes.
    pub fn fusion(&self) -> Fusion {
        self.fusion
    }

    /// Places of the steps that run the kernel.
    pub fn all(&self, kernel: &'static Kernel) -> Vec<usize> {
        (0..self.list.len()).filter(|&i| is(&self.list[i], kernel)).collect()
    }

    /// The place of the step of that kernel that `wanted` picks; none where there are more.
    pub fn only(&self, kernel: &'static Kernel, wanted: impl Fn(&Step) -> bool) -> Option<usize> {
        let mut found = self.all(kernel).into_iter().filter(|&i| wanted(&self.list[i]));
        found.next().filter(|_| found.next().is_none())
    }

    /// The place of the only step of that kernel that writes the tensor.
    pub fn writer(&self, kernel: &'static Kernel, tensor: Tensor) -> Option<usize> {
        self.only(kernel, |step| step.writes.iter().any(|&t| same(t, tensor)))
    }

    // ANCHOR: questions
    /// Whether no step but these uses the tensor's buffer.
    pub fn is_private(&self, tensor: Tensor, to: &[usize]) -> bool {
        let uses = |step: &Step| step.reads.iter().chain(&step.writes).any(|t| t.buffer == tensor.buffer);
        (0..self.list.len()).all(|i| to.contains(&i) || !uses(&self.list[i]))
    }

    /// Places of the steps that write words of the tensor. Clearing and clipping do not count: the one comes before all
    /// that is added to the gradients, the other after.
    pub fn writers(&self, tensor: Tensor) -> Vec<usize> {
        let writes = |step: &Step| written(step).iter().any(|&t| overlap(t, tensor));
        let counts = |step: &Step| !is(step, &fill::FORWARD) && !is(step, &clip::FORWARD);
        (0..self.list.len()).filter(|&i| counts(&self.list[i]) && writes(&self.list[i])).collect()
    }

    /// Whether the step alone writes each of the tensors. Where a weight is shared, several steps add to its gradient.
    pub fn makes_alone(&self, i: usize, tensors: &[Tensor]) -> bool {
        tensors.iter().all(|&t| self.writers(t) == [i])
    }

    /// Whether only the tally reads this loss once the steps at `gone` are gone: the tally takes any number of parts of
    /// it.
    pub fn is_only_tallied(&self, loss: Tensor, gone: &[usize]) -> bool {
        let reads = |step: &Step| step.reads.iter().any(|&t| overlap(t, loss));
        let mut others = (0..self.list.len()).filter(|i| !gone.contains(i));
        others.all(|i| !reads(&self.list[i]) || is(&self.list[i], &clock::TALLY))
    }

    /// Whether these steps may run at place `at` instead: no step that stays uses what they write or writes what they
    /// use, on the way from their places to that one.
    pub fn can_meet(&self, moved: &[usize], at: usize) -> bool {
        let meets = |a: &[Tensor], b: &[Tensor]| a.iter().any(|&a| b.iter().any(|&b| overlap(a, b)));
        let is_free = |i: usize, k: usize| {
            let ([a, b], stays) = ([&self.list[i], &self.list[k]], !moved.contains(&k));
            let (a_writes, b_writes) = (written(a), written(b));
            !stays || !(meets(&a_writes, &b_writes) || meets(&a_writes, &b.reads) || meets(&a.reads, &b_writes))
        };
        moved.iter().all(|&i| (i.min(at)..=i.max(at)).all(|k| is_free(i, k)))
    }
    // ANCHOR_END: questions

    /// Dispatches to put into the program, recorded as a model records them; none if the device is better off without.
    pub fn record<T>(&mut self, scope: &str, record: impl FnOnce(&mut Recorder) -> T) -> Option<(T, Vec<Step>)> {
        let mut r = Recorder::new(self.arena);
        r.scope(scope);
        let result = record(&mut r);
        let steps = r.finish("").steps;
        steps.iter().all(|step| self.fusion.takes(step.kernel)).then_some((result, steps))
    }

    /// All parameters, flat.
    pub fn parameters(&self) -> Tensor {
        self.arena.flat_parameters()
    }

    /// All gradients, flat.
    pub fn gradients(&self) -> Tensor {
        self.arena.flat_gradients()
    }

    /// Takes the steps at `gone` out, and puts others in the places of some of them.
    pub fn replace(&mut self, gone: &[usize], put: Vec<(usize, Vec<Step>)>) {
        assert!(put.iter().all(|(at, _)| gone.contains(at)), "what is put in takes the place of something");
        let mut put: std::collections::BTreeMap<usize, Vec<Step>> = put.into_iter().collect();
        let old = std::mem::take(&mut self.list);
        for (i, step) in old.into_iter().enumerate() {
            if let Some(steps) = put.remove(&i) {
                self.list.extend(steps);
            } else if !gone.contains(&i) {
                self.list.push(step);
            }
        }
    }

    /// Puts what `record` makes of a step of these kernels in its place, where it makes anything of it.
    pub fn replace_each(&mut self, kernels: &[&'static Kernel], record: fn(&mut Recorder, &Step) -> Option<()>) {
        // From the last to the first: what is put in moves the places behind it.
        for i in (0..self.list.len()).rev() {
            let step = self.list[i].clone();
            if !kernels.iter().any(|kernel| is(&step, kernel)) {
                continue;
            }
            if let Some((Some(()), put)) = self.record(&step.scope, |r| record(r, &step)) {
                self.replace(&[i], vec![(i, put)]);
            }
        }
    }

    /// Lets every step use another tensor in the place of this one. The tally of the losses counts the parts it now
    /// has.
    pub fn rewire(&mut self, old: Tensor, new: Tensor) {
        for step in &mut self.list {
            for tensor in step.reads.iter_mut().chain(&mut step.writes) {
                if same(*tensor, old) {
                    *tensor = new;
                }
            }
            if is(step, &clock::TALLY) {
                clock::recount(&mut step.params, &step.reads);
            }
        }
    }
}
