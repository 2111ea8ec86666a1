//! `torch.nn.Embedding`: a row of numbers for each word.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;

use crate::arena::{Arena, Parameter};
use crate::kernels::{embedding, random};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// A table: weight (V,E), for V words.
pub struct Embedding {
    name: String,
    /// (V,E)
    weight: Parameter,
    /// The word whose row is 0 and stays so.
    padding: Option<u32>,
}

impl Embedding {
    /// Declares `name.weight` (words, size). The row `padding` is not trained, as PyTorch's `padding_idx`.
    pub fn new(arena: &mut Arena, name: &str, words: usize, size: usize, padding: Option<u32>) -> Embedding {
        let weight = arena.parameter(format!("{name}.weight"), &[words, size]);
        Embedding { name: name.into(), weight, padding }
    }

    /// PyTorch's default: N(0,1), and 0 for the padding.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        let [_, size] = self.weight.value.matrix();
        let mut values = random::host_normal(rng.random(), 0, self.weight.value.len());
        if let Some(padding) = self.padding {
            values[padding as usize * size..][..size].fill(0.0);
        }
        vec![(self.weight.value, values)]
    }

    /// ids (R), integers below V, to (R,E).
    pub fn forward(&self, r: &mut Recorder, ids: Tensor) -> Tensor {
        r.scope(&self.name);
        embedding::forward(r, self.weight.value, ids)
    }

    /// Adds dy (R,E) to the gradient of the rows that ids (R) named.
    pub fn backward(&self, r: &mut Recorder, ids: Tensor, dy: Tensor) {
        r.scope(&self.name);
        embedding::backward(r, ids, dy, self.weight.grad, self.padding);
    }
}
