//! The variational autoencoder of Kingma & Welling (2013, arXiv 1312.6114), its networks fully connected or listed layer
//! by layer.
//!
//! Minimised is the negative evidence lower bound, in nats, summed over dimensions:
//!
//!   -ELBO(x) = E_q[-log p(x|z)] + KL(q(z|x) || N(0,1)),   q(z|x) = N(mean(x), e^logvar(x))
//!
//! with one sample z = mean + e^(logvar/2) * noise a picture. B batch, D = C H W pixels, Z latent dimensions. Pictures
//! come and go as rows (B,D), channels first; listed networks see them as (B,H,W,C).

use clap::ValueEnum;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::mlp;
use super::network::{Network, Shape};
use crate::arena::Arena;
use crate::error::{Error, Result};
use crate::kernels::activation::Activation;
use crate::kernels::{channels, gaussian_kl, joint, reparameterise};
use crate::layers::Mode;
use crate::layers::linear::{self, Linear};
use crate::layers::sequential::{self, Sequential};
use crate::models::likelihood::Likelihood;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// How the encoder ends.
///
/// - `Split`: two linear layers, one for the mean and one for the logvar, Z outputs each.
/// - `Fused`: one linear layer of 2 Z outputs, Z means before Z logvars.
/// - `Direct`: nothing more; the listed encoder itself leaves Z means, then Z logvars.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
#[allow(missing_docs, reason = "clap would show them and spread the help of all options")]
pub enum Head {
    Split,
    Fused,
    Direct,
}

/// Everything that decides the parameters' names and shapes, and how the output is read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// (C,H,W) of a picture.
    pub shape: [usize; 3],
    /// Z, latent dimensions.
    pub latent: usize,
    /// Where mean and logvar come from.
    pub head: Head,
    /// Sizes of the encoder's hidden layers; the decoder has them reversed. Without listed networks.
    pub hidden: Vec<usize>,
    /// After each hidden layer; listed networks name their own.
    pub activation: Activation,
    /// A picture (C,H,W) to something to flatten. Both networks are listed or none.
    pub encoder: Option<Network>,
    /// z as a picture (Z,1,1) to a picture (C,H,W), or as many features.
    pub decoder: Option<Network>,
    /// p(x|z), the distribution of a pixel.
    pub output: Likelihood,
    /// Scale of the outputs that have a fixed one, in pixel values of 0 to 1.
    pub sigma: f64,
}

impl Config {
    /// D, pixels of a picture.
    pub fn input(&self) -> usize {
        self.shape.iter().product()
    }

    /// That the networks fit the picture and the latent size. Errors: what does not, with the sizes layer by layer.
    pub fn check(&self) -> Result<()> {
        let usage = |problem: String| Err(Error::Usage(problem));
        let (encoder, decoder) = match (&self.encoder, &self.decoder) {
            (Some(encoder), Some(decoder)) => (encoder, decoder),
            (None, None) if self.head == Head::Direct => {
                return usage("head is direct, but an encoder of hidden sizes has none: use split or fused".into());
            }
            (None, None) => return Ok(()),
            _ => return usage("encoder and decoder are listed together or not at all".into()),
        };
        if self.head == Head::Direct && !encoder.has_parameters() && !decoder.has_parameters() {
            return usage(
                "neither the encoder nor the decoder has a layer with parameters: there is nothing to train".into(),
            );
        }
        let (encoded, lines) = encoder.sizes("encoder", Shape::Picture(self.shape))?;
        if self.head == Head::Direct && encoded.len() != 2 * self.latent {
            return usage(format!(
                "with head direct the encoder must leave 2 x {} numbers, mean and logvar, but it leaves {encoded}:\n{}",
                self.latent,
                lines.join("\n")
            ));
        }
        let (decoded, lines) = decoder.sizes("decoder", Shape::Picture([self.latent, 1, 1]))?;
        if decoded != Shape::Picture(self.shape) && decoded != Shape::Vector(self.input()) {
            return usage(format!(
                "the decoder must leave the picture's {}, but it leaves {decoded}:\n{}",
                Shape::Picture(self.shape),
                lines.join("\n")
            ));
        }
        Ok(())
    }

