//! `torch.nn.LayerNorm` over all of an example.

use crate::arena::{Arena, Parameter};
use crate::kernels::{channels, layer_norm};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// y = (x - mean) / sqrt(var + 1e-5) * weight + bias, mean and var over one example (Ba et al. 2016, arXiv 1607.06450).
/// A picture is normalised over its places and channels. It comes and goes with its channels last; in between they are
/// first, as in the weights of PyTorch's files.
pub struct LayerNorm {
    name: String,
    /// (F), or (C,H,W)
    weight: Parameter,
    /// (F), or (C,H,W)
    bias: Parameter,
}

/// What a backward needs of its forward.
pub struct Saved(layer_norm::Saved);

impl LayerNorm {
    /// Declares `name.weight` and `name.bias` of an example's shape: (F), or (C,H,W).
    pub fn new(arena: &mut Arena, name: &str, shape: &[usize]) -> LayerNorm {
        let weight = arena.parameter(format!("{name}.weight"), shape);
        let bias = arena.parameter(format!("{name}.bias"), shape);
        LayerNorm { name: name.into(), weight, bias }
    }

    /// PyTorch's default: at first the layer only normalises.
    pub fn initial(&self) -> Vec<(Tensor, Vec<f32>)> {
        super::weight_one_bias_zero(&self.weight, &self.bias)
    }

    /// x (B,F) or (B,H,W,C) to y in its shape.
    pub fn forward(&self, r: &mut Recorder, x: Tensor) -> (Tensor, Saved) {
        r.scope(&self.name);
        let rows = self.rows(r, x);
        let (y, saved) = layer_norm::forward(r, rows, self.flat(self.weight.value), self.flat(self.bias.value));
        (self.unrows(r, y), Saved(saved))
    }

    /// dy to dx, both in x's shape; adds to the parameters' gradients.
    pub fn backward(&self, r: &mut Recorder, Saved(saved): Saved, dy: Tensor) -> Tensor {
        r.scope(&self.name);
        let rows = self.rows(r, dy);
        layer_norm::backward_w(r, saved, rows, self.flat(self.weight.grad), self.flat(self.bias.grad));
        let dx = layer_norm::backward_x(r, saved, rows, self.flat(self.weight.value));
        self.unrows(r, dx)
    }

    /// dy to dx, both in x's shape, the parameters held.
    pub fn backward_input(&self, r: &mut Recorder, &Saved(saved): &Saved, dy: Tensor) -> Tensor {
        r.scope(&self.name);
        let rows = self.rows(r, dy);
        let dx = layer_norm::backward_x(r, saved, rows, self.flat(self.weight.value));
        self.unrows(r, dx)
    }

    fn flat(&self, parameter: Tensor) -> Tensor {
        parameter.reshape(&[parameter.len()])
    }

    /// An example a row, in the order of the weights.
    fn rows(&self, r: &mut Recorder, x: Tensor) -> Tensor {
        if x.shape().len() == 4 { channels::first(r, x) } else { x }
    }

    fn unrows(&self, r: &mut Recorder, rows: Tensor) -> Tensor {
        match *self.weight.value.shape() {
            [c, h, w] => channels::last(r, rows, [c, h, w]),
            _ => rows,
        }
    }
}
