//! Encoder and decoder of fully connected layers, from a list of hidden sizes.

use super::vae::Config;
use crate::arena::Arena;
use crate::kernels::activation::Activation;
use crate::layers::linear::Linear;
use crate::layers::sequential::{Layer, Sequential};

/// The encoder's hidden layers. They are called fc1 where there is one, as in pytorch/examples, and else encoder.0,
/// encoder.2, ..., as an `nn.Sequential` with an activation after each linear layer would call them.
pub fn encoder(arena: &mut Arena, config: &Config) -> Sequential {
    let mut inputs = config.input();
    let mut layers = Vec::new();
    for (i, &width) in config.hidden.iter().enumerate() {
        let name = name(config, "encoder", "fc1", i);
        layers.push(Layer::Linear(Linear::new(arena, &name, inputs, width, config.activation)));
        inputs = width;
    }
    Sequential::new(layers)
}

/// The decoder: the hidden sizes reversed, then the pixels. Called fc3 and fc4, or decoder.0, decoder.2, ...
pub fn decoder(arena: &mut Arena, config: &Config) -> Sequential {
    let mut inputs = config.latent;
    let mut layers = Vec::new();
    for (i, &width) in config.hidden.iter().rev().enumerate() {
        let name = name(config, "decoder", "fc3", i);
        layers.push(Layer::Linear(Linear::new(arena, &name, inputs, width, config.activation)));
        inputs = width;
    }
    let name = name(config, "decoder", "fc4", config.hidden.len());
    layers.push(Layer::Linear(Linear::new(arena, &name, inputs, config.input(), Activation::Identity)));
    Sequential::new(layers)
}

fn name(config: &Config, stack: &str, single: &str, index: usize) -> String {
    match config.hidden.len() {
        1 => single.to_string(),
        _ => format!("{stack}.{}", 2 * index),
    }
}
