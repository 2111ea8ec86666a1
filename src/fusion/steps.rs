//! A program's dispatches, to be searched and rewritten.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};

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
    /// Places of the steps that use each buffer: a loop over time has thousands of steps, and each is asked about.
    /// Made at the first question after the steps have changed.
    users: OnceCell<HashMap<usize, Vec<usize>>>,
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
fn written(step: &Step) -> Cow<'_, [Tensor]> {
    if !is(step, &fused_weights::BACKWARD) {
        return Cow::Borrowed(&step.writes);
    }
    fused_weights::layers(step).iter().flat_map(|layer| layer.to).flatten().collect()
}

/// Whether the step runs that kernel.
pub fn is(step: &Step, kernel: &'static Kernel) -> bool {
    std::ptr::eq(step.kernel, kernel)
}

impl<'a> Steps<'a> {
    pub fn new(arena: &'a mut Arena, list: Vec<Step>, fusion: Fusion) -> Steps<'a> {
        Steps { arena, fusion, list, users: OnceCell::new() }
    }

    /// What the device takes.
    pub fn fusion(&self) -> Fusion {
        self.fusion
    }

    /// Places of the steps that run the kernel.
    pub fn all(&self, kernel: &'static Kernel) -> Vec<usize> {
        (0..self.list.len()).filter(|&i| is(&self.list[i], kernel)).collect()
    }

    /// Places of the steps that use the tensor's buffer, from the first to the last.
    pub fn users(&self, tensor: Tensor) -> impl DoubleEndedIterator<Item = usize> {
        let users = self.users.get_or_init(|| {
            let mut users: HashMap<usize, Vec<usize>> = HashMap::new();
            for (i, step) in self.list.iter().enumerate() {
                for tensor in step.reads.iter().chain(&step.writes) {
                    users.entry(tensor.buffer).or_default().push(i);
                }
            }
            users.values_mut().for_each(Vec::dedup);
            users
        });
        users.get(&tensor.buffer).into_iter().flatten().copied()
    }

    /// The place of the step of that kernel that uses the tensor as `wanted` says; none where there are more.
    pub fn only(&self, kernel: &'static Kernel, tensor: Tensor, wanted: impl Fn(&Step) -> bool) -> Option<usize> {
        let is_it = |&i: &usize| is(&self.list[i], kernel) && wanted(&self.list[i]);
        let mut found = self.users(tensor).filter(is_it);
        found.next().filter(|_| found.next().is_none())
    }

    /// The place of the only step of that kernel that writes the tensor.
    pub fn writer(&self, kernel: &'static Kernel, tensor: Tensor) -> Option<usize> {
        self.only(kernel, tensor, |step| step.writes.iter().any(|&t| same(t, tensor)))
    }

    // ANCHOR: questions
    /// Whether no step but these uses the tensor's buffer.
    pub fn is_private(&self, tensor: Tensor, to: &[usize]) -> bool {
        self.users(tensor).all(|i| to.contains(&i))
    }

    /// Places of the steps that write words of the tensor. Clearing and clipping do not count: the one comes before all
    /// that is added to the gradients, the other after.
    pub fn writers(&self, tensor: Tensor) -> impl Iterator<Item = usize> {
        let writes = move |step: &Step| written(step).iter().any(|&t| overlap(t, tensor));
        let counts = |step: &Step| !is(step, &fill::FORWARD) && !is(step, &clip::FORWARD);
        self.users(tensor).filter(move |&i| counts(&self.list[i]) && writes(&self.list[i]))
    }

    /// Whether the step alone writes each of the tensors. Where a weight is shared, several steps add to its gradient.
    pub fn makes_alone(&self, i: usize, tensors: &[Tensor]) -> bool {
        tensors.iter().all(|&t| self.writers(t).eq([i]))
    }

    /// Whether only the tally reads this loss once the steps at `gone` are gone: the tally takes any number of parts of
    /// it.
    pub fn is_only_tallied(&self, loss: Tensor, gone: &[usize]) -> bool {
        let reads = |step: &Step| step.reads.iter().any(|&t| overlap(t, loss));
        let mut others = self.users(loss).filter(|i| !gone.contains(i));
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
        let gone: HashSet<usize> = gone.iter().copied().collect();
        assert!(put.iter().all(|(at, _)| gone.contains(at)), "what is put in takes the place of something");
        let mut put: BTreeMap<usize, Vec<Step>> = put.into_iter().collect();
        self.users.take();
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

    /// Lets every step use the second tensor of a pair in the place of the first. The tally of the losses counts the
    /// parts it now has.
    pub fn rewire(&mut self, pairs: &[[Tensor; 2]]) {
        let words = |t: Tensor| (t.buffer, t.offset, t.len());
        let renamed: HashMap<_, Tensor> = pairs.iter().map(|&[old, new]| (words(old), new)).collect();
        self.users.take();
        for step in &mut self.list {
            for tensor in step.reads.iter_mut().chain(&mut step.writes) {
                // What takes a tensor's place may itself have been renamed.
                while let Some(&new) = renamed.get(&words(*tensor)) {
                    *tensor = new;
                }
            }
            if is(step, &clock::TALLY) {
                clock::recount(&mut step.params, &step.reads);
            }
        }
    }
}
