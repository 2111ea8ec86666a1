//! Encoder and decoder of fully connected layers, from a list of hidden sizes.

use super::networks::Networks;
use crate::arena::Arena;
use crate::kernels::activation::Activation;
use crate::layers::linear::Linear;
use crate::layers::sequential::{Layer, Sequential};

/// The encoder's hidden layers, from `inputs` numbers. They are called fc1 where there is one, as in pytorch/examples,
/// and else encoder.0, encoder.2, ..., as an `nn.Sequential` with an activation after each linear layer would call
/// them.
pub fn encoder(arena: &mut Arena, networks: &Networks, mut inputs: usize) -> Sequential {
    let mut layers = Vec::new();
    for (i, &width) in networks.hidden.iter().enumerate() {
        let name = name(&networks.hidden, "encoder", "fc1", i);
        layers.push(Layer::Linear(Linear::new(arena, &name, inputs, width, networks.activation)));
        inputs = width;
    }
    Sequential::new(layers)
}

/// The decoder from `inputs` numbers: the hidden sizes reversed, then the pixels. Called fc3 and fc4, or decoder.0,
/// decoder.2, ...
pub fn decoder(arena: &mut Arena, networks: &Networks, mut inputs: usize, pixels: usize) -> Sequential {
    let mut layers = Vec::new();
    for (i, &width) in networks.hidden.iter().rev().enumerate() {
        let name = name(&networks.hidden, "decoder", "fc3", i);
        layers.push(Layer::Linear(Linear::new(arena, &name, inputs, width, networks.activation)));
        inputs = width;
    }
    let name = name(&networks.hidden, "decoder", "fc4", networks.hidden.len());
    layers.push(Layer::Linear(Linear::new(arena, &name, inputs, pixels, Activation::Identity)));
    Sequential::new(layers)
}

/// What the layer of that index in a stack is called: as in pytorch/examples where there is one hidden layer.
pub(super) fn name(hidden: &[usize], stack: &str, single: &str, index: usize) -> String {
    match hidden.len() {
        1 => single.to_string(),
        _ => format!("{stack}.{}", 2 * index),
    }
}
