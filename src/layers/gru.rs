//! Gated recurrent units, `torch.nn.GRU` of one layer and one direction. Sequences are time-major: x is (T*B,I), row
//! t*B + b the step t of row b, and a row of length n has n steps. Behind its end its state stays.

use rand_chacha::ChaCha8Rng;

use super::recurrent::{Direction, Weights};
use crate::arena::Arena;
use crate::kernels::gru::{self, Run};
use crate::kernels::matmul;
use crate::kernels::recurrent::Place;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// I inputs, a state of H numbers: weight_ih (3H,I), weight_hh (3H,H), bias_ih and bias_hh (3H), the gates r, z, n one
/// after the other.
pub struct Gru {
    weights: Weights,
    direction: Direction,
}

/// What a backward needs of its forward, or of a step.
pub struct Saved {
    x: Tensor,
    run: Run,
    /// The time of the first step of the run.
    first: usize,
}

/// What a forward makes.
#[derive(Clone, Copy, Debug)]
pub struct Outputs {
    /// (T*B,H): h after each step; behind a row's end it is that of its last step.
    pub h: Tensor,
    /// h (B,H) after the last step.
    pub last: Tensor,
}

/// What a backward makes.
#[derive(Clone, Copy, Debug)]
pub struct Gradients {
    /// (T*B,I), zeros behind a row's end.
    pub dx: Tensor,
    /// Of the h that the run began with, (B,H).
    pub dstart: Tensor,
}

impl Gru {
    /// Declares `name.weight_ih_l0` and so on, PyTorch's names for the only layer.
    pub fn new(arena: &mut Arena, name: &str, inputs: usize, hidden: usize) -> Gru {
        Gru::numbered(arena, name, 0, Direction::Forward, [inputs, hidden])
    }

    /// [`new`](Gru::new) that reads each row from its last step to its first: `torch.nn.GRU` on rows turned around,
    /// under the names of that.
    pub fn reversed(arena: &mut Arena, name: &str, inputs: usize, hidden: usize) -> Gru {
        let weights = Weights::new(arena, name, 0, Direction::Forward, [inputs, hidden, 3]);
        Gru { weights, direction: Direction::Reverse }
    }

    /// [`new`](Gru::new) for layer number `layer` of several, in one direction: `name.weight_ih_l1_reverse`.
    pub fn numbered(
        arena: &mut Arena,
        name: &str,
        layer: usize,
        direction: Direction,
        [inputs, hidden]: [usize; 2],
    ) -> Gru {
        Gru { weights: Weights::new(arena, name, layer, direction, [inputs, hidden, 3]), direction }
    }

    /// PyTorch's default: everything uniform within 1/sqrt(H).
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        self.weights.initial(rng)
    }

    /// x (T*B,I) and lengths (B), integers from 0 to T, from the state `start`, h (B,H), or from zeros.
    pub fn forward(&self, r: &mut Recorder, x: Tensor, lengths: Tensor, start: Option<Tensor>) -> (Outputs, Saved) {
        let [state] = self.weights.state(r, ["h"], lengths.len(), start.map(|h| [h]));
        let run = self.run(r, x, lengths);
        let recur = self.weights.recur(r, lengths.len());
        for t in self.direction.times(run.steps()) {
            self.weights.recurrent_product(r, state, recur);
            gru::cell(r, run, Place { slot: t, t }, recur, state);
        }
        (Outputs { h: run.h, last: state }, Saved { x, run, first: 0 })
    }

    /// From dh (T*B,H), the gradient of [`Outputs::h`], and `dlast`, that of [`Outputs::last`], each if there is one;
    /// adds to the parameters' gradients.
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dh: Option<Tensor>, dlast: Option<Tensor>) -> Gradients {
        let gates = saved.run.gates;
        let dstart = self.backward_parameters(r, saved, dh, dlast);
        Gradients { dx: matmul::backward_x(r, gates, self.weights.w_ih.value), dstart }
    }

    /// [`backward`](Gru::backward) for a second consumer of x: adds to the dx (T*B,I) that the first one assigned.
    /// Returns [`Gradients::dstart`].
    pub fn backward_into(
        &self,
        r: &mut Recorder,
        saved: Saved,
        dh: Option<Tensor>,
        dlast: Option<Tensor>,
        dx: Tensor,
    ) -> Tensor {
        let gates = saved.run.gates;
        let dstart = self.backward_parameters(r, saved, dh, dlast);
        matmul::backward_x_into(r, gates, self.weights.w_ih.value, dx);
        dstart
    }

    /// The parameters' share alone, where x needs no gradient. Returns [`Gradients::dstart`].
    pub fn backward_parameters(
        &self,
        r: &mut Recorder,
        saved: Saved,
        dh: Option<Tensor>,
        dlast: Option<Tensor>,
    ) -> Tensor {
        let [dstate] = self.weights.state(r, ["dh"], saved.run.lengths.len(), dlast.map(|dh| [dh]));
        self.back_through_time(r, saved, dh, dstate);
        dstate
    }

    /// One step, at time t of rows of these lengths, from x (B,I): updates the state h (B,H) in place and returns it
    /// as a tensor (B,H) that stays. A row that has ended keeps its state;
    /// [`endless`](crate::kernels::recurrent::endless) are the lengths of rows that do not.
    pub fn step(&self, r: &mut Recorder, x: Tensor, state: Tensor, lengths: Tensor, t: usize) -> (Tensor, Saved) {
        let run = self.run(r, x, lengths);
        let recur = self.weights.recur(r, lengths.len());
        self.weights.recurrent_product(r, state, recur);
        gru::cell(r, run, Place { slot: 0, t }, recur, state);
        (run.h, Saved { x, run, first: t })
    }

    /// Of one [`step`](Gru::step): dh (B,H) is the gradient of the h that it returned, if there is one. Updates
    /// `dstate` (B,H) from the gradient of the state after it to that of the state before, returns dx (B,I) and adds
    /// to the parameters' gradients.
    pub fn backward_step(&self, r: &mut Recorder, saved: Saved, dh: Option<Tensor>, dstate: Tensor) -> Tensor {
        let gates = saved.run.gates;
        self.back_through_time(r, saved, dh, dstate);
        matmul::backward_x(r, gates, self.weights.w_ih.value)
    }

    /// The products of all steps with x.
    fn run(&self, r: &mut Recorder, x: Tensor, lengths: Tensor) -> Run {
        let gates = self.weights.input_product(r, x);
        Run::new(r, gates, lengths)
    }

    /// `dstate` from after the last step to before the first, the gates to their gradients; then the parameters'.
    fn back_through_time(&self, r: &mut Recorder, Saved { x, run, first }: Saved, dh: Option<Tensor>, dstate: Tensor) {
        r.scope(&self.weights.name);
        let dstep = self.weights.recur(r, run.lengths.len());
        for slot in self.direction.times(run.steps()).rev() {
            gru::backward_cell(r, run, Place { slot, t: first + slot }, dh, dstate, dstep);
            matmul::backward_x_into(r, dstep, self.weights.w_hh.value, dstate);
        }
        self.weights.backward(r, [x, run.h_before], [run.gates, run.drecur]);
    }
}
