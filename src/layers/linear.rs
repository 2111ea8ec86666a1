//! y = act(x W^T + b), `torch.nn.Linear` with the activation that follows it.

use rand_chacha::ChaCha8Rng;

use crate::arena::{Arena, Parameter};
use crate::kernels::activation::{self, Activation};
use crate::kernels::matmul;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// A matrix and an activation: weight (O,I), bias (O), for I inputs and O outputs.
pub struct Linear {
    name: String,
    /// (O,I)
    weight: Parameter,
    /// (O)
    bias: Parameter,
    activation: Activation,
}

/// What a backward needs of its forward.
pub struct Saved {
    x: Tensor,
    /// The output, or the activation's input where its slope needs that.
    activated: Tensor,
}

impl Linear {
    /// Declares `name.weight` (outputs, inputs) and `name.bias` (outputs).
    pub fn new(arena: &mut Arena, name: &str, inputs: usize, outputs: usize, activation: Activation) -> Linear {
        let weight = arena.parameter(format!("{name}.weight"), &[outputs, inputs]);
        let bias = arena.parameter(format!("{name}.bias"), &[outputs]);
        Linear { name: name.into(), weight, bias, activation }
    }

    /// PyTorch's default: weight and bias uniform within 1/sqrt(fan_in).
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        super::uniform_by_fan_in(rng, &self.weight, Some(&self.bias))
    }

    /// Weight (O,I) and bias (O).
    pub fn values(&self) -> [Tensor; 2] {
        [self.weight.value, self.bias.value]
    }

    /// Their gradients.
    pub fn gradients(&self) -> [Tensor; 2] {
        [self.weight.grad, self.bias.grad]
    }

    // ANCHOR: passes
    /// x (B,I) to y (B,O).
    pub fn forward(&self, r: &mut Recorder, x: Tensor) -> (Tensor, Saved) {
        r.scope(&self.name);
        let epilogue = if self.activation.saves_output() { self.activation } else { Activation::Identity };
        let h = matmul::forward(r, x, self.weight.value, self.bias.value, epilogue);
        let y = if epilogue == self.activation { h } else { activation::forward(r, h, self.activation) };
        (y, Saved { x, activated: h })
    }

    /// dy (B,O) to dx (B,I); adds to the parameters' gradients.
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        let dh = self.backward_parameters(r, saved, dy);
        matmul::backward_x(r, dh, self.weight.value)
    }

    /// [`backward`](Linear::backward) for a second consumer of x: adds to the dx that the first one assigned.
    pub fn backward_into(&self, r: &mut Recorder, saved: Saved, dy: Tensor, dx: Tensor) {
        let dh = self.backward_parameters(r, saved, dy);
        matmul::backward_x_into(r, dh, self.weight.value, dx);
    }

    /// The parameters' share alone, for a first layer, whose input needs no gradient. Returns the gradient of
    /// x W^T + b, (B,O).
    pub fn backward_parameters(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        let dh = self.slope(r, &saved, dy);
        matmul::backward_w(r, dh, saved.x, self.weight.grad, self.bias.grad);
        dh
    }
    // ANCHOR_END: passes

    // ANCHOR: input
    /// dy (B,O) to dx (B,I), the parameters held. The saved values stay: another backward is to add the parameters'
    /// gradients, of another loss.
    pub fn backward_input(&self, r: &mut Recorder, saved: &Saved, dy: Tensor) -> Tensor {
        let dh = self.slope(r, saved, dy);
        matmul::backward_x(r, dh, self.weight.value)
    }
    // ANCHOR_END: input

    /// dy to the gradient of x W^T + b, (B,O) each.
    fn slope(&self, r: &mut Recorder, saved: &Saved, dy: Tensor) -> Tensor {
        r.scope(&self.name);
        match self.activation {
            Activation::Identity => dy,
            act => activation::backward(r, saved.activated, dy, act),
        }
    }
}
