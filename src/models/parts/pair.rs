//! Two fully connected layers, of which only the first has a nonlinearity.

use rand_chacha::ChaCha8Rng;

use crate::arena::Arena;
use crate::kernels::activation::Activation;
use crate::layers::linear::{self, Linear};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// A hidden layer, and one without a nonlinearity: `nn.Sequential(Linear, activation, Linear)`.
pub struct Pair([Linear; 2]);

/// What the backward needs of both layers.
pub struct PairSaved([linear::Saved; 2]);

impl Pair {
    /// Declares the parameters of `name.0` and `name.2`, the names that they have in PyTorch.
    pub fn new(arena: &mut Arena, name: &str, [inputs, hidden, outputs]: [usize; 3], activation: Activation) -> Pair {
        let first = Linear::new(arena, &format!("{name}.0"), inputs, hidden, activation);
        Pair([first, Linear::new(arena, &format!("{name}.2"), hidden, outputs, Activation::Identity)])
    }

    /// Initial parameters of both layers.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        self.0.iter().flat_map(|layer| layer.initial(rng)).collect()
    }

    /// x (B,I) to y (B,O).
    pub fn forward(&self, r: &mut Recorder, x: Tensor) -> (Tensor, PairSaved) {
        let (h, first) = self.0[0].forward(r, x);
        let (y, second) = self.0[1].forward(r, h);
        (y, PairSaved([first, second]))
    }

    /// dy (B,O) to dx (B,I); the parameters' gradients are added to.
    pub fn backward(&self, r: &mut Recorder, saved: PairSaved, dy: Tensor) -> Tensor {
        let PairSaved([first, second]) = saved;
        let dh = self.0[1].backward(r, second, dy);
        self.0[0].backward(r, first, dh)
    }
}