    /// That batches of so many pictures can be trained on. A batch norm that sees one value a channel leaves nothing of it
    /// but its bias, and its running variance, which evaluation divides by, falls to 0. Once an epoch, as a shorter last
    /// batch may be, that does no harm. Errors: such a layer, by name. Call [`check`](Config::check) before.
    pub fn check_batch(&self, batch_size: usize) -> Result<()> {
        if batch_size > 1 {
            return Ok(());
        }
        let networks = [
            ("encoder", &self.encoder, Shape::Picture(self.shape)),
            ("decoder", &self.decoder, Shape::Picture([self.latent, 1, 1])),
        ];
        let lone =
            networks.into_iter().find_map(|(name, network, input)| network.as_ref()?.lone_batch_norm(name, input));
        match lone {
            None => Ok(()),
            Some(layer) => Err(Error::Usage(format!(
                "--batch-size is 1, but {layer}, a batch norm, then sees one value a channel, and the variance of one value \
                 is 0: take a larger --batch-size, or layernorm"
            ))),
        }
    }
}

/// What the objective adds to the model.
#[derive(Clone, Copy, Debug)]
pub struct Objective {
    /// 1 for a loss summed over the batch, 1/B for its mean.
    pub scale: f32,
    /// Nats a latent dimension may cost before it is optimised.
    pub free_bits: f32,
}

/// The model. Its parameters lie in the arena it was declared in; what it does is recorded, not run.
pub struct Vae {
    /// What it was declared from.
    pub config: Config,
    encoder: Sequential,
    heads: Heads,
    decoder: Sequential,
}

#[expect(clippy::large_enum_variant, reason = "a model has one")]
enum Heads {
    /// fc21 and fc22 of pytorch/examples.
    Split {
        mean: Linear,
        logvar: Linear,
    },
    /// One layer whose first Z outputs are the mean, the others the logvar.
    Fused(Linear),
    Direct,
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
    /// (C,H,W) where the encoder leaves a picture.
    picture: Option<[usize; 3]>,
    heads: HeadsSaved,
}

enum HeadsSaved {
    Split { mean: linear::Saved, logvar: linear::Saved },
    Fused(linear::Saved),
    Direct,
}

/// What the decoder's backward needs.
pub struct DecoderSaved {
    decoder: sequential::Saved,
    leaves_picture: bool,
}

/// The two terms of the loss, in nats.
#[derive(Clone, Copy)]
pub struct Terms {
    /// (B): -log p(x|z) of each picture.
    pub recon: Tensor,
    /// (Z): KL of each latent dimension, summed over the batch.
    pub kl: Tensor,
}

impl Vae {
    /// Declares the parameters, under the names of pytorch/examples' VAE where the model has its shape: fc1, fc21, fc22,
    /// fc3, fc4; fc2 for a fused head. Listed networks are called encoder and decoder. Panics where
    /// [`Config::check`] gives an error.
    pub fn new(arena: &mut Arena, config: &Config) -> Vae {
        let latent = config.latent;
        let (encoder, encoded) = match &config.encoder {
            Some(network) => {
                let input = Shape::Picture(config.shape);
                let (encoded, _) = network.sizes("encoder", input).unwrap_or_else(|e| panic!("{e}"));
                (network.build(arena, "encoder", input), encoded.len())
            }
            None => (mlp::encoder(arena, config), *config.hidden.last().expect("an MLP has at least one hidden layer")),
        };
        let mut linear = |name, outputs| Linear::new(arena, name, encoded, outputs, Activation::Identity);
        let heads = match config.head {
            Head::Split => Heads::Split { mean: linear("fc21", latent), logvar: linear("fc22", latent) },
            Head::Fused => Heads::Fused(linear("fc2", 2 * latent)),
            Head::Direct => Heads::Direct,
        };
        let decoder = match &config.decoder {
            Some(network) => network.build(arena, "decoder", Shape::Picture([latent, 1, 1])),
            None => mlp::decoder(arena, config),
        };
        Vae { config: config.clone(), encoder, heads, decoder }
    }

    /// PyTorch's default initialisation of every layer: each parameter and its values, the same for the same seed.
    pub fn initial(&self, seed: u64) -> Vec<(Tensor, Vec<f32>)> {
        let rng = &mut ChaCha8Rng::seed_from_u64(seed);
        let mut values = self.encoder.initial(rng);
        match &self.heads {
            Heads::Split { mean, logvar } => {
                values.extend(mean.initial(rng));
                values.extend(logvar.initial(rng));
            }
            Heads::Fused(both) => values.extend(both.initial(rng)),
            Heads::Direct => {}
        }
        values.extend(self.decoder.initial(rng));
        values
    }

    // ---- Forward

