//! A training step is recorded once as a list of dispatches and replayed thousands of times.

use crate::arena::Arena;
use crate::kernel::{Cost, Kernel};
use crate::tensor::Tensor;

/// One dispatch: kernel, params, tensors.
#[derive(Clone)]
pub struct Step {
    /// What runs.
    pub kernel: &'static Kernel,
    /// The params uniform, word by word.
    pub params: Vec<u32>,
    /// In the order of [`Kernel::reads`].
    pub reads: Vec<Tensor>,
    /// In the order of [`Kernel::writes`]. A kernel may overwrite them or add to them: its formula says which.
    pub writes: Vec<Tensor>,
    /// The layer it belongs to, for messages.
    pub scope: String,
}

impl Step {
    /// The least work it does.
    pub fn cost(&self) -> Cost {
        (self.kernel.cost)(&self.params)
    }

    /// A field of its params, by the kernel's name for it. Panics where the kernel has none of that name.
    pub fn param(&self, name: &str) -> u32 {
        let at = self.kernel.params.iter().position(|param| *param == name);
        self.params[at.unwrap_or_else(|| panic!("{} has no params field {name}", self.kernel.name))]
    }
}

/// A list of dispatches that a backend runs any number of times.
#[derive(Clone)]
pub struct Program {
    /// What messages call it, e.g. `train step of 128`.
    pub name: String,
    /// In the order they run; each sees all that those before it wrote.
    pub steps: Vec<Step>,
}

/// Writes down dispatches; nothing runs while it records. Shape mistakes panic here, naming the kernel and both shapes.
pub struct Recorder<'a> {
    arena: &'a mut Arena,
    steps: Vec<Step>,
    scope: String,
    sites: u32,
}

impl<'a> Recorder<'a> {
    /// Nothing recorded yet, no scope. New tensors go to `arena`.
    pub fn new(arena: &'a mut Arena) -> Recorder<'a> {
        Recorder { arena, steps: Vec::new(), scope: String::new(), sites: 0 }
    }

    /// Names what follows, e.g. `fc1`: tensors and messages carry it.
    pub fn scope(&mut self, name: impl Into<String>) {
        self.scope = name.into();
    }

    /// A new activation or gradient of an activation, named after the scope.
    pub fn tensor(&mut self, name: &str, shape: &[usize]) -> Tensor {
        let name = self.scoped(name);
        self.arena.tensor(name, shape)
    }

    /// The same that nothing writes, or that starts as zeros: see [`Arena::zeros`].
    pub fn zeros(&mut self, name: &str, shape: &[usize]) -> Tensor {
        let name = self.scoped(name);
        self.arena.zeros(name, shape)
    }

    fn scoped(&self, name: &str) -> String {
        if self.scope.is_empty() { name.to_string() } else { format!("{}.{name}", self.scope) }
    }

    /// A number no other random draw of this program has: the `site` of its Philox counter.
    pub fn random_site(&mut self) -> u32 {
        self.sites += 1;
        self.sites
    }

    /// Appends a dispatch. `params` is the kernel's uniform, a struct of 32-bit fields. Panics where params, reads or
    /// writes are not as many as the kernel has.
    pub fn dispatch(
        &mut self,
        kernel: &'static Kernel,
        params: impl bytemuck::Pod,
        reads: &[Tensor],
        writes: &[Tensor],
    ) {
        self.dispatch_words(kernel, bytemuck::pod_collect_to_vec(&[params]), reads, writes);
    }

    /// [`dispatch`](Recorder::dispatch) with the params as words.
    pub fn dispatch_words(&mut self, kernel: &'static Kernel, params: Vec<u32>, reads: &[Tensor], writes: &[Tensor]) {
        assert!(params.len() == kernel.params.len(), "{}: params {:?}, got {params:?}", kernel.name, kernel.params);
        assert!(reads.len() == kernel.reads.len(), "{} reads {:?}, got {reads:?}", kernel.name, kernel.reads);
        assert!(writes.len() == kernel.writes.len(), "{} writes {:?}, got {writes:?}", kernel.name, kernel.writes);
        self.steps.push(Step {
            kernel,
            params,
            reads: reads.to_vec(),
            writes: writes.to_vec(),
            scope: self.scope.clone(),
        });
    }

    /// The program of all dispatches so far.
    pub fn finish(self, name: &str) -> Program {
        Program { name: name.into(), steps: self.steps }
    }
}
