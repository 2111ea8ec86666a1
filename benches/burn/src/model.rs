//! The models and their loss.

use std::collections::HashMap;

use burn::module::{AutodiffModule, Module, Param};
use burn::nn::conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig};
use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig};
use burn::tensor::activation::relu;
use burn::tensor::backend::Backend;
use burn::tensor::{Distribution, Tensor, TensorData};
use elbo_bench_peer::Values;

type Initial = HashMap<String, Values>;

/// What training needs of a model: a pass on pictures (B,784) to means, log variances, and from z to logits.
pub trait Network: AutodiffModule<crate::Backend> + 'static {
    fn encode(&self, x: Tensor<crate::Backend, 2>) -> [Tensor<crate::Backend, 2>; 2];
    fn decode(&self, z: Tensor<crate::Backend, 2>) -> Tensor<crate::Backend, 2>;
}

/// -ELBO of pictures x (B,784), summed: binary cross-entropy of the logits and KL, with a sampled z.
pub fn negative_elbo(network: &impl Network, x: Tensor<crate::Backend, 2>) -> Tensor<crate::Backend, 1> {
    let [mean, logvar] = network.encode(x.clone());
    let noise = Tensor::random(mean.dims(), Distribution::Normal(0.0, 1.0), &mean.device());
    let z = mean.clone() + noise * (logvar.clone() * 0.5).exp();
    let logits = network.decode(z);
    // max(l, 0) - l x + log(1 + exp(-|l|))
    let soft = (logits.clone().abs().neg().exp() + 1.0).log();
    let recon = (relu(logits.clone()) - logits * x + soft).sum();
    let kl = (logvar.clone() + 1.0 - mean.clone() * mean - logvar.exp()).sum() * -0.5;
    recon + kl
}

#[derive(Module, Debug)]
pub struct Mlp<B: Backend> {
    fc1: Linear<B>,
    fc21: Linear<B>,
    fc22: Linear<B>,
    fc3: Linear<B>,
    fc4: Linear<B>,
}

impl<B: Backend> Mlp<B> {
    pub fn new(initial: &Initial, device: &B::Device) -> Mlp<B> {
        let layer = |name: &str| {
            let [outputs, inputs] = initial[&format!("{name}.weight")].0[..] else { panic!("{name} is a matrix") };
            let mut layer = LinearConfig::new(inputs, outputs).init(device);
            // burn's weights are (I,O), PyTorch's (O,I).
            let weight: Tensor<B, 2> = tensor(initial, &format!("{name}.weight"), device);
            layer.weight = Param::from_tensor(Tensor::from_data(weight.transpose().into_data(), device));
            layer.bias = Some(Param::from_tensor(tensor(initial, &format!("{name}.bias"), device)));
            layer
        };
        Mlp { fc1: layer("fc1"), fc21: layer("fc21"), fc22: layer("fc22"), fc3: layer("fc3"), fc4: layer("fc4") }
    }
}

impl Network for Mlp<crate::Backend> {
    fn encode(&self, x: Tensor<crate::Backend, 2>) -> [Tensor<crate::Backend, 2>; 2] {
        let h = relu(self.fc1.forward(x));
        [self.fc21.forward(h.clone()), self.fc22.forward(h)]
    }

    fn decode(&self, z: Tensor<crate::Backend, 2>) -> Tensor<crate::Backend, 2> {
        self.fc4.forward(relu(self.fc3.forward(z)))
    }
}

/// 28 -> 13 -> 5 -> 1 and back by 3, 6, 13, with batch norm and ReLU between.
#[derive(Module, Debug)]
pub struct Conv<B: Backend> {
    encoder: Vec<Conv2d<B>>,
    encoder_norms: Vec<BatchNorm<B>>,
    decoder: Vec<ConvTranspose2d<B>>,
    decoder_norms: Vec<BatchNorm<B>>,
}

impl<B: Backend> Conv<B> {
    pub fn new(initial: &Initial, device: &B::Device) -> Conv<B> {
        let norm = |name: String| {
            let channels = initial[&format!("{name}.weight")].0[0];
            let mut norm = BatchNormConfig::new(channels).init(device);
            norm.gamma = Param::from_tensor(tensor(initial, &format!("{name}.weight"), device));
            norm.beta = Param::from_tensor(tensor(initial, &format!("{name}.bias"), device));
            norm
        };
        let down = |layer: usize| {
            let name = format!("encoder.{layer}.0");
            let [o, i, h, w] = initial[&format!("{name}.weight")].0[..] else { panic!("{name} has four dimensions") };
            let mut conv = Conv2dConfig::new([i, o], [h, w]).with_stride([2, 2]).init(device);
            conv.weight = Param::from_tensor(tensor(initial, &format!("{name}.weight"), device));
            conv.bias = Some(Param::from_tensor(tensor(initial, &format!("{name}.bias"), device)));
            conv
        };
        let up = |(layer, stride): (usize, usize)| {
            let name = format!("decoder.{layer}.0");
            let [i, o, h, w] = initial[&format!("{name}.weight")].0[..] else { panic!("{name} has four dimensions") };
            let mut conv = ConvTranspose2dConfig::new([i, o], [h, w]).with_stride([stride, stride]).init(device);
            conv.weight = Param::from_tensor(tensor(initial, &format!("{name}.weight"), device));
            conv.bias = Some(Param::from_tensor(tensor(initial, &format!("{name}.bias"), device)));
            conv
        };
        Conv {
            encoder: (0..3).map(down).collect(),
            encoder_norms: (0..2).map(|layer| norm(format!("encoder.{layer}.1"))).collect(),
            decoder: [2, 1, 2, 2].into_iter().enumerate().map(up).collect(),
            decoder_norms: (0..3).map(|layer| norm(format!("decoder.{layer}.1"))).collect(),
        }
    }
}

impl Network for Conv<crate::Backend> {
    fn encode(&self, x: Tensor<crate::Backend, 2>) -> [Tensor<crate::Backend, 2>; 2] {
        let batch = x.dims()[0];
        let mut h = x.reshape([batch, 1, 28, 28]);
        for (layer, conv) in self.encoder.iter().enumerate() {
            h = conv.forward(h);
            if let Some(norm) = self.encoder_norms.get(layer) {
                h = relu(norm.forward(h));
            }
        }
        let both: Tensor<crate::Backend, 2> = h.flatten(1, 3);
        let latent = both.dims()[1] / 2;
        [both.clone().slice([0..batch, 0..latent]), both.slice([0..batch, latent..2 * latent])]
    }

    fn decode(&self, z: Tensor<crate::Backend, 2>) -> Tensor<crate::Backend, 2> {
        let [batch, latent] = z.dims();
        let mut h = z.reshape([batch, latent, 1, 1]);
        for (layer, conv) in self.decoder.iter().enumerate() {
            h = conv.forward(h);
            if let Some(norm) = self.decoder_norms.get(layer) {
                h = relu(norm.forward(h));
            }
        }
        h.flatten(1, 3)
    }
}

fn tensor<B: Backend, const D: usize>(initial: &Initial, name: &str, device: &B::Device) -> Tensor<B, D> {
    let (shape, values) = &initial[name];
    Tensor::from_data(TensorData::new(values.clone(), shape.clone()), device)
}
