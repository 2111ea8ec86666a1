//! Layers: parameters with `forward(r, x) -> (y, saved)` and `backward(r, saved, dy) -> dx`. No shader text here.
//!
//! `saved` is a value that the backward consumes: running a backward twice, or before its forward, does not compile.

pub mod batch_norm;
pub mod dropout;
pub mod group_norm;
pub mod layer_norm;
pub mod linear;
pub mod pool;
pub mod sequential;
pub mod upsample;

use crate::arena::Parameter;
use crate::tensor::Tensor;

/// What the forward of a layer is for. Batch norm and dropout do something else in each.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// Batch statistics, dropped units; the clock keys the random numbers.
    Train { clock: Tensor },
    /// Running statistics, no random numbers.
    Evaluate,
}

/// How the normalisations start.
fn weight_one_bias_zero(weight: &Parameter, bias: &Parameter) -> Vec<(Tensor, Vec<f32>)> {
    vec![(weight.value, vec![1.0; weight.value.len()]), (bias.value, vec![0.0; bias.value.len()])]
}
