//! A network of fully connected layers whose weights are Gaussian, or are not.

use rand_chacha::ChaCha8Rng;

use super::mlp;
use crate::arena::Arena;
use crate::kernels::activation::{self, Activation};
use crate::kernels::joint;
use crate::layers::bayesian_linear::{self, BayesianLinear};
use crate::layers::linear::{self, Linear};
use crate::models::draw::Draw;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// What its weights are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// One number each.
    Points,
    /// A Gaussian each.
    Gaussians,
}

/// Layers with a nonlinearity between them, none after the last.
pub struct Perceptron {
    layers: Vec<Layer>,
    activation: Activation,
}

#[expect(clippy::large_enum_variant, reason = "a network has a few")]
enum Layer {
    Points(Linear),
    Gaussians(BayesianLinear),
}

/// What a backward needs of its forward.
pub struct Saved(Vec<LayerSaved>);

/// Of one layer, and what the nonlinearity in front of it saved.
struct LayerSaved {
    layer: Inner,
    activated: Option<Tensor>,
}

#[expect(clippy::large_enum_variant, reason = "a network has a few")]
enum Inner {
    Points(linear::Saved),
    Gaussians(bayesian_linear::Saved),
}

impl Layer {
    fn backward(&self, r: &mut Recorder, saved: Inner, dy: Tensor) -> Tensor {
        match (self, saved) {
            (Layer::Points(layer), Inner::Points(saved)) => layer.backward(r, saved, dy),
            (Layer::Gaussians(layer), Inner::Gaussians(saved)) => layer.backward(r, saved, dy),
            _ => unreachable!("a layer's saved values are its own"),
        }
    }

    fn backward_parameters(&self, r: &mut Recorder, saved: Inner, dy: Tensor) {
        match (self, saved) {
            (Layer::Points(layer), Inner::Points(saved)) => layer.backward_parameters(r, saved, dy),
            (Layer::Gaussians(layer), Inner::Gaussians(saved)) => layer.backward_parameters(r, saved, dy),
            _ => unreachable!("a layer's saved values are its own"),
        };
    }
}

impl Perceptron {
    /// Declares the layers of an encoder, from `inputs` numbers over the hidden sizes to `outputs`: fc1 and fc2, or
    /// encoder.0, encoder.2, ... and fc2.
    pub fn encoder(
        arena: &mut Arena,
        weights: Weights,
        [inputs, outputs]: [usize; 2],
        hidden: &[usize],
        activation: Activation,
    ) -> Perceptron {
        let names = (0..hidden.len()).map(|i| mlp::name(hidden, "encoder", "fc1", i)).chain(["fc2".into()]);
        let sizes = [&[inputs], hidden, &[outputs]].concat();
        Perceptron::new(arena, weights, names, &sizes, activation)
    }

    /// Declares the layers of a decoder, over the hidden sizes reversed: fc3 and fc4, or decoder.0, decoder.2, ...
    pub fn decoder(
        arena: &mut Arena,
        weights: Weights,
        [inputs, outputs]: [usize; 2],
        hidden: &[usize],
        activation: Activation,
    ) -> Perceptron {
        let name = |i| mlp::name(hidden, "decoder", if i < hidden.len() { "fc3" } else { "fc4" }, i);
        let reversed: Vec<usize> = hidden.iter().rev().copied().collect();
        let sizes = [&[inputs], &reversed[..], &[outputs]].concat();
        Perceptron::new(arena, weights, (0..=hidden.len()).map(name), &sizes, activation)
    }

    fn new(
        arena: &mut Arena,
        weights: Weights,
        names: impl Iterator<Item = String>,
        sizes: &[usize],
        activation: Activation,
    ) -> Perceptron {
        let layer = |(name, size): (String, &[usize])| match weights {
            Weights::Points => Layer::Points(Linear::new(arena, &name, size[0], size[1], Activation::Identity)),
            Weights::Gaussians => Layer::Gaussians(BayesianLinear::new(arena, &name, size[0], size[1])),
        };
        Perceptron { layers: names.zip(sizes.windows(2)).map(layer).collect(), activation }
    }

