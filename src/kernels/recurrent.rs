//! What the steps of [`lstm`](super::lstm) and [`gru`](super::gru) share: params, and which rows a step is of.
//! Sequences are time-major, (T*B,F): row t*B + b is step t of row b.

use bytemuck::{Pod, Zeroable};

use super::{fill, reduce};
use crate::cases::{Case, Tolerance};
use crate::kernel::{Constant, Cost, grid_1d};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// T steps of B rows with a state of H numbers; the step's rows begin at slot*B, and a row takes it where t is below
/// its length. `with_dy` says whether a backward has a gradient of the outputs.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct Params {
    pub steps: u32,
    pub b: u32,
    pub h: u32,
    pub slot: u32,
    pub t: u32,
    pub with_dy: u32,
}

pub(super) const FIELDS: &[&str] = &["T", "B", "H", "slot", "t", "with_dy"];

/// Which step a dispatch is. In a run over whole sequences both are the same; where each step has tensors of its own
/// its slot is 0.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The step within the tensors (T*B,...).
    pub slot: usize,
    /// The time that is held against the lengths.
    pub t: usize,
}

impl Params {
    /// Of a step of a run with outputs h (T*B,H) over the rows of lengths (B).
    pub fn new(stem: &str, h: Tensor, lengths: Tensor, Place { slot, t }: Place, with_dy: bool) -> Params {
        let ([rows, h], b) = (h.matrix(), lengths.len());
        assert!(slot < rows / b, "{stem}.cell: step {slot} of {}", rows / b);
        let [steps, b, h, slot, t] = [rows / b, b, h, slot, t].map(|n| n as u32);
        Params { steps, b, h, slot, t, with_dy: with_dy as u32 }
    }

    /// B and H.
    pub fn sizes(self) -> [usize; 2] {
        [self.b as usize, self.h as usize]
    }

    /// Row b of this step within (T*B,...).
    pub fn row(self, b: usize) -> usize {
        self.slot as usize * self.b as usize + b
    }

    /// Whether a row of this length takes the step. Lengths are words.
    pub fn takes(self, length: f32) -> bool {
        self.t < length.to_bits()
    }

    /// This step's rows of (T*B,width).
    pub fn rows(self, values: &[f32], width: usize) -> &[f32] {
        &values[self.row(0) * width..][..self.b as usize * width]
    }

    /// As [`rows`](Params::rows).
    pub fn rows_mut(self, values: &mut [f32], width: usize) -> &mut [f32] {
        &mut values[self.row(0) * width..][..self.b as usize * width]
    }

    /// Rows that a thread takes at least.
    pub fn share(self) -> usize {
        (super::CHUNK / 4).div_ceil(self.h as usize)
    }
}

/// An invocation a number of the state.
pub(super) fn grid(p: &[u32], _: &[Constant]) -> [u32; 3] {
    grid_1d(p[1] as usize * p[2] as usize, 64)
}

/// Operations and words a number of the state.
pub(super) fn cost(p: &[u32], flops: u64, words: u64) -> Cost {
    let elements = u64::from(p[1]) * u64::from(p[2]);
    Cost { flops: flops * elements, bytes: 4 * words * elements }
}

/// The same a (B,F) at each of T steps: (T*B,F). Its backward is [`over_steps`].
pub fn at_each_step(r: &mut Recorder, a: Tensor, steps: usize) -> Tensor {
    let [b, f] = a.matrix();
    reduce::backward_columns(r, a.reshape(&[b * f]), [steps, b * f]).reshape(&[steps * b, f])
}

/// The sums over the steps of each of B rows, (B,F), of a (T*B,F).
pub fn over_steps(r: &mut Recorder, a: Tensor, b: usize) -> Tensor {
    let [rows, f] = a.matrix();
    assert!(rows % b == 0, "recurrent.over_steps: {a:?} of {b} rows");
    reduce::columns(r, a.reshape(&[rows / b, b * f])).reshape(&[b, f])
}

/// Lengths (B) of rows that never end: the bits of 1.0 as an integer are more steps than any run has.
pub fn endless(r: &mut Recorder, rows: usize) -> Tensor {
    let lengths = r.tensor("lengths", &[rows]);
    fill::forward(r, lengths, 1.0);
    lengths
}

// ---- Cases

pub(super) const TOLERANCE: Tolerance =
    Tolerance::Because(4e-6, "sigmoid and tanh by WGSL's precision table, and a few products of them");

/// (T,B,H,slot): first, middle and last steps, states of a number, of an odd and an even count.
const SIZES: [[usize; 4]; 6] =
    [[1, 1, 1, 0], [2, 3, 5, 1], [3, 3, 64, 1], [3, 70, 5, 2], [2, 65, 64, 0], [1, 3, 257, 0]];

/// The cases, to which `tensors` adds the tensors. The last has a slot that is not its time.
pub(super) fn cases(with_dy: bool, tensors: impl Fn(Params, Case) -> Case) -> Vec<Case> {
    let case = |[steps, b, h, slot]: [usize; 4]| {
        let label = format!("step {slot} of {steps}, {b}x{h}{}", if with_dy { ", with dy" } else { "" });
        let t = if h == 257 { 2 } else { slot };
        let [steps, b, h, slot, t] = [steps, b, h, slot, t].map(|n| n as u32);
        let params = Params { steps, b, h, slot, t, with_dy: with_dy as u32 };
        tensors(params, Case::new(label, params))
    };
    SIZES.map(case).into()
}

/// Lengths (B) of which the last row's lets it take the step, and others end before, with or after it.
pub(super) fn lengths(p: Params) -> Vec<u32> {
    (0..p.b).map(|b| (p.b - 1 - b + p.t + 1) % (p.t + 3)).collect()
}
