//! The variational autoencoder of Kingma & Welling (2013, arXiv 1312.6114), its networks fully connected or listed
//! layer by layer.
//!
//! Minimised is the negative evidence lower bound, in nats, summed over dimensions:
//!
//!   -ELBO(x) = E_q[-log p(x|z)] + KL(q(z|x) || N(0,1)),   q(z|x) = N(mean(x), e^logvar(x))
//!
//! with one sample z = mean + e^(logvar/2) * noise an example, or with K of them the tighter bound of
//! [`parts::bound`](super::parts::bound). In the place of the KL a setting puts
//!
//!   kl_weight |KL - C(t)|                 `capacity`: C nats, which grow (Burgess et al. 2018, arXiv 1804.03599)
//!   I(z;x) + tc_weight TC + sum_d KL_d    `tc_weight`: its parts (Chen et al. 2018, arXiv 1802.04942)
//!   log q(z|x) - log p(z)                 `prior = vamp`: p(z) is learned (Tomczak & Welling 2018, arXiv 1705.07120)
//!
//! which [`parts::divergence`](super::parts::divergence) and [`parts::prior`](super::parts::prior) make. B batch, K
//! samples (1, unless `importance` says more), D = C H W pixels, Z latent dimensions. Pictures come and go as rows
//! (B,D), channels first; the rows of a table, D numbers each, likewise.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::bound::Importance;
use super::parts::decoder::Decoder;
use super::parts::divergence::Treatment;
use super::parts::gaussian::Gaussian;
use super::parts::likelihood::Likelihood;
use super::parts::network::Shape;
use super::parts::networks::{Divergence, Networks};
use super::parts::prior::PriorKeys;
use super::parts::{complete, read, reads};
use super::{Entry, Knob, Losses, Model, Term, View, Weight, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, PICTURES};
use crate::error::Result;
use crate::layers::Mode;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The reconstruction of every model with a Gaussian latent.
pub const RECON: Term = Term { name: "recon", weight: Weight::One, about: "-log p(x|z)" };
/// Its KL term.
pub const KL: Term = Term { name: "kl", weight: Weight::Knob("kl_weight"), about: "KL(q(z|x) || N(0,1))" };

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "vae",
    about: "the VAE of Kingma & Welling 2013, its networks of hidden sizes or listed layer by layer",
    formula: "-ELBO(x) = E_q[-log p(x|z)] + kl_weight KL(q(z|x) || N(0,1))   (arXiv 1312.6114)",
    takes: &[PICTURES],
    terms: Treatment::terms,
    keys: &[Networks::KEYS, PriorKeys::KEYS, Divergence::KEYS, Treatment::KEYS, Importance::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: Networks::overlay,
    fill_in: Treatment::fill_in,
    presets: &presets::VAE,
    open: |arena, table, columns| Ok(Box::new(Vae::open(arena, read(table)?, columns)?)),
};

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Encoder and decoder.
    #[serde(flatten)]
    pub networks: Networks,
    /// p(z).
    #[serde(flatten)]
    pub prior: PriorKeys,
    /// The KL term.
    #[serde(flatten)]
    pub divergence: Divergence,
    /// What is made of it.
    #[serde(flatten)]
    pub treatment: Treatment,
    /// The samples of z a picture.
    #[serde(flatten)]
    pub importance: Importance,
}

impl Config {
    fn check(&self) -> Result<()> {
        self.networks.check()?;
        self.divergence.check()?;
        self.treatment.check(&self.divergence, &self.importance, &self.prior)?;
        self.importance.check(&self.divergence, self.networks.output)
    }
}

/// The model.
pub struct Vae {
    config: Config,
    /// Pictures or vectors.
    x: Kind,
    /// What the encoder takes of them.
    input: Shape,
    encoder: Gaussian,
    decoder: Decoder,
}

