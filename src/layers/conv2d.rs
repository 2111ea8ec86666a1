//! y = act(x * w + b), `torch.nn.Conv2d` with the rectifier that follows it. Pictures have their channels last.

use rand_chacha::ChaCha8Rng;

use super::uniform_by_fan_in;
use crate::arena::{Arena, Layout, Parameter};
use crate::kernels::activation::{self, Activation};
use crate::kernels::conv2d::{self, Geometry};
use crate::kernels::masked_weight::{self, Mask};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// A convolution of I to O channels in G groups, by the letters of its [`Geometry`]. Weight (O,KH,KW,I/G), in files
/// (O,I/G,KH,KW); bias (O).
pub struct Conv2d {
    name: String,
    /// (O,KH,KW,I/G); in files (O,I/G,KH,KW)
    weight: Parameter,
    /// (O)
    bias: Option<Parameter>,
    geometry: Geometry,
    activation: Activation,
    bias_cancels: bool,
    mask: Option<Mask>,
}

/// What a backward needs of its forward.
pub struct Saved {
    x: Tensor,
    y: Tensor,
    /// The weight, masked where the layer has a mask.
    w: Tensor,
}

impl Conv2d {
    /// Declares `name.weight` and, with a bias, `name.bias`, for I and O channels. Panics where the groups do not
    /// divide them, and on an activation that is no rectifier.
    pub fn new(
        arena: &mut Arena,
        name: &str,
        [inputs, outputs]: [usize; 2],
        geometry: Geometry,
        has_bias: bool,
        activation: Activation,
    ) -> Conv2d {
        assert!(activation.is_rectifier(), "{name}: {activation:?} must be a layer of its own");
        let [kh, kw] = geometry.kernel;
        let shape = [outputs, kh, kw, inputs / geometry.groups];
        let weight = arena.parameter_in(Layout::ChannelsLast, format!("{name}.weight"), &shape);
        let bias = has_bias.then(|| arena.parameter(format!("{name}.bias"), &[outputs]));
        Conv2d { name: name.into(), weight, bias, geometry, activation, bias_cancels: false, mask: None }
    }

    /// The layer in front of a batch norm, which takes the mean away and the bias with it: the bias's gradient is zero,
    /// and its sum, only rounding, is left out. (PyTorch takes it, and Adam makes steps of that rounding.)
    pub fn before_batch_norm(self) -> Conv2d {
        Conv2d { bias_cancels: true, ..self }
    }

    /// The layer that sees of its window only what the mask shows. The window is odd, and its groups one.
    pub fn masked(self, mask: Mask) -> Conv2d {
        Conv2d { mask: Some(mask), ..self }
    }

    /// PyTorch's default: weight and bias uniform within 1/sqrt(fan_in), fan_in = I/G KH KW.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        uniform_by_fan_in(rng, &self.weight, self.bias.as_ref())
    }

    /// x (B,H,W,I) to y (B,P,Q,O).
    pub fn forward(&self, r: &mut Recorder, x: Tensor) -> (Tensor, Saved) {
        r.scope(&self.name);
        let bias = self.bias.as_ref().map(|b| b.value);
        let w = self.mask.map_or(self.weight.value, |mask| masked_weight::forward(r, self.weight.value, mask));
        let y = conv2d::forward(r, x, w, bias, self.geometry, self.activation);
        (y, Saved { x, y, w })
    }

    /// dy (B,P,Q,O) to dx (B,H,W,I); adds to the parameters' gradients.
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        let Saved { x, w, .. } = saved;
        let dh = self.backward_parameters(r, saved, dy);
        self.backward_x(r, [x, w], dh)
    }

    /// dy (B,P,Q,O) to dx (B,H,W,I), the parameters held.
    pub fn backward_input(&self, r: &mut Recorder, saved: &Saved, dy: Tensor) -> Tensor {
        let dh = self.slope(r, saved, dy);
        self.backward_x(r, [saved.x, saved.w], dh)
    }

    /// The parameters' share alone, for a first layer, whose input needs no gradient. Returns the gradient of x * w +
    /// b.
    pub fn backward_parameters(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        let dh = self.slope(r, &saved, dy);
        conv2d::backward_w(r, dh, saved.x, self.weight.grad, self.geometry);
        if let Some(mask) = self.mask {
            masked_weight::backward(r, self.weight.grad, mask);
        }
        match &self.bias {
            Some(bias) if !self.bias_cancels => conv2d::backward_b(r, dh, bias.grad),
            _ => {}
        }
        dh
    }

    /// dy to the gradient of what the activation takes.
    fn slope(&self, r: &mut Recorder, saved: &Saved, dy: Tensor) -> Tensor {
        r.scope(&self.name);
        match self.activation {
            Activation::Identity => dy,
            act => activation::backward(r, saved.y, dy, act),
        }
    }

    /// That gradient to the one of the layer's input x, which met the weights w.
    fn backward_x(&self, r: &mut Recorder, [x, weight]: [Tensor; 2], dh: Tensor) -> Tensor {
        let &[_, h, w, _] = x.shape() else { unreachable!("forward took a picture") };
        conv2d::backward_x(r, dh, weight, None, self.geometry, [h, w], Activation::Identity)
    }
}
