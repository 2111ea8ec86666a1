//! p(x_t|...) of a step of a sequence: how a network's outputs y (R,O) for R steps are compared with the numbers x (R,C)
//! of these steps. A step behind its row's end costs nothing.

use serde::{Deserialize, Serialize};

use crate::kernels::activation::{self, Activation};
use crate::kernels::rows::Rows;
use crate::kernels::{bce, joint, steps};
use crate::models::batch::{Batch, Steps};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The distribution of the numbers of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Emission {
    /// Each number is 0 or 1, y its logit: the notes of a piano roll.
    Bernoulli,
}

/// What each of R steps counts.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// (R): 1 at a step of a row, 0 behind its end.
    pub steps: Tensor,
    /// (R): the same times what a row counts in what is minimised.
    pub weight: Tensor,
}

impl Counted {
    /// Of the sequences of a batch. Panics on a batch whose rows have weights of their own.
    pub fn of(r: &mut Recorder, batch: &Batch, sequences: &Steps) -> Counted {
        let Rows::Scale(scale) = batch.weight else { panic!("the rows of sequences count alike") };
        let steps = steps::mask(r, sequences.lengths, batch.longest, 1.0);
        let weight = if scale == 1.0 { steps } else { steps::mask(r, sequences.lengths, batch.longest, scale) };
        Counted { steps, weight }
    }

    /// Rows (R) of a loss, 0 behind a row's end.
    pub fn rows(self, r: &mut Recorder, rows: Tensor) -> Tensor {
        let count = rows.len();
        joint::weigh(r, rows.reshape(&[count, 1]), self.steps).reshape(&[count])
    }
}

/// A recorded loss, and what its backward needs.
#[derive(Clone, Copy)]
pub struct Loss {
    /// (R): -log p(x_t|...) in nats, 0 behind a row's end.
    pub rows: Tensor,
    y: Tensor,
    x: Tensor,
}

impl Emission {
    /// O, the outputs that a network must have for C numbers.
    pub fn outputs(self, channels: usize) -> usize {
        match self {
            Emission::Bernoulli => channels,
        }
    }

    /// -log p of the steps' numbers, from y (R,O).
    pub fn loss(self, r: &mut Recorder, y: Tensor, sequences: &Steps, counted: Counted) -> Loss {
        let rows = match self {
            Emission::Bernoulli => bce::loss(r, y, sequences.x),
        };
        Loss { rows: counted.rows(r, rows), y, x: sequences.x }
    }

    /// dy (R,O) of the loss, as much as the steps count.
    pub fn backward(self, r: &mut Recorder, Loss { y, x, .. }: Loss, counted: Counted) -> Tensor {
        let [dy] = Rows::Weights(counted.weight).apply(r, |r, scale| match self {
            Emission::Bernoulli => [bce::backward(r, y, x, scale)],
        });
        dy
    }

    /// The means (R,C) of the numbers, from y (R,O).
    pub fn means(self, r: &mut Recorder, y: Tensor) -> Tensor {
        match self {
            Emission::Bernoulli => activation::forward(r, y, Activation::Sigmoid),
        }
    }
}
