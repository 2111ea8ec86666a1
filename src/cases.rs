//! What kernels say of themselves for the checks: cases, tolerances, gradients. `check` runs them.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Cases of a kernel

/// What an assigned output holds before: a NaN with a pattern no computation produces.
pub const POISON: u32 = 0x7fc0_dead;
/// One run of a kernel: params, what is read, and what is written with the difference to accept.
pub struct Case {
    /// The shape, and what is special about it.
    pub label: String,
    /// The params uniform, word by word, in the order of [`Kernel::params`](crate::kernel::Kernel::params).
    pub params: Vec<u32>,
    /// The values of each of [`Kernel::reads`](crate::kernel::Kernel::reads); words that are integers as the f32 of their bits.
    pub reads: Vec<Vec<f32>>,
    /// One for each of [`Kernel::writes`](crate::kernel::Kernel::writes).
    pub writes: Vec<Output>,
}

/// A tensor the kernel writes.
pub struct Output {
    /// What it holds before: poison where the kernel assigns, numbers where it adds or updates.
    pub before: Vec<f32>,
    /// How far a form of the kernel may be from the reference.
    pub tolerance: Tolerance,
}

impl Case {
    /// A case without tensors, to which [`read`](Case::read), [`assign`](Case::assign) and [`update`](Case::update) add
    /// them in the kernel's order.
    pub fn new(label: impl Into<String>, params: impl bytemuck::Pod) -> Case {
        let params = bytemuck::pod_collect_to_vec(&[params]);
        Case { label: label.into(), params, reads: Vec::new(), writes: Vec::new() }
    }

    /// The next tensor the kernel reads.
    pub fn read(mut self, values: Vec<f32>) -> Case {
        self.reads.push(values);
        self
    }

    /// The next tensor the kernel reads, as 32-bit words.
    pub fn read_words(self, words: Vec<u32>) -> Case {
        self.read(bytemuck::allocation::cast_vec(words))
    }

    /// An output of `len` elements that the kernel assigns.
    pub fn assign(self, len: usize, tolerance: Tolerance) -> Case {
        self.update(vec![f32::from_bits(POISON); len], tolerance)
    }

    /// An output that the kernel adds to or updates in place.
    pub fn update(mut self, before: Vec<f32>, tolerance: Tolerance) -> Case {
        self.writes.push(Output { before, tolerance });
        self
    }
}

/// `len` numbers in [low, high), the same for the same seed.
pub fn uniform(seed: u64, len: usize, low: f32, high: f32) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| low + (high - low) * rng.random::<f32>()).collect()
}

// ---- How far apart

/// How far two results of the same formula may be apart, with the reason.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tolerance {
    /// Bit for bit: moves, integers, copies.
    Exact,
    /// A sum of `k` products of numbers of magnitude at most about 1. Rounding walks: each of k additions errs by half
    /// an ulp of a partial sum of size about sqrt(k), errors add like a random walk, hence k * epsilon; times 4 for
    /// fused, reordered and blocked forms.
    Dot(usize),
    /// Anything else, relative to the larger magnitude (at least 1).
    Because(f32, &'static str),
}

// ANCHOR: bound
impl Tolerance {
    /// The largest accepted difference near magnitude `scale`.
    pub fn bound(&self, scale: f32) -> f32 {
        match *self {
            Tolerance::Exact => 0.0,
            Tolerance::Dot(k) => 4.0 * f32::EPSILON * (k.max(4) as f32) * scale.max(1.0),
            Tolerance::Because(relative, _) => relative * scale.max(1.0),
        }
    }
}
// ANCHOR_END: bound

// ---- Gradients of an operation

/// An operation as a function of its inputs, with its backward.
pub struct GradientCase {
    /// The operation and what is special about this case, for messages.
    pub label: String,
    /// Shape and values of each differentiable input.
    pub inputs: Vec<(Vec<usize>, Vec<f32>)>,
    /// Shape of the output y.
    pub output: Vec<usize>,
    /// Records y = f(inputs) and, from dy, a gradient for each input. `inputs` is followed by `state`.
    pub record: Record,
    /// Fixed device state the operation reads, e.g. the clock: written before each run.
    pub state: Vec<(&'static str, Vec<u32>)>,
}

/// (recorder, inputs, dy) to (y, a gradient for each input).
pub type Record = Box<dyn Fn(&mut Recorder, &[Tensor], Tensor) -> (Tensor, Vec<Tensor>)>;
