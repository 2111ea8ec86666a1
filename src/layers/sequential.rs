//! Linear layers one after another, `torch.nn.Sequential`.

use rand_chacha::ChaCha8Rng;

use super::linear::{self, Linear};
use crate::program::Recorder;
use crate::tensor::Tensor;

pub struct Sequential {
    layers: Vec<Linear>,
}

pub struct Saved {
    layers: Vec<linear::Saved>,
}

impl Sequential {
    /// Panics on an empty list.
    pub fn new(layers: Vec<Linear>) -> Sequential {
        assert!(!layers.is_empty(), "a Sequential has at least one layer");
        Sequential { layers }
    }

    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        self.layers.iter().flat_map(|layer| layer.initial(rng)).collect()
    }

    pub fn forward(&self, r: &mut Recorder, x: Tensor) -> (Tensor, Saved) {
        let mut y = x;
        let mut saved = Vec::new();
        for layer in &self.layers {
            let (next, s) = layer.forward(r, y);
            saved.push(s);
            y = next;
        }
        (y, Saved { layers: saved })
    }

    /// dy to dx, last layer first.
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        self.layers.iter().zip(saved.layers).rev().fold(dy, |dy, (layer, saved)| layer.backward(r, saved, dy))
    }

    /// The parameters' share alone, where x needs no gradient.
    pub fn backward_parameters(&self, r: &mut Recorder, saved: Saved, dy: Tensor) {
        let mut layers = self.layers.iter().zip(saved.layers);
        let (first, first_saved) = layers.next().expect("a Sequential has at least one layer");
        let dy = layers.rev().fold(dy, |dy, (layer, saved)| layer.backward(r, saved, dy));
        first.backward_parameters(r, first_saved, dy);
    }
}
