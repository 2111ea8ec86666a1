//! Layers one after another, `torch.nn.Sequential`, and every layer there is under one name.

use rand_chacha::ChaCha8Rng;

use super::Mode;
use super::batch_norm::{self, BatchNorm};
use super::conv_transpose2d::{self, ConvTranspose2d};
use super::conv2d::{self, Conv2d};
use super::dropout::{self, Dropout};
use super::group_norm::{self, GroupNorm};
use super::layer_norm::{self, LayerNorm};
use super::linear::{self, Linear};
use super::pool::{self, Pool};
use super::upsample::{self, Upsample};
use crate::kernels::activation::{self, Activation};
use crate::kernels::{channels, joint};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The output of each layer is the input of the next. Forward and backward are only recorded here; nothing runs.
pub struct Sequential {
    layers: Vec<Layer>,
}

/// A layer of a [`Sequential`]. Pictures are (B,H,W,C), vectors (B,F).
pub enum Layer {
    /// (B,I) to (B,O).
    Linear(Linear),
    /// (B,H,W,I) to (B,P,Q,O).
    Conv2d(Conv2d),
    /// (B,P,Q,I) to (B,H,W,O).
    ConvTranspose2d(ConvTranspose2d),
    /// (B,..,C), over batch and places.
    BatchNorm(BatchNorm),
    /// (B,..,C), over the places and the channels of a group.
    GroupNorm(GroupNorm),
    /// (B,F) or (B,H,W,C), over all of an example.
    LayerNorm(LayerNorm),
    /// One that is not the epilogue of the layer before it.
    Activation(Activation),
    /// (B,H,W,C) to (B,P,Q,C).
    Pool(Pool),
    /// (B,H,W,C) to (B,FH,FW,C).
    Upsample(Upsample),
    /// Any shape; the identity in evaluation.
    Dropout(Dropout),
    /// A picture to a vector, in PyTorch's order: channels first.
    Flatten,
    /// A vector in PyTorch's order to a picture of this (C,H,W).
    View([usize; 3]),
    /// Layers with names of their own, one level deeper.
    Sequential(Sequential),
    /// y = x + body(x)
    Residual(Sequential),
}

/// What each layer's backward needs of its forward.
pub struct Saved {
    layers: Vec<LayerSaved>,
}

enum LayerSaved {
    Linear(linear::Saved),
    Conv2d(conv2d::Saved),
    ConvTranspose2d(conv_transpose2d::Saved),
    BatchNorm(batch_norm::Saved),
    GroupNorm(group_norm::Saved),
    LayerNorm(layer_norm::Saved),
    /// The output, or the input where the slope needs that.
    Activation(Tensor),
    Pool(pool::Saved),
    Upsample(upsample::Saved),
    Dropout(dropout::Saved),
    /// (C,H,W) of the picture that became a vector.
    Flatten([usize; 3]),
    View,
    Sequential(Saved),
    Residual(Saved),
}

impl Sequential {
    /// Of no layers it is the identity.
    pub fn new(layers: Vec<Layer>) -> Sequential {
        Sequential { layers }
    }

