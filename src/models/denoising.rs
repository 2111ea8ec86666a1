//! The denoising VAE (Im, Ahn, Memisevic & Bengio 2015, arXiv 1511.06406): a VAE whose encoder sees a corrupted
//! picture, and whose decoder must give the clean one.
//!
//!   L(x) = E_c(x~|x) E_q(z|x~)[-log p(x|z)] + KL(q(z|x~) || N(0,1))
//!
//! x~ is drawn anew at each step: Gaussian noise cut to `[0,1]`, salt and pepper, or a mask. L bounds -log p(x) of the
//! clean picture: it is the VAE's bound for each x~, and so is its mean (docs/src/house.md derives by how much it
//! misses that of the mixture of q(z|x~) over x~). With K samples of z a picture q(z|x~) weighs them, and the bound is
//! the tighter one of [`parts::bound`](super::parts::bound). B batch, K samples (1, unless `importance` says more),
//! D = C H W pixels, Z latent dimensions.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::bound::Importance;
use super::parts::decoder::Decoder;
use super::parts::gaussian::Gaussian;
use super::parts::likelihood::Likelihood;
use super::parts::network::Shape;
use super::parts::networks::{Divergence, Networks};
use super::parts::{complete, read, reads};
use super::{Entry, Knob, Losses, Model, View, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, PICTURES};
use crate::error::Result;
use crate::kernels::corrupt::{self, Corruption};
use crate::keys;
use crate::layers::Mode;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "denoising",
    about: "a VAE that sees corrupted pictures and gives clean ones (Im et al. 2015)",
    formula: "L(x) = E_c(x~|x) E_q(z|x~)[-log p(x|z)] + kl_weight KL(q(z|x~) || N(0,1))   (arXiv 1511.06406)",
    takes: &[PICTURES],
    terms: Importance::terms,
    keys: &[Networks::KEYS, Noise::KEYS, Divergence::KEYS, Importance::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: Networks::overlay,
    fill_in: |_, _| Ok(()),
    presets: &presets::DENOISING,
    open: |arena, table, columns| Ok(Box::new(Denoising::open(arena, read(table)?, columns)?)),
};

keys! {
    /// What is done to the pictures that the encoder sees.
    Noise {
        "Model" {
            noise: Corruption = Corruption::Gaussian(0.5), "FORM",
                "gaussian:SIGMA (added, then cut to 0 and 1), salt_and_pepper:SHARE (each pixel black or white) or \
                 mask:SHARE (each pixel black)";
        }
    }
}

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Encoder and decoder.
    #[serde(flatten)]
    pub networks: Networks,
    /// The corruption.
    #[serde(flatten)]
    pub noise: Noise,
    /// The KL term.
    #[serde(flatten)]
    pub divergence: Divergence,
    /// The samples of z a picture.
    #[serde(flatten)]
    pub importance: Importance,
}

impl Config {
    fn check(&self) -> Result<()> {
        self.networks.check()?;
        self.divergence.check()?;
        self.importance.check(&self.divergence, self.networks.output)
    }
}

/// The model.
pub struct Denoising {
    config: Config,
    /// (C,H,W)
    shape: [usize; 3],
    encoder: Gaussian,
    decoder: Decoder,
}

impl Denoising {
    /// Declares the parameters for pictures of the columns' shape. Errors: settings out of range, networks that do not
    /// fit.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Denoising> {
        let shape = columns.picture(PICTURES)?;
        let (input, latent) = (Shape::Picture(shape), config.networks.latent);
        config.check()?;
        config.networks.fit(input, latent, shape)?;
        let encoder = Gaussian::new(arena, &config.networks, input, config.divergence.free_bits);
        let encoder = encoder.weighing(&config.importance);
        let decoder = Decoder::new(arena, &config.networks, latent, shape);
        Ok(Denoising { config, shape, encoder, decoder })
    }

    /// x~ ~ c(x~|x), (B,D).
    fn corrupted(&self, r: &mut Recorder, x: Tensor, draw: &mut Draw) -> Tensor {
        r.scope("batch");
        let noise = match self.config.noise.noise {
            Corruption::Gaussian(_) => draw.normal(r, x.shape()),
            Corruption::SaltAndPepper(_) | Corruption::Mask(_) => draw.uniform(r, x.shape()),
        };
        corrupt::forward(r, x, noise, self.config.noise.noise)
    }
}

