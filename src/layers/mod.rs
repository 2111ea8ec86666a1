//! Layers: parameters with `forward(r, x) -> (y, saved)` and `backward(r, saved, dy) -> dx`. No shader text here.
//!
//! `saved` is a value that the backward consumes: running a backward twice, or before its forward, does not compile.

pub mod batch_norm;
pub mod bayesian_linear;
pub mod conv2d;
pub mod conv_transpose2d;
pub mod dropout;
pub mod embedding;
pub mod group_norm;
pub mod gru;
pub mod layer_norm;
pub mod linear;
pub mod lstm;
pub mod pool;
pub mod recurrent;
pub mod sequential;
pub mod stacked;
pub mod upsample;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::arena::Parameter;
use crate::tensor::Tensor;

/// What the forward of a layer is for. Batch norm and dropout do something else in each.
#[derive(Clone, Copy, Debug)]
pub enum Mode {
    /// Batch statistics, dropped units; the clock keys the random numbers.
    Train {
        /// Where the kernels find seed and step: a [`Clock`](crate::kernels::clock::Clock).
        clock: Tensor,
    },
    /// Running statistics, no random numbers.
    Evaluate,
}

/// How the normalisations start.
fn weight_one_bias_zero(weight: &Parameter, bias: &Parameter) -> Vec<(Tensor, Vec<f32>)> {
    vec![(weight.value, vec![1.0; weight.value.len()]), (bias.value, vec![0.0; bias.value.len()])]
}

/// PyTorch's default for linear layers and convolutions: weight and bias uniform within 1/sqrt(fan_in), the fan-in
/// being the elements of the weight that one of its first dimension has.
fn uniform_by_fan_in(rng: &mut ChaCha8Rng, weight: &Parameter, bias: Option<&Parameter>) -> Vec<(Tensor, Vec<f32>)> {
    let fan_in = weight.value.len() / weight.value.shape()[0];
    uniform_within(rng, 1.0 / (fan_in as f32).sqrt(), std::iter::once(weight).chain(bias))
}

/// Each parameter uniform between -bound and bound.
fn uniform_within<'a>(
    rng: &mut ChaCha8Rng,
    bound: f32,
    parameters: impl IntoIterator<Item = &'a Parameter>,
) -> Vec<(Tensor, Vec<f32>)> {
    let mut draw = |t: Tensor| (t, (0..t.len()).map(|_| bound * (2.0 * rng.random::<f32>() - 1.0)).collect());
    parameters.into_iter().map(|p| draw(p.value)).collect()
}

/// Another start for linear layers: weights (O,I) uniform within sqrt(6 / (I + O)), biases zero (Glorot & Bengio 2010).
pub fn xavier(rng: &mut ChaCha8Rng, parameter: Tensor) -> Vec<f32> {
    match *parameter.shape() {
        [outputs, inputs] => {
            let bound = (6.0 / (inputs + outputs) as f32).sqrt();
            (0..parameter.len()).map(|_| bound * (2.0 * rng.random::<f32>() - 1.0)).collect()
        }
        _ => vec![0.0; parameter.len()],
    }
}