    /// PyTorch's default initialisation of every parameter, layer by layer: where it goes, and the values.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        self.layers.iter().flat_map(|layer| layer.initial(rng)).collect()
    }

    /// x, (B,H,W,C) or (B,F) as the first layer takes it, to the last layer's y. Panics where a shape does not fit,
    /// with the kernel's name.
    pub fn forward(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> (Tensor, Saved) {
        let mut y = x;
        let mut saved = Vec::new();
        for layer in &self.layers {
            let (next, s) = layer.forward(r, y, mode);
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
        let Some((first, first_saved)) = layers.next() else { return };
        let dy = layers.rev().fold(dy, |dy, (layer, saved)| layer.backward(r, saved, dy));
        first.backward_parameters(r, first_saved, dy);
    }

    /// dy to dx, the parameters held: none of their gradients is added to. What was saved stays for the backward that
    /// adds them.
    pub fn backward_input(&self, r: &mut Recorder, saved: &Saved, dy: Tensor) -> Tensor {
        let layers = self.layers.iter().zip(&saved.layers).rev();
        layers.fold(dy, |dy, (layer, saved)| layer.backward_input(r, saved, dy))
    }
}

impl Layer {
    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        match self {
            Layer::Linear(layer) => layer.initial(rng),
            Layer::Conv2d(layer) => layer.initial(rng),
            Layer::ConvTranspose2d(layer) => layer.initial(rng),
            Layer::BatchNorm(layer) => layer.initial(),
            Layer::GroupNorm(layer) => layer.initial(),
            Layer::LayerNorm(layer) => layer.initial(),
            Layer::Sequential(body) | Layer::Residual(body) => body.initial(rng),
            Layer::Activation(_)
            | Layer::Pool(_)
            | Layer::Upsample(_)
            | Layer::Dropout(_)
            | Layer::Flatten
            | Layer::View(_) => Vec::new(),
        }
    }

    fn forward(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> (Tensor, LayerSaved) {
        fn both<S>((y, saved): (Tensor, S), wrap: fn(S) -> LayerSaved) -> (Tensor, LayerSaved) {
            (y, wrap(saved))
        }
        match self {
            Layer::Linear(layer) => both(layer.forward(r, x), LayerSaved::Linear),
            Layer::Conv2d(layer) => both(layer.forward(r, x), LayerSaved::Conv2d),
            Layer::ConvTranspose2d(layer) => both(layer.forward(r, x), LayerSaved::ConvTranspose2d),
            Layer::BatchNorm(layer) => both(layer.forward(r, x, mode), LayerSaved::BatchNorm),
            Layer::GroupNorm(layer) => both(layer.forward(r, x), LayerSaved::GroupNorm),
            Layer::LayerNorm(layer) => both(layer.forward(r, x), LayerSaved::LayerNorm),
            Layer::Activation(act) => {
                let y = activation::forward(r, x, *act);
                (y, LayerSaved::Activation(if act.saves_output() { y } else { x }))
            }
            Layer::Pool(layer) => both(layer.forward(r, x), LayerSaved::Pool),
            Layer::Upsample(layer) => both(layer.forward(r, x), LayerSaved::Upsample),
            Layer::Dropout(layer) => both(layer.forward(r, x, mode), LayerSaved::Dropout),
            Layer::Flatten => match *x.shape() {
                [_, h, w, c] => (channels::first(r, x), LayerSaved::Flatten([c, h, w])),
                _ => panic!("flatten: {x:?} is no picture"),
            },
            Layer::View(shape) => (channels::last(r, x, *shape), LayerSaved::View),
            Layer::Sequential(body) => both(body.forward(r, x, mode), LayerSaved::Sequential),
            Layer::Residual(body) => {
                let (y, saved) = body.forward(r, x, mode);
                (joint::add(r, x, y, 1.0), LayerSaved::Residual(saved))
            }
        }
    }

    fn backward(&self, r: &mut Recorder, saved: LayerSaved, dy: Tensor) -> Tensor {
        match (self, saved) {
            (Layer::Linear(layer), LayerSaved::Linear(saved)) => layer.backward(r, saved, dy),
            (Layer::Conv2d(layer), LayerSaved::Conv2d(saved)) => layer.backward(r, saved, dy),
            (Layer::ConvTranspose2d(layer), LayerSaved::ConvTranspose2d(saved)) => layer.backward(r, saved, dy),
            (Layer::BatchNorm(layer), LayerSaved::BatchNorm(saved)) => layer.backward(r, saved, dy),
            (Layer::GroupNorm(layer), LayerSaved::GroupNorm(saved)) => layer.backward(r, saved, dy),
            (Layer::LayerNorm(layer), LayerSaved::LayerNorm(saved)) => layer.backward(r, saved, dy),
            (Layer::Activation(act), LayerSaved::Activation(saved)) => activation::backward(r, saved, dy, *act),
            (Layer::Pool(layer), LayerSaved::Pool(saved)) => layer.backward(r, saved, dy),
            (Layer::Upsample(layer), LayerSaved::Upsample(saved)) => layer.backward(r, saved, dy),
            (Layer::Dropout(layer), LayerSaved::Dropout(saved)) => layer.backward(r, saved, dy),
            (Layer::Flatten, LayerSaved::Flatten(shape)) => channels::last(r, dy, shape),
            (Layer::View(_), LayerSaved::View) => channels::first(r, dy),
            (Layer::Sequential(body), LayerSaved::Sequential(saved)) => body.backward(r, saved, dy),
            (Layer::Residual(body), LayerSaved::Residual(saved)) => {
                let dx = body.backward(r, saved, dy);
                joint::add(r, dy, dx, 1.0)
            }
            _ => unreachable!("what a layer saved is its own"),
        }
    }

    /// As [`backward`](Layer::backward), the parameters held.
    fn backward_input(&self, r: &mut Recorder, saved: &LayerSaved, dy: Tensor) -> Tensor {
        match (self, saved) {
            (Layer::Linear(layer), LayerSaved::Linear(saved)) => layer.backward_input(r, saved, dy),
            (Layer::Conv2d(layer), LayerSaved::Conv2d(saved)) => layer.backward_input(r, saved, dy),
            (Layer::ConvTranspose2d(layer), LayerSaved::ConvTranspose2d(saved)) => layer.backward_input(r, saved, dy),
            (Layer::BatchNorm(layer), LayerSaved::BatchNorm(saved)) => layer.backward_input(r, saved, dy),
            (Layer::GroupNorm(layer), LayerSaved::GroupNorm(saved)) => layer.backward_input(r, saved, dy),
            (Layer::LayerNorm(layer), LayerSaved::LayerNorm(saved)) => layer.backward_input(r, saved, dy),
            (Layer::Sequential(body), LayerSaved::Sequential(saved)) => body.backward_input(r, saved, dy),
            (Layer::Residual(body), LayerSaved::Residual(saved)) => {
                let dx = body.backward_input(r, saved, dy);
                joint::add(r, dy, dx, 1.0)
            }
            // The others have no parameters.
            (layer, &LayerSaved::Activation(saved)) => layer.backward(r, LayerSaved::Activation(saved), dy),
            (layer, &LayerSaved::Pool(saved)) => layer.backward(r, LayerSaved::Pool(saved), dy),
            (layer, &LayerSaved::Upsample(saved)) => layer.backward(r, LayerSaved::Upsample(saved), dy),
            (layer, &LayerSaved::Dropout(saved)) => layer.backward(r, LayerSaved::Dropout(saved), dy),
            (layer, &LayerSaved::Flatten(shape)) => layer.backward(r, LayerSaved::Flatten(shape), dy),
            (layer, LayerSaved::View) => layer.backward(r, LayerSaved::View, dy),
            _ => unreachable!("what a layer saved is its own"),
        }
    }

    /// As [`backward`](Layer::backward), without dx where that saves work.
    fn backward_parameters(&self, r: &mut Recorder, saved: LayerSaved, dy: Tensor) {
        match (self, saved) {
            (Layer::Linear(layer), LayerSaved::Linear(saved)) => {
                layer.backward_parameters(r, saved, dy);
            }
            (Layer::Conv2d(layer), LayerSaved::Conv2d(saved)) => {
                layer.backward_parameters(r, saved, dy);
            }
            (Layer::ConvTranspose2d(layer), LayerSaved::ConvTranspose2d(saved)) => {
                {
                    layer.backward_parameters(r, saved, dy);
                };
            }
            (
                Layer::Sequential(body) | Layer::Residual(body),
                LayerSaved::Sequential(saved) | LayerSaved::Residual(saved),
            ) => {
                body.backward_parameters(r, saved, dy);
            }
            (layer, saved) => {
                layer.backward(r, saved, dy);
            }
        }
    }
}
