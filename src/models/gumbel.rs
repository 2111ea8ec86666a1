//! The VAE of categorical latent variables, trained by the Gumbel-softmax relaxation (Jang, Gu & Poole 2016, arXiv
//! 1611.01144), which is the concrete distribution of Maddison, Mnih & Teh 2016 (arXiv 1611.00712).
//!
//!   -ELBO(x) = E_q[-log p(x|z)] + KL(q(z|x) || uniform),   q(z|x) = prod_v softmax(logits_v(x))
//!
//! z is V one-hot vectors of K classes. A sample of q is the one-hot vector of argmax(logits + g), g of the Gumbel
//! distribution; it moves in steps, so training replaces it by y = softmax((logits + g) / tau), whose gradient points
//! the same way the better the higher tau is, and which is nearly z where tau is low. With estimator straight_through
//! the decoder sees one-hot vectors in training, too. The test loss is that of exact samples: -ELBO, without tau.
//! B batch, D = C H W pixels, V variables, K classes.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::categorical::{Categorical, Estimator, Variables};
use super::parts::decoder::Decoder;
use super::parts::likelihood::Likelihood;
use super::parts::network::Shape;
use super::parts::networks::{Divergence, Networks, require};
use super::parts::{complete, read, reads};
use super::vae::RECON;
use super::{Entry, Knob, Losses, Model, Term, View, Weight, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, PICTURES};
use crate::error::Result;
use crate::layers::Mode;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "gumbel",
    about: "a VAE of categorical latent variables, by Gumbel-softmax or straight through (Jang et al. 2016)",
    formula: "-ELBO(x) = E_q[-log p(x|z)] + kl_weight KL(q(z|x) || uniform)   (arXiv 1611.01144)",
    takes: &[PICTURES],
    terms: |_| &[RECON, Term { name: "kl", weight: Weight::Knob("kl_weight"), about: "KL(q(z|x) || uniform)" }],
    keys: &[Networks::KEYS, Variables::KEYS, Divergence::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: Networks::overlay,
    fill_in: |_, _| Ok(()),
    presets: &presets::GUMBEL,
    open: |arena, table, columns| Ok(Box::new(Gumbel::open(arena, read(table)?, columns)?)),
};

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Encoder and decoder; `latent` is V.
    #[serde(flatten)]
    pub networks: Networks,
    /// The latent variables.
    #[serde(flatten)]
    pub variables: Variables,
    /// The KL term.
    #[serde(flatten)]
    pub divergence: Divergence,
}

impl Config {
    fn check(&self) -> Result<()> {
        self.networks.check()?;
        self.variables.check()?;
        self.divergence.check()?;
        let free = self.divergence.free_bits;
        require(free == 0.0, "free_bits", free, "must be 0 here: only a Gaussian latent has them")
    }
}

/// The model.
pub struct Gumbel {
    config: Config,
    /// (C,H,W)
    shape: [usize; 3],
    encoder: Categorical,
    decoder: Decoder,
}

impl Gumbel {
    /// Declares the parameters for pictures of the columns' shape. Errors: settings out of range, networks that do not
    /// fit.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Gumbel> {
        let shape = columns.picture(PICTURES)?;
        config.check()?;
        let (variables, classes) = (config.networks.latent, config.variables.categories);
        let numbers = variables * classes;
        let logits = (numbers, format!("{variables} x {classes} logits"));
        config.networks.fit_to(Shape::Picture(shape), logits, Shape::Picture([numbers, 1, 1]), shape)?;
        let encoder = Categorical::new(arena, &config.networks, &config.variables, shape);
        let decoder = Decoder::new(arena, &config.networks, numbers, shape);
        Ok(Gumbel { config, shape, encoder, decoder })
    }
}

impl Model for Gumbel {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES); // (B,D)

        let (z, q) = self.encoder.sample(r, x, draw, batch.clock, batch.mode); // (B,V*K): relaxed, or straight through
        let (y, decoder) = self.decoder.forward(r, z, batch.mode); // (B,D): logits or means
        let recon = self.decoder.loss(r, y, x); // (B): -log p(x|z)
        let kl = self.encoder.kl(r, &q); // (B*V): KL(q(z|x) || uniform)

        let dy = self.decoder.loss_backward(r, recon, batch.weight);
        let dz = self.decoder.backward(r, decoder, dy);
        self.encoder.backward(r, q, dz, batch); // both ways: from the KL, and through z
        vec![recon.rows, kl]
    }
    // ANCHOR_END: step

    /// By exact samples, of which the loss is -ELBO.
    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES);
        let (z, q) = self.encoder.hard(r, x, draw, Mode::Evaluate);
        let (y, _) = self.decoder.forward(r, z, Mode::Evaluate);
        let recon = self.decoder.loss(r, y, x);
        vec![recon.rows, self.encoder.kl(r, &q)]
    }

    fn views(&self) -> Vec<View> {
        let x = Kind::Picture(self.shape);
        let z = Kind::Categorical { variables: self.config.networks.latent, classes: self.config.variables.categories };
        vec![
            View::new("encode").takes("x", x).gives("logits", Kind::Vector(z.width())),
            View::new("decode").takes("z", z).gives("x", x),
            View::new("reconstruct").takes("x", x).gives("reconstruction", x),
        ]
    }

    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], _: &mut Draw) -> Vec<Tensor> {
        let &[input] = inputs else { panic!("gumbel has no view {name} of {} inputs", inputs.len()) };
        match name {
            "encode" => {
                let logits = self.encoder.forward(r, input, Mode::Evaluate).logits;
                vec![logits.reshape(&[input.shape()[0], logits.len() / input.shape()[0]])]
            }
            "decode" => vec![self.decoder.generate(r, input)],
            "reconstruct" => {
                let q = self.encoder.forward(r, input, Mode::Evaluate);
                let z = self.encoder.mode(r, &q);
                vec![self.decoder.generate(r, z)]
            }
            _ => panic!("gumbel has no view {name}"),
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        let categories = self.config.variables.categories;
        format!("{}x{categories}", self.config.networks.describe(Shape::Picture(self.shape)))
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        [self.encoder.initial(rng), self.decoder.initial(rng)].concat()
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.divergence.knob(), self.config.variables.knob()]
    }

    fn notice(&self) -> Option<String> {
        (self.config.variables.estimator == Estimator::Argmax).then(|| {
            "note: with estimator argmax no gradient reaches the encoder: an argmax moves in steps, and its slope is 0 \
             wherever it has one. The decoder learns what it can of an encoder that stays as it was drawn; estimator \
             gumbel or straight_through trains both"
                .into()
        })
    }

    fn output(&self) -> Option<Likelihood> {
        Some(self.config.networks.output)
    }

    fn check_batch(&self, batch_size: usize) -> Result<()> {
        let numbers = self.config.networks.latent * self.config.variables.categories;
        self.config.networks.check_batch(batch_size, Shape::Picture(self.shape), numbers)
    }
}
