//! `torch.nn.LayerNorm`.

use crate::arena::{Arena, Parameter};
use crate::kernels::layer_norm;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// Used on vectors. On pictures it normalises over all places and channels of each, and weight and bias are in
/// channels-last order then, unlike in PyTorch's files: turning them around is the caller's.
pub struct LayerNorm {
    name: String,
    /// (F)
    weight: Parameter,
    /// (F)
    bias: Parameter,
}

/// What a backward needs of its forward.
pub struct Saved(layer_norm::Saved);

impl LayerNorm {
    /// Declares `name.weight` and `name.bias` (features).
    pub fn new(arena: &mut Arena, name: &str, features: usize) -> LayerNorm {
        let weight = arena.parameter(format!("{name}.weight"), &[features]);
        let bias = arena.parameter(format!("{name}.bias"), &[features]);
        LayerNorm { name: name.into(), weight, bias }
    }

    /// PyTorch's default: at first the layer only normalises.
    pub fn initial(&self) -> Vec<(Tensor, Vec<f32>)> {
        super::weight_one_bias_zero(&self.weight, &self.bias)
    }

    /// x (B,..) with F elements a row to y in its shape.
    pub fn forward(&self, r: &mut Recorder, x: Tensor) -> (Tensor, Saved) {
        r.scope(&self.name);
        let (y, saved) = layer_norm::forward(r, self.rows(x), self.weight.value, self.bias.value);
        (y.reshape(x.shape()), Saved(saved))
    }

    /// dy to dx, both in x's shape; adds to the parameters' gradients.
    pub fn backward(&self, r: &mut Recorder, Saved(saved): Saved, dy: Tensor) -> Tensor {
        r.scope(&self.name);
        let rows = self.rows(dy);
        layer_norm::backward_w(r, saved, rows, self.weight.grad, self.bias.grad);
        layer_norm::backward_x(r, saved, rows, self.weight.value).reshape(dy.shape())
    }

    /// All dimensions but the first as one.
    fn rows(&self, x: Tensor) -> Tensor {
        let &[b, ..] = x.shape() else { panic!("{}: {x:?} has no rows", self.name) };
        x.reshape(&[b, x.len() / b])
    }
}