    /// The initial values of every parameter; `logvar` is that of every Gaussian.
    pub fn initial(&self, rng: &mut ChaCha8Rng, logvar: f32) -> Vec<(Tensor, Vec<f32>)> {
        let of = |layer: &Layer| match layer {
            Layer::Points(layer) => layer.initial(rng),
            Layer::Gaussians(layer) => layer.initial(rng, logvar),
        };
        self.layers.iter().flat_map(of).collect()
    }

    /// x (B,I) to (B,O), by weights that are drawn for each row.
    pub fn forward(&self, r: &mut Recorder, mut x: Tensor, draw: &mut Draw) -> (Tensor, Saved) {
        let mut saved = Vec::new();
        for (i, layer) in self.layers.iter().enumerate() {
            let activated = (i > 0).then(|| self.activated(r, &mut x));
            let [rows, _] = x.matrix();
            let (y, inner) = match layer {
                Layer::Points(layer) => {
                    let (y, saved) = layer.forward(r, x);
                    (y, Inner::Points(saved))
                }
                Layer::Gaussians(layer) => {
                    let noise = draw.normal(r, &[rows, layer.outputs()]);
                    let (y, saved) = layer.forward(r, x, noise);
                    (y, Inner::Gaussians(saved))
                }
            };
            saved.push(LayerSaved { layer: inner, activated });
            x = y;
        }
        (x, Saved(saved))
    }

    /// x becomes act(x); returns what the backward of it reads.
    fn activated(&self, r: &mut Recorder, x: &mut Tensor) -> Tensor {
        let y = activation::forward(r, *x, self.activation);
        let saved = if self.activation.saves_output() { y } else { *x };
        *x = y;
        saved
    }

    /// dy (B,O) to dx (B,I), and the parameters' gradients.
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        let (first, dh) = self.backward_to_first(r, saved, dy);
        self.layers[0].backward(r, first, dh)
    }

    /// The parameters' gradients alone, where x needs none.
    pub fn backward_parameters(&self, r: &mut Recorder, saved: Saved, dy: Tensor) {
        let (first, dh) = self.backward_to_first(r, saved, dy);
        self.layers[0].backward_parameters(r, first, dh);
    }

    /// All layers' backward but the first one's, of which what it saved and the gradient of its output are returned.
    fn backward_to_first(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> (Inner, Tensor) {
        let mut dh = dy;
        let mut layers = self.layers.iter().zip(saved.0).rev();
        loop {
            let (layer, saved) = layers.next().expect("the first layer ends it");
            let Some(activated) = saved.activated else { return (saved.layer, dh) };
            let dx = layer.backward(r, saved.layer, dh);
            dh = activation::backward(r, activated, dx, self.activation);
        }
    }

    /// x (B,I) to (B,O), every weight at its mean.
    pub fn mean(&self, r: &mut Recorder, mut x: Tensor) -> Tensor {
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                x = activation::forward(r, x, self.activation);
            }
            x = match layer {
                Layer::Points(layer) => layer.forward(r, x).0,
                Layer::Gaussians(layer) => layer.mean(r, x),
            };
        }
        x
    }

    /// scale * KL(q(w) || N(0, sigma^2)) of all its Gaussians in nats, in parts (P); none without Gaussians.
    pub fn kl(&self, r: &mut Recorder, sigma: f64, scale: f32) -> Vec<Tensor> {
        self.gaussians().flat_map(|layer| layer.kl(r, sigma, scale)).collect()
    }

    /// Adds the gradients of that KL.
    pub fn kl_backward(&self, r: &mut Recorder, sigma: f64, scale: f32) {
        self.gaussians().for_each(|layer| layer.kl_backward(r, sigma, scale));
    }

    fn gaussians(&self) -> impl Iterator<Item = &BayesianLinear> {
        self.layers.iter().filter_map(|layer| match layer {
            Layer::Gaussians(layer) => Some(layer),
            Layer::Points(_) => None,
        })
    }
}

/// Vectors (P), (Q), ... one after the other.
pub fn joined(r: &mut Recorder, parts: &[Tensor]) -> Tensor {
    let row = |t: Tensor| t.reshape(&[1, t.len()]);
    let all = parts.iter().copied().map(row).reduce(|all, part| joint::concat(r, all, part)).expect("some parts");
    all.reshape(&[all.len()])
}
