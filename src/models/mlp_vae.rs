//! The variational autoencoder of Kingma & Welling (2013, arXiv 1312.6114) with fully connected layers.
//!
//! Minimised is the negative evidence lower bound, in nats, summed over dimensions:
//!
//!   -ELBO(x) = E_q[-log p(x|z)] + KL(q(z|x) || N(0,1)),   q(z|x) = N(mean(x), e^logvar(x))
//!
//! with one sample z = mean + e^(logvar/2) * noise a picture. B batch, D pixels, Z latent dimensions.

use clap::ValueEnum;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::arena::Arena;
use crate::kernels::activation::Activation;
use crate::kernels::{gaussian_kl, joint, reparameterise};
use crate::layers::linear::{self, Linear};
use crate::layers::sequential::{self, Sequential};
use crate::models::likelihood::Likelihood;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// How the encoder ends: two linear layers (mean, logvar), or one of twice the width whose output is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Head {
    Split,
    Fused,
}

/// Everything that decides the parameters' names and shapes, and how the output is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// D, pixels of a picture.
    pub input: usize,
    /// Sizes of the encoder's hidden layers; the decoder has them reversed.
    pub hidden: Vec<usize>,
    /// Z
    pub latent: usize,
    pub head: Head,
    pub activation: Activation,
    /// p(x|z)
    pub output: Likelihood,
    /// Scale of the outputs that have a fixed one.
    pub sigma: f64,
}

/// What the objective adds to the model.
#[derive(Clone, Copy, Debug)]
pub struct Objective {
    /// 1 for a loss summed over the batch, 1/B for its mean.
    pub scale: f32,
    /// Nats a latent dimension may cost before it is optimised.
    pub free_bits: f32,
}

pub struct MlpVae {
    pub config: Config,
    encoder: Sequential,
    heads: Heads,
    decoder: Sequential,
}

#[expect(clippy::large_enum_variant, reason = "a model has one")]
enum Heads {
    /// fc21 and fc22 of pytorch/examples.
    Split { mean: Linear, logvar: Linear },
    /// One layer whose first Z outputs are the mean, the others the logvar.
    Fused(Linear),
}

/// q(z|x) and what its backward needs.
pub struct Encoded {
    /// (B,Z)
    pub mean: Tensor,
    /// (B,Z)
    pub logvar: Tensor,
    saved: EncoderSaved,
}

struct EncoderSaved {
    encoder: sequential::Saved,
    heads: HeadsSaved,
}

enum HeadsSaved {
    Split { mean: linear::Saved, logvar: linear::Saved },
    Fused(linear::Saved),
}

/// The two terms of the loss, in nats.
#[derive(Clone, Copy)]
pub struct Terms {
    /// (B): -log p(x|z) of each picture.
    pub recon: Tensor,
    /// (Z): KL of each latent dimension, summed over the batch.
    pub kl: Tensor,
}

impl MlpVae {
    /// Declares the parameters, under the names of pytorch/examples' VAE where the model has its shape: fc1, fc21, fc22,
    /// fc3, fc4; fc2 for a fused head. Several hidden layers are called as two `nn.Sequential` with an activation after
    /// each linear layer would: encoder.0, encoder.2, ..., decoder.0, decoder.2, ...
    pub fn new(arena: &mut Arena, config: &Config) -> MlpVae {
        let Config { input, ref hidden, latent, head, activation, .. } = *config;
        let last = *hidden.last().expect("an MLP has at least one hidden layer");
        let name = |stack: &str, single: &str, index: usize| match hidden.len() {
            1 => single.to_string(),
            _ => format!("{stack}.{}", 2 * index),
        };
        let mut inputs = input;
        let mut encoder = Vec::new();
        for (i, &width) in hidden.iter().enumerate() {
            encoder.push(Linear::new(arena, &name("encoder", "fc1", i), inputs, width, activation));
            inputs = width;
        }
        let heads = match head {
            Head::Split => Heads::Split {
                mean: Linear::new(arena, "fc21", last, latent, Activation::Identity),
                logvar: Linear::new(arena, "fc22", last, latent, Activation::Identity),
            },
            Head::Fused => Heads::Fused(Linear::new(arena, "fc2", last, 2 * latent, Activation::Identity)),
        };
        let mut inputs = latent;
        let mut decoder = Vec::new();
        for (i, &width) in hidden.iter().rev().enumerate() {
            decoder.push(Linear::new(arena, &name("decoder", "fc3", i), inputs, width, activation));
            inputs = width;
        }
        decoder.push(Linear::new(arena, &name("decoder", "fc4", hidden.len()), inputs, input, Activation::Identity));
        MlpVae { config: config.clone(), encoder: Sequential::new(encoder), heads, decoder: Sequential::new(decoder) }
    }

