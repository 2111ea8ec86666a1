//! `torch.nn.BatchNorm1d` and `BatchNorm2d`, channels last, with the activation that follows.

use super::Mode;
use crate::arena::{Arena, Parameter};
use crate::kernels::activation::{self, Activation};
use crate::kernels::batch_norm::{self, Running};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// y = act((x - mean) / sqrt(var + 1e-5) * weight + bias), each channel by itself over batch and places (Ioffe and
/// Szegedy 2015, arXiv 1502.03167). Weight and bias are (C), like the running mean and variance, which a training step
/// moves a tenth of the way to those of the batch.
pub struct BatchNorm {
    name: String,
    /// (C)
    weight: Parameter,
    /// (C)
    bias: Parameter,
    running: Running,
    activation: Activation,
}

/// What a backward needs of its forward.
pub struct Saved {
    /// None in evaluation, where the parameters have no gradient.
    normalised: Option<batch_norm::Saved>,
    /// The output, or the activation's input where its slope needs that.
    activated: Tensor,
}

impl BatchNorm {
    /// Declares `name.weight` and `name.bias` (channels) and the statistics `name.running_mean`, `name.running_var`
    /// (channels) and `name.num_batches_tracked`.
    pub fn new(arena: &mut Arena, name: &str, channels: usize, activation: Activation) -> BatchNorm {
        let weight = arena.parameter(format!("{name}.weight"), &[channels]);
        let bias = arena.parameter(format!("{name}.bias"), &[channels]);
        let running = Running {
            mean: arena.statistic(format!("{name}.running_mean"), &[channels], 0.0),
            var: arena.statistic(format!("{name}.running_var"), &[channels], 1.0),
            count: arena.count(format!("{name}.num_batches_tracked")),
        };
        BatchNorm { name: name.into(), weight, bias, running, activation }
    }

    /// PyTorch's default: at first the layer only normalises.
    pub fn initial(&self) -> Vec<(Tensor, Vec<f32>)> {
        super::weight_one_bias_zero(&self.weight, &self.bias)
    }

    /// x (B,..,C) to y in its shape. Training normalises with the statistics of the batch and moves the running ones,
    /// evaluation uses those and leaves them.
    pub fn forward(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> (Tensor, Saved) {
        r.scope(&self.name);
        let epilogue = if self.activation.saves_output() { self.activation } else { Activation::Identity };
        let (w, b) = (self.weight.value, self.bias.value);
        let (h, normalised) = match mode {
            Mode::Train { .. } => {
                let (h, saved) = batch_norm::forward(r, x, w, b, self.running, epilogue);
                (h, Some(saved))
            }
            Mode::Evaluate => (batch_norm::evaluate(r, x, w, b, self.running, epilogue), None),
        };
        let y = if epilogue == self.activation { h } else { activation::forward(r, h, self.activation) };
        (y, Saved { normalised, activated: h })
    }

    /// dy to dx, both in x's shape; adds to the parameters' gradients. Panics on what a forward in [`Mode::Evaluate`]
    /// saved.
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        let (normalised, dh, activation) = self.slope(r, &saved, dy);
        let gradients = [self.weight.grad, self.bias.grad];
        batch_norm::backward(r, normalised, dh, self.weight.value, gradients, activation)
    }

    /// dy to dx, both in x's shape, the parameters held.
    pub fn backward_input(&self, r: &mut Recorder, saved: &Saved, dy: Tensor) -> Tensor {
        if saved.normalised.is_none() {
            return self.backward_evaluation(r, saved, dy);
        }
        let (normalised, dh, activation) = self.slope(r, saved, dy);
        batch_norm::backward_input(r, normalised, dh, self.weight.value, activation)
    }

    /// In evaluation y = act((x - mean) / sqrt(var + 1e-5) * weight + bias) with constants, so that dx is the same of
    /// dh without mean and bias.
    fn backward_evaluation(&self, r: &mut Recorder, saved: &Saved, dy: Tensor) -> Tensor {
        r.scope(&self.name);
        let dh = activation::backward(r, saved.activated, dy, self.activation);
        // Nothing writes this tensor, and it starts as zeros.
        let zeros = r.tensor("zeros", self.bias.value.shape());
        let running = Running { mean: zeros, ..self.running };
        batch_norm::evaluate(r, dh, self.weight.value, zeros, running, Activation::Identity)
    }

    /// What the kernels' backward takes: the gradient behind the activation that is their epilogue, or before another.
    fn slope(&self, r: &mut Recorder, saved: &Saved, dy: Tensor) -> (batch_norm::Saved, Tensor, Activation) {
        r.scope(&self.name);
        let problem = || panic!("{}: evaluation has no gradient of the parameters", self.name);
        let normalised = saved.normalised.unwrap_or_else(problem);
        match self.activation.saves_output() {
            true => (normalised, dy, self.activation),
            false => (normalised, activation::backward(r, saved.activated, dy, self.activation), Activation::Identity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "encoder.1: evaluation has no gradient of the parameters")]
    fn evaluation_has_no_gradient_of_the_parameters() {
        let mut arena = Arena::new();
        let layer = BatchNorm::new(&mut arena, "encoder.1", 3, Activation::Relu);
        let x = arena.tensor("x", &[2, 4, 4, 3]);
        let mut r = Recorder::new(&mut arena);
        let (y, saved) = layer.forward(&mut r, x, Mode::Evaluate);
        layer.backward(&mut r, saved, y);
    }

    /// Which kernels run: an activation whose slope needs its input is a dispatch of its own.
    #[test]
    fn activations_are_epilogues_where_they_can_be() {
        let kernels = |activation: Activation| {
            let mut arena = Arena::new();
            let layer = BatchNorm::new(&mut arena, "bn", 3, activation);
            let (x, clock) = (arena.tensor("x", &[5, 3]), arena.tensor("clock", &[12]));
            let mut r = Recorder::new(&mut arena);
            let (y, saved) = layer.forward(&mut r, x, Mode::Train { clock });
            layer.backward(&mut r, saved, y);
            r.finish("bn").steps.iter().map(|step| step.kernel.name).collect::<Vec<_>>()
        };
        let forward = ["batch_norm.partials", "batch_norm.statistics", "batch_norm.forward"];
        let backward = ["batch_norm.backward_partials", "batch_norm.backward_w", "batch_norm.backward_x"];
        assert_eq!(kernels(Activation::Elu), [forward, backward].concat());
        let alone = ["activation.forward", "activation.backward"];
        assert_eq!(kernels(Activation::Silu), [&forward[..], &alone, &backward].concat());
    }
}
