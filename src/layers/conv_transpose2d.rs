//! y = act(x * w transposed + b), `torch.nn.ConvTranspose2d` with the rectifier that follows it. It is a convolution
//! read backwards: its forward is conv2d's backward to x, its backward to x conv2d's forward. Pictures have their
//! channels last.

use rand_chacha::ChaCha8Rng;

use super::uniform_by_fan_in;
use crate::arena::{Arena, Layout, Parameter};
use crate::kernels::activation::{self, Activation};
use crate::kernels::conv2d::{self, Geometry};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// A transposed convolution of I to O channels in G groups. Weight (I,KH,KW,O/G), in files (I,O/G,KH,KW); bias (O).
pub struct ConvTranspose2d {
    name: String,
    /// (I,KH,KW,O/G); in files (I,O/G,KH,KW)
    weight: Parameter,
    /// (O)
    bias: Option<Parameter>,
    geometry: Geometry,
    /// Rows and columns the result has more than the smallest with this input.
    output_padding: [usize; 2],
    activation: Activation,
    bias_cancels: bool,
}

/// What a backward needs of its forward.
pub struct Saved {
    x: Tensor,
    y: Tensor,
}

impl ConvTranspose2d {
    /// Declares `name.weight` and, with a bias, `name.bias`, for I and O channels. Panics where the groups do not
    /// divide them, and on an activation that is no rectifier.
    pub fn new(
        arena: &mut Arena,
        name: &str,
        [inputs, outputs]: [usize; 2],
        geometry: Geometry,
        output_padding: [usize; 2],
        has_bias: bool,
        activation: Activation,
    ) -> ConvTranspose2d {
        assert!(activation.is_rectifier(), "{name}: {activation:?} must be a layer of its own");
        let [kh, kw] = geometry.kernel;
        let shape = [inputs, kh, kw, outputs / geometry.groups];
        let weight = arena.parameter_in(Layout::ChannelsLast, format!("{name}.weight"), &shape);
        let bias = has_bias.then(|| arena.parameter(format!("{name}.bias"), &[outputs]));
        ConvTranspose2d { name: name.into(), weight, bias, geometry, output_padding, activation, bias_cancels: false }
    }

    /// The layer in front of a batch norm, which takes the mean away and the bias with it: the bias's gradient is zero,
    /// and its sum, only rounding, is left out. (PyTorch takes it, and Adam makes steps of that rounding.)
    pub fn before_batch_norm(self) -> ConvTranspose2d {
        ConvTranspose2d { bias_cancels: true, ..self }
    }

    /// PyTorch's default: weight and bias uniform within 1/sqrt(fan_in); what it takes for the fan-in here is O/G KH
    /// KW.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        uniform_by_fan_in(rng, &self.weight, self.bias.as_ref())
    }

    /// x (B,P,Q,I) to y (B,H,W,O).
    pub fn forward(&self, r: &mut Recorder, x: Tensor) -> (Tensor, Saved) {
        r.scope(&self.name);
        let &[_, p, q, _] = x.shape() else { panic!("{}: x {x:?} is no picture with channels last", self.name) };
        let size = self.geometry.large_size([p, q], self.output_padding);
        let size = size.unwrap_or_else(|| panic!("{}: {:?} leaves nothing of x {x:?}", self.name, self.geometry));
        let bias = self.bias.as_ref().map(|b| b.value);
        let y = conv2d::backward_x(r, x, self.weight.value, bias, self.geometry, size, self.activation);
        (y, Saved { x, y })
    }

    /// dy (B,H,W,O) to dx (B,P,Q,I); adds to the parameters' gradients.
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        let x = saved.x;
        let dh = self.backward_parameters(r, saved, dy);
        self.backward_x(r, x, dh)
    }

    /// dy (B,H,W,O) to dx (B,P,Q,I), the parameters held.
    pub fn backward_input(&self, r: &mut Recorder, saved: &Saved, dy: Tensor) -> Tensor {
        let dh = self.slope(r, saved, dy);
        self.backward_x(r, saved.x, dh)
    }

    /// The parameters' share alone, for a first layer, whose input needs no gradient. Returns the gradient of what the
    /// activation takes.
    pub fn backward_parameters(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        let dh = self.slope(r, &saved, dy);
        conv2d::backward_w(r, saved.x, dh, self.weight.grad, self.geometry);
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

    /// That gradient to the one of the layer's input x.
    fn backward_x(&self, r: &mut Recorder, x: Tensor, dh: Tensor) -> Tensor {
        let &[_, p, q, _] = x.shape() else { unreachable!("forward took a picture") };
        conv2d::forward_to(r, dh, self.weight.value, None, self.geometry, [p, q], Activation::Identity)
    }
}