    /// PyTorch's default initialisation of every layer.
    pub fn initial(&self, seed: u64) -> Vec<(Tensor, Vec<f32>)> {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut values = self.encoder.initial(rng);
        match &self.heads {
            Heads::Split { mean, logvar } => {
                values.extend(mean.initial(rng));
                values.extend(logvar.initial(rng));
            }
            Heads::Fused(both) => values.extend(both.initial(rng)),
        }
        values.extend(self.decoder.initial(rng));
        values
    }

    // ---- Forward

    /// x (B,D) to q(z|x).
    pub fn encode(&self, r: &mut Recorder, x: Tensor) -> Encoded {
        let (h, encoder) = self.encoder.forward(r, x);
        let (mean, logvar, heads) = match &self.heads {
            Heads::Split { mean, logvar } => {
                let (m, mean) = mean.forward(r, h);
                let (v, logvar) = logvar.forward(r, h);
                (m, v, HeadsSaved::Split { mean, logvar })
            }
            Heads::Fused(both) => {
                let (y, saved) = both.forward(r, h);
                let (mean, logvar) = joint::split(r, y, self.config.latent);
                (mean, logvar, HeadsSaved::Fused(saved))
            }
        };
        Encoded { mean, logvar, saved: EncoderSaved { encoder, heads } }
    }

    /// z (B,Z) to the output before its link: logits or means, (B,D).
    pub fn decode(&self, r: &mut Recorder, z: Tensor) -> (Tensor, sequential::Saved) {
        self.decoder.forward(r, z)
    }

    /// z (B,Z) to the mean of p(x|z), (B,D): the picture to look at.
    pub fn generate(&self, r: &mut Recorder, z: Tensor) -> Tensor {
        let (y, _) = self.decode(r, z);
        self.config.output.generate(r, y)
    }

    /// Both terms of -ELBO for x (B,D), with z sampled by `noise` (B,Z).
    pub fn evaluate(&self, r: &mut Recorder, x: Tensor, noise: Tensor) -> Terms {
        let q = self.encode(r, x);
        r.scope("latent");
        let z = reparameterise::forward(r, q.mean, q.logvar, noise);
        let (y, _) = self.decode(r, z);
        r.scope("loss");
        let recon = self.config.output.loss(r, y, x, self.config.sigma).rows;
        Terms { recon, kl: gaussian_kl::loss(r, q.mean, q.logvar, 0.0) }
    }

    // ---- Forward and backward

    /// Both terms for x (B,D), and their gradients added to the parameters': the forward lines, the loss, then the
    /// backward lines mirrored. The KL weight is the clock's.
    pub fn step(&self, r: &mut Recorder, x: Tensor, noise: Tensor, clock: Tensor, objective: Objective) -> Terms {
        let Encoded { mean, logvar, saved } = self.encode(r, x);
        r.scope("latent");
        let z = reparameterise::forward(r, mean, logvar, noise);
        let (y, decoder) = self.decode(r, z);

        r.scope("loss");
        let recon = self.config.output.loss(r, y, x, self.config.sigma);
        let kl = gaussian_kl::loss(r, mean, logvar, objective.free_bits);
        let dy = self.config.output.backward(r, recon, objective.scale);
        let (dmean, dlogvar) =
            gaussian_kl::backward(r, [mean, logvar, kl], clock, objective.scale, objective.free_bits);

        let dz = self.decoder.backward(r, decoder, dy);
        r.scope("latent");
        reparameterise::backward(r, logvar, noise, dz, dmean, dlogvar);
        self.encode_backward(r, saved, dmean, dlogvar);
        Terms { recon: recon.rows, kl }
    }

    fn encode_backward(&self, r: &mut Recorder, saved: EncoderSaved, dmean: Tensor, dlogvar: Tensor) {
        let dh = match (&self.heads, saved.heads) {
            (Heads::Split { mean, logvar }, HeadsSaved::Split { mean: m, logvar: v }) => {
                let dh = mean.backward(r, m, dmean);
                logvar.backward_into(r, v, dlogvar, dh);
                dh
            }
            (Heads::Fused(both), HeadsSaved::Fused(s)) => {
                let dy = joint::concat(r, dmean, dlogvar);
                both.backward(r, s, dy)
            }
            _ => unreachable!("a model's saved heads are its own"),
        };
        self.encoder.backward_parameters(r, saved.encoder, dh);
    }
}
