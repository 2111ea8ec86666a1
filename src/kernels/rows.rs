//! How much each row of a loss counts in what is minimised.

use super::joint;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// dL/drow, L what is minimised and the rows (B) those of a loss.
#[derive(Clone, Copy, Debug)]
pub enum Rows {
    /// The same for each: 1 for a sum over the batch, 1/B for its mean.
    Scale(f32),
    /// (B), one for each row: importance weights, weights of classes, masks.
    Weights(Tensor),
}

impl Rows {
    /// The gradients of L, each (B,I), from a backward that takes one scale for all rows: weights are multiplied to the
    /// gradients at scale 1.
    pub fn apply<const N: usize>(
        self,
        r: &mut Recorder,
        backward: impl FnOnce(&mut Recorder, f32) -> [Tensor; N],
    ) -> [Tensor; N] {
        match self {
            Rows::Scale(scale) => backward(r, scale),
            Rows::Weights(weights) => backward(r, 1.0).map(|gradient| joint::weigh(r, gradient, weights)),
        }
    }
}