impl Vae {
    /// Declares the parameters for pictures or vectors of the columns. Errors: settings out of range, networks that do
    /// not fit, an output that is no distribution of vectors.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Vae> {
        let x = columns.values(PICTURES)?;
        let (input, latent) = (Shape::of(x), config.networks.latent);
        config.check()?;
        config.networks.output.check(x)?;
        config.networks.fit(input, latent, x.as_picture())?;
        let encoder = Gaussian::new(arena, &config.networks, input, config.divergence.free_bits);
        let encoder = encoder.weighing(&config.importance);
        let vamp = config.prior.open(arena, &config.networks, x)?;
        let encoder = encoder.taking(config.treatment.form(vamp));
        let decoder = Decoder::new(arena, &config.networks, latent, x.as_picture());
        Ok(Vae { config, x, input, encoder, decoder })
    }
}

impl Model for Vae {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.values(r, PICTURES); // (B,D)

        let (z, q) = self.encoder.sample(r, x, draw, batch.mode); // (B*K,Z): z ~ q(z|x)
        let (y, decoder) = self.decoder.forward(r, z, batch.mode); // (B*K,D): logits or means
        let x = self.encoder.repeat(r, x); // (B*K,D): what each z is to explain
        let recon = self.decoder.loss(r, y, x); // (B*K): -log p(x|z)
        let bound = self.encoder.bound(r, &q, recon.rows, batch); // recon and KL(q(z|x) || p(z)), or one of the others

        let dy = self.decoder.loss_backward(r, recon, bound.rows);
        let dz = self.decoder.backward(r, decoder, dy);
        self.encoder.backward_bound(r, q, bound.saved, dz, batch); // both ways: from q's density, and through z
        bound.terms
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.values(r, PICTURES);
        let (z, q) = self.encoder.sample(r, x, draw, Mode::Evaluate);
        let (y, _) = self.decoder.forward(r, z, Mode::Evaluate);
        let x = self.encoder.repeat(r, x);
        let recon = self.decoder.loss(r, y, x);
        self.encoder.whole_bound(r, &q, recon.rows, batch)
    }

    fn views(&self) -> Vec<View> {
        let (x, z) = (self.x, Kind::Vector(self.config.networks.latent));
        let mut views = vec![
            View::new("encode").takes("x", x).gives("mean", z).gives("logvar", z),
            View::new("decode").takes("z", z).gives("x", x),
            View::new("reconstruct").takes("x", x).gives("reconstruction", x),
            View::new("likelihood").takes("x", x).takes("z", z).gives("recon", Kind::Vector(1)),
            View::new("fill").takes("x", x).takes("seen", x).takes("z", z).gives("filled", x).gives("dz", z),
        ];
        views.extend(self.encoder.views_of_prior(z));
        views
    }

    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], _: &mut Draw) -> Vec<Tensor> {
        match (name, inputs) {
            ("encode", &[x]) => {
                let q = self.encoder.forward(r, x, Mode::Evaluate);
                vec![q.mean, q.logvar]
            }
            ("decode", &[z]) => vec![self.decoder.generate(r, z)],
            ("reconstruct", &[x]) => {
                let q = self.encoder.forward(r, x, Mode::Evaluate);
                vec![self.decoder.generate(r, q.mean)]
            }
            ("likelihood", &[x, z]) => vec![self.decoder.recon(r, z, x)],
            ("fill", &[x, seen, z]) => self.decoder.fill(r, [x, seen, z]).into(),
            _ => {
                let of_prior = self.encoder.view_of_prior(r, name, inputs);
                vec![of_prior.unwrap_or_else(|| panic!("vae has no view {name} of {} inputs", inputs.len()))]
            }
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        self.config.networks.describe(self.input)
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        [self.encoder.initial(rng), self.decoder.initial(rng)].concat()
    }

    fn knobs(&self) -> Vec<Knob> {
        self.config.treatment.knobs(&self.config.divergence)
    }

    fn output(&self) -> Option<Likelihood> {
        Some(self.config.networks.output)
    }

    fn check_batch(&self, batch_size: usize) -> Result<()> {
        self.config.importance.check_batch(batch_size)?;
        self.config.treatment.check_batch(&self.config.prior, batch_size)?;
        self.config.networks.check_batch(batch_size, self.input, self.config.networks.latent)
    }
}
