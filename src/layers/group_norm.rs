//! `torch.nn.GroupNorm`, channels last.

use crate::arena::{Arena, Parameter};
use crate::kernels::group_norm;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// y = (x - mean) / sqrt(var + 1e-5) * weight + bias, mean and var over the places and the C/G channels of a group in
/// one example (Wu and He 2018, arXiv 1803.08494). Weight and bias are (C). The same in training and evaluation.
pub struct GroupNorm {
    name: String,
    groups: usize,
    /// (C)
    weight: Parameter,
    /// (C)
    bias: Parameter,
}

/// What a backward needs of its forward.
pub struct Saved(group_norm::Saved);

impl GroupNorm {
    /// Declares `name.weight` and `name.bias` (channels). The groups must divide the channels: the forward panics else.
    pub fn new(arena: &mut Arena, name: &str, groups: usize, channels: usize) -> GroupNorm {
        let weight = arena.parameter(format!("{name}.weight"), &[channels]);
        let bias = arena.parameter(format!("{name}.bias"), &[channels]);
        GroupNorm { name: name.into(), groups, weight, bias }
    }

    /// PyTorch's default: at first the layer only normalises.
    pub fn initial(&self) -> Vec<(Tensor, Vec<f32>)> {
        super::weight_one_bias_zero(&self.weight, &self.bias)
    }

    /// x (B,..,C) to y in its shape.
    pub fn forward(&self, r: &mut Recorder, x: Tensor) -> (Tensor, Saved) {
        r.scope(&self.name);
        let (y, saved) = group_norm::forward(r, x, self.weight.value, self.bias.value, self.groups);
        (y, Saved(saved))
    }

    /// dy to dx, both in x's shape; adds to the parameters' gradients.
    pub fn backward(&self, r: &mut Recorder, Saved(saved): Saved, dy: Tensor) -> Tensor {
        r.scope(&self.name);
        let (dx, sums) = group_norm::backward_x(r, saved, dy, self.weight.value);
        group_norm::backward_w(r, sums, self.weight.grad, self.bias.grad);
        dx
    }

    /// dy to dx, both in x's shape, the parameters held.
    pub fn backward_input(&self, r: &mut Recorder, &Saved(saved): &Saved, dy: Tensor) -> Tensor {
        r.scope(&self.name);
        group_norm::backward_x(r, saved, dy, self.weight.value).0
    }
}