    /// x (B,D) to q(z|x).
    pub fn encode(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> Encoded {
        r.scope("encoder");
        let listed = self.config.encoder.is_some();
        let x = if listed { channels::last(r, x, self.config.shape) } else { x };
        let (h, encoder) = self.encoder.forward(r, x, mode);
        r.scope("encoder");
        let (h, picture) = match *h.shape() {
            [_, height, width, c] => (channels::first(r, h), Some([c, height, width])),
            _ => (h, None),
        };
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
            Heads::Direct => {
                let (mean, logvar) = joint::split(r, h, self.config.latent);
                (mean, logvar, HeadsSaved::Direct)
            }
        };
        Encoded { mean, logvar, saved: EncoderSaved { encoder, picture, heads } }
    }

    /// z (B,Z) to the output before its link: logits or means, (B,D).
    pub fn decode(&self, r: &mut Recorder, z: Tensor, mode: Mode) -> (Tensor, DecoderSaved) {
        let [b, latent] = z.matrix();
        let z = if self.config.decoder.is_some() { z.reshape(&[b, 1, 1, latent]) } else { z };
        let (y, decoder) = self.decoder.forward(r, z, mode);
        r.scope("decoder");
        let leaves_picture = y.shape().len() == 4;
        let y = if leaves_picture { channels::first(r, y) } else { y };
        (y, DecoderSaved { decoder, leaves_picture })
    }

    /// z (B,Z) to the mean of p(x|z), (B,D): the picture to look at.
    pub fn generate(&self, r: &mut Recorder, z: Tensor) -> Tensor {
        let (y, _) = self.decode(r, z, Mode::Evaluate);
        self.config.output.generate(r, y)
    }

    /// Both terms of -ELBO for x (B,D), with z sampled by `noise` (B,Z).
    pub fn evaluate(&self, r: &mut Recorder, x: Tensor, noise: Tensor) -> Terms {
        let q = self.encode(r, x, Mode::Evaluate);
        r.scope("latent");
        let z = reparameterise::forward(r, q.mean, q.logvar, noise);
        let (y, _) = self.decode(r, z, Mode::Evaluate);
        r.scope("loss");
        let recon = self.config.output.loss(r, y, x, self.config.sigma).rows;
        Terms { recon, kl: gaussian_kl::loss(r, q.mean, q.logvar, 0.0) }
    }

    // ---- Forward and backward

    // ANCHOR: step
    /// Both terms for x (B,D), and their gradients added to the parameters': the forward lines, the loss, then the
    /// backward lines mirrored. The KL weight is the clock's.
    pub fn step(&self, r: &mut Recorder, x: Tensor, noise: Tensor, clock: Tensor, objective: Objective) -> Terms {
        let mode = Mode::Train { clock };
        let Encoded { mean, logvar, saved } = self.encode(r, x, mode);
        r.scope("latent");
        let z = reparameterise::forward(r, mean, logvar, noise);
        let (y, decoder) = self.decode(r, z, mode);

        r.scope("loss");
        let recon = self.config.output.loss(r, y, x, self.config.sigma);
        let kl = gaussian_kl::loss(r, mean, logvar, objective.free_bits);
        let dy = self.config.output.backward(r, recon, objective.scale);
        let (dmean, dlogvar) =
            gaussian_kl::backward(r, [mean, logvar, kl], clock, objective.scale, objective.free_bits);

        let dz = self.decode_backward(r, decoder, dy);
        r.scope("latent");
        reparameterise::backward(r, logvar, noise, dz, dmean, dlogvar);
        self.encode_backward(r, saved, dmean, dlogvar);
        Terms { recon: recon.rows, kl }
    }
    // ANCHOR_END: step

    /// dy (B,D) to dz (B,Z).
    fn decode_backward(&self, r: &mut Recorder, saved: DecoderSaved, dy: Tensor) -> Tensor {
        let rows = dy.matrix()[0];
        r.scope("decoder");
        let dy = if saved.leaves_picture { channels::last(r, dy, self.config.shape) } else { dy };
        self.decoder.backward(r, saved.decoder, dy).reshape(&[rows, self.config.latent])
    }

    fn encode_backward(&self, r: &mut Recorder, saved: EncoderSaved, dmean: Tensor, dlogvar: Tensor) {
        r.scope("encoder");
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
            (Heads::Direct, HeadsSaved::Direct) => joint::concat(r, dmean, dlogvar),
            _ => unreachable!("a model's saved heads are its own"),
        };
        let dh = match saved.picture {
            Some(shape) => channels::last(r, dh, shape),
            None => dh,
        };
        self.encoder.backward_parameters(r, saved.encoder, dh);
    }
}