impl Model for Denoising {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES); // (B,D), clean

        let noisy = self.corrupted(r, x, draw); // (B,D): x~ ~ c(x~|x)
        let (z, q) = self.encoder.sample(r, noisy, draw, batch.mode); // (B*K,Z): z ~ q(z|x~)
        let (y, decoder) = self.decoder.forward(r, z, batch.mode); // (B*K,D): logits or means
        let x = self.encoder.repeat(r, x); // (B*K,D)
        let recon = self.decoder.loss(r, y, x); // (B*K): -log p(x|z), of the clean x
        let bound = self.encoder.bound(r, &q, recon.rows, batch); // recon and KL(q(z|x~) || N(0,1)), or -L_K

        let dy = self.decoder.loss_backward(r, recon, bound.rows);
        let dz = self.decoder.backward(r, decoder, dy);
        self.encoder.backward_bound(r, q, bound.saved, dz, batch);
        bound.terms
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES);
        let noisy = self.corrupted(r, x, draw);
        let (z, q) = self.encoder.sample(r, noisy, draw, Mode::Evaluate);
        let (y, _) = self.decoder.forward(r, z, Mode::Evaluate);
        let x = self.encoder.repeat(r, x);
        let recon = self.decoder.loss(r, y, x);
        self.encoder.whole_bound(r, &q, recon.rows, batch)
    }

    fn views(&self) -> Vec<View> {
        let (x, z) = (Kind::Picture(self.shape), Kind::Vector(self.config.networks.latent));
        vec![
            View::new("encode").takes("x", x).gives("mean", z).gives("logvar", z),
            View::new("decode").takes("z", z).gives("x", x),
            View::new("reconstruct").takes("x", x).gives("noisy", x).gives("reconstruction", x),
            View::new("denoise").takes("x", x).gives("x", x),
            View::new("likelihood").takes("x", x).takes("z", z).gives("recon", Kind::Vector(1)),
            View::new("fill").takes("x", x).takes("seen", x).takes("z", z).gives("filled", x).gives("dz", z),
        ]
    }

    /// `encode` and `denoise` take pictures as they are, which may be noisy; `reconstruct` corrupts clean ones first.
    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], draw: &mut Draw) -> Vec<Tensor> {
        match (name, inputs) {
            ("likelihood", &[x, z]) => return vec![self.decoder.recon(r, z, x)],
            ("fill", &[x, seen, z]) => return self.decoder.fill(r, [x, seen, z]).into(),
            _ => {}
        }
        let &[x] = inputs else { panic!("denoising has no view {name} of {} inputs", inputs.len()) };
        let denoised = |r: &mut Recorder, x| {
            let q = self.encoder.forward(r, x, Mode::Evaluate);
            self.decoder.generate(r, q.mean)
        };
        match name {
            "encode" => {
                let q = self.encoder.forward(r, x, Mode::Evaluate);
                vec![q.mean, q.logvar]
            }
            "decode" => vec![self.decoder.generate(r, x)],
            "denoise" => vec![denoised(r, x)],
            "reconstruct" => {
                let noisy = self.corrupted(r, x, draw);
                vec![noisy, denoised(r, noisy)]
            }
            _ => panic!("denoising has no view {name}"),
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        self.config.networks.describe(Shape::Picture(self.shape))
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        [self.encoder.initial(rng), self.decoder.initial(rng)].concat()
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.divergence.knob()]
    }

    fn output(&self) -> Option<Likelihood> {
        Some(self.config.networks.output)
    }

    fn check_batch(&self, batch_size: usize) -> Result<()> {
        self.config.importance.check_batch(batch_size)?;
        self.config.networks.check_batch(batch_size, Shape::Picture(self.shape), self.config.networks.latent)
    }
}
