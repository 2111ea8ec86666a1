//! The VAE-GAN of Larsen, Sønderby, Larochelle & Winther (2016, arXiv 1512.09300): a VAE that measures its pictures by
//! what a discriminator sees in them, and a GAN whose generator is its decoder.
//!
//!   L_prior = KL(q(z|x) || N(0,1))
//!   L_llike = -log N(Dis_l(x); Dis_l(x~), 1)                                    x~ = Dec(z), z ~ q(z|x)
//!   L_Dis   = -log Dis(x) - log(1 - Dis(x~)) - log(1 - Dis(x_p))                x_p = Dec(z_p), z_p ~ N(0,1)
//!   L_gen   = -log Dis(x~) - log Dis(x_p), or -L_Dis without its first term, as published (`minimax`)
//!
//! Each of the three networks has a loss of its own, all taken of one forward pass (algorithm 1):
//!
//!   encoder         kl_weight L_prior + L_llike
//!   decoder         gamma L_llike + L_gen
//!   discriminator   L_Dis
//!
//! A gradient passes through a network that another loss belongs to and leaves its parameters alone:
//! `backward_input` in the place of `backward`. So one optimiser moves all three by one step. The loss that is reported
//! is the encoder's; it bounds nothing, for what it is measured in changes. `pixels` is -log p(x|z) of the pixels, as a
//! VAE's `recon`, and trains nothing. B batch, D = C H W pixels, Z latent dimensions, F features.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::decoder::{self, Decoder};
use super::parts::discriminator::{Discrimination, Discriminator, Judged};
use super::parts::gaussian::Gaussian;
use super::parts::likelihood::Likelihood;
use super::parts::network::Shape;
use super::parts::networks::{Divergence, Networks, require};
use super::parts::{complete, read, reads};
use super::vae::KL;
use super::{Entry, Knob, Losses, Model, Term, View, Weight, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, PICTURES};
use crate::error::{Error, Result};
use crate::kernels::activation::{self, Activation};
use crate::kernels::rows::Rows;
use crate::kernels::{bce, fill, joint, mse};
use crate::keys;
use crate::layers::Mode;
use crate::program::Recorder;
use crate::tensor::Tensor;

const fn reported(name: &'static str, about: &'static str) -> Term {
    Term { name, weight: Weight::Zero, about }
}

/// The terms of the loss, of which the encoder's alone counts.
static TERMS: [Term; 6] = [
    Term { name: "recon", weight: Weight::One, about: "-log N(Dis_l(x); Dis_l(x~), 1), in features of layer l" },
    KL,
    reported("gen", "-log Dis(x~) - log Dis(x_p), which the decoder lowers"),
    reported("dis_real", "-log Dis(x), which the discriminator lowers"),
    reported("dis_fake", "-log(1 - Dis(x~)) - log(1 - Dis(x_p)), likewise"),
    reported("pixels", "-log p(x|z) of the pixels, as a VAE's recon; trains nothing"),
];

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "vae_gan",
    about: "a VAE that compares pictures by a discriminator's features, its decoder a GAN's (Larsen et al. 2016)",
    formula: "encoder: -log N(Dis_l(x); Dis_l(x~), 1) + kl_weight KL(q(z|x) || N(0,1)); decoder: gamma times the \
              former + gen; discriminator: dis_real + dis_fake   (arXiv 1512.09300)",
    takes: &[PICTURES],
    terms: |_| &TERMS,
    keys: &[Networks::KEYS, Discrimination::KEYS, Adversaries::KEYS, Divergence::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: Networks::overlay,
    fill_in: |_, _| Ok(()),
    presets: &presets::VAE_GAN,
    open: |arena, table, columns| Ok(Box::new(VaeGan::open(arena, read(table)?, columns)?)),
};

/// What the decoder lowers to get past the discriminator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Generator {
    /// -log Dis: steep where the discriminator is sure (Goodfellow et al. 2014, section 3).
    NonSaturating,
    /// log(1 - Dis): what the discriminator raises, as published, and flat where it is sure.
    Minimax,
}

keys! {
    /// What decoder and discriminator want of each other.
    Adversaries {
        "Loss" {
            gamma: f64 = 1.0, "X",
                "Weight of the reconstruction beside the adversarial loss, in the decoder's";
            generator: Generator = Generator::NonSaturating, "NAME",
                "The decoder's adversarial loss: non_saturating, -log Dis, or minimax, log(1 - Dis), as published";
        }
    }
}

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Encoder and decoder.
    #[serde(flatten)]
    pub networks: Networks,
    /// The discriminator.
    #[serde(flatten)]
    pub discrimination: Discrimination,
    /// The adversarial losses.
    #[serde(flatten)]
    pub adversaries: Adversaries,
    /// The KL term.
    #[serde(flatten)]
    pub divergence: Divergence,
}

impl Config {
    fn check(&self) -> Result<()> {
        self.networks.check()?;
        self.discrimination.check()?;
        self.divergence.check()?;
        let gamma = self.adversaries.gamma;
        require(gamma >= 0.0 && gamma.is_finite(), "gamma", gamma, "must be 0 or a positive number")?;
        if !matches!(self.networks.output, Likelihood::Bernoulli | Likelihood::Gaussian) {
            let problem = "output must be bernoulli or gaussian here: the picture is its sigmoid, or itself";
            return Err(Error::Usage(problem.into()));
        }
        Ok(())
    }
}

/// The model.
pub struct VaeGan {
    config: Config,
    /// (C,H,W)
    shape: [usize; 3],
    encoder: Gaussian,
    decoder: Decoder,
    discriminator: Discriminator,
}

/// Pictures that the decoder made.
struct Made {
    /// (B,D): before its link.
    y: Tensor,
    /// (B,D): the pictures.
    x: Tensor,
    saved: decoder::Saved,
}

/// What the discriminator says of pictures of each kind.
struct Verdicts {
    real: Judged,
    rebuilt: Judged,
    drawn: Judged,
    /// (B,1): what it should say of real ones, and of others.
    ones: Tensor,
    zeros: Tensor,
}

impl VaeGan {
    /// Declares the parameters for pictures of the columns' shape. Errors: settings out of range, networks that do not
    /// fit.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<VaeGan> {
        let shape = columns.picture(PICTURES)?;
        config.check()?;
        let (input, latent) = (Shape::Picture(shape), config.networks.latent);
        config.networks.fit(input, latent, shape)?;
        config.discrimination.fit(shape)?;
        let encoder = Gaussian::new(arena, &config.networks, input, config.divergence.free_bits);
        let decoder = Decoder::new(arena, &config.networks, latent, shape);
        let activation = config.networks.activation;
        let discriminator = Discriminator::new(arena, &config.discrimination, shape, activation);
        Ok(VaeGan { config, shape, encoder, decoder, discriminator })
    }

    /// z (B,Z) to the picture that the discriminator is shown.
    fn make(&self, r: &mut Recorder, z: Tensor, mode: Mode) -> Made {
        let (y, saved) = self.decoder.forward(r, z, mode);
        Made { y, x: self.config.networks.output.generate(r, y), saved }
    }

    /// The gradient of y, from that of the picture; (B,D) each.
    fn before_link(&self, r: &mut Recorder, made: &Made, dx: Tensor) -> Tensor {
        r.scope("decoder");
        match self.config.networks.output {
            Likelihood::Bernoulli => activation::backward(r, made.x, dx, Activation::Sigmoid),
            _ => dx,
        }
    }

    /// Shows the discriminator real pictures, reconstructions and samples, each kind a batch of its own.
    fn judge(&self, r: &mut Recorder, [x, rebuilt, drawn]: [Tensor; 3], mode: Mode) -> Verdicts {
        let [real, rebuilt, drawn] = [x, rebuilt, drawn].map(|x| self.discriminator.forward(r, x, mode));
        r.scope("loss");
        // Nothing writes the zeros.
        let [ones, zeros] = ["ones", "zeros"].map(|name| r.tensor(name, real.logit.shape()));
        fill::forward(r, ones, 1.0);
        Verdicts { real, rebuilt, drawn, ones, zeros }
    }

    /// The terms but the KL, (B) each: recon, gen, dis_real, dis_fake, pixels.
    fn losses(&self, r: &mut Recorder, v: &Verdicts, rebuilt: &Made, x: Tensor) -> [Tensor; 5] {
        r.scope("loss");
        let recon = mse::loss(r, v.rebuilt.features, v.real.features, 1.0); // -log N(Dis_l(x); Dis_l(x~), 1)
        let both = |r: &mut Recorder, wanted: Tensor| {
            let [of_rebuilt, of_drawn] = [&v.rebuilt, &v.drawn].map(|judged| bce::loss(r, judged.logit, wanted));
            joint::add(r, of_rebuilt, of_drawn, 1.0)
        };
        let fake = both(r, v.zeros);
        let generated = match self.config.adversaries.generator {
            Generator::NonSaturating => both(r, v.ones),
            Generator::Minimax => joint::scale(r, fake, -1.0),
        };
        let real = bce::loss(r, v.real.logit, v.ones);
        let pixels = self.decoder.loss(r, rebuilt.y, x).rows;
        [recon, generated, real, fake, pixels]
    }

    /// The gradient of the decoder's adversarial loss to the logits (B,1) of pictures that it made.
    fn fooling(&self, r: &mut Recorder, v: &Verdicts, logit: Tensor, weight: Rows) -> Tensor {
        let [dlogit] = weight.apply(r, |r, scale| match self.config.adversaries.generator {
            Generator::NonSaturating => [bce::backward(r, logit, v.ones, scale)],
            Generator::Minimax => [bce::backward(r, logit, v.zeros, -scale)],
        });
        dlogit
    }
}

impl Model for VaeGan {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let Adversaries { gamma, .. } = self.config.adversaries;
        let x = batch.pictures(r, PICTURES); // (B,D)

        let (z, q) = self.encoder.sample(r, x, draw, batch.mode); // (B,Z): z ~ q(z|x)
        let z_p = draw.normal(r, z.shape()); // (B,Z): z_p ~ N(0,1)
        let rebuilt = self.make(r, z, batch.mode); // x~
        let drawn = self.make(r, z_p, batch.mode); // x_p
        let v = self.judge(r, [x, rebuilt.x, drawn.x], batch.mode); // Dis_l and Dis of x, x~ and x_p
        let kl = self.encoder.kl(r, &q); // (Z): L_prior
        let [recon, generated, real, fake, pixels] = self.losses(r, &v, &rebuilt, x);

        // L_llike to x~, through a discriminator and then a decoder that are held: the encoder's.
        r.scope("loss");
        let [rebuilt_features, real_features] = [v.rebuilt.features, v.real.features];
        let [dfeatures] =
            batch.weight.apply(r, |r, scale| [mse::backward(r, rebuilt_features, real_features, 1.0, scale)]);
        let dx = self.discriminator.backward_features(r, &v.rebuilt, dfeatures);
        let dy = self.before_link(r, &rebuilt, dx);
        let dz = self.decoder.backward_input(r, &rebuilt.saved, dy);
        self.encoder.backward(r, q, kl, dz, batch);

        // gamma L_llike + L_gen to x~, and L_gen to x_p, through a discriminator that is held: the decoder's.
        for (made, judged, like) in [(rebuilt, &v.rebuilt, Some(dy)), (drawn, &v.drawn, None)] {
            r.scope("loss");
            let dlogit = self.fooling(r, &v, judged.logit, batch.weight);
            let dx = self.discriminator.backward_input(r, judged, dlogit);
            let fooling = self.before_link(r, &made, dx);
            let dy = like.map_or(fooling, |like| joint::add(r, fooling, like, gamma as f32));
            self.decoder.backward_parameters(r, made.saved, dy);
        }

        // L_Dis: the discriminator's.
        let Verdicts { real: of_real, rebuilt, drawn, ones, zeros } = v;
        for (judged, wanted) in [(of_real, ones), (rebuilt, zeros), (drawn, zeros)] {
            r.scope("loss");
            let [dlogit] = batch.weight.apply(r, |r, scale| [bce::backward(r, judged.logit, wanted, scale)]);
            self.discriminator.backward_parameters(r, judged, dlogit);
        }
        vec![recon, kl, generated, real, fake, pixels]
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES);
        let (z, q) = self.encoder.sample(r, x, draw, Mode::Evaluate);
        let z_p = draw.normal(r, z.shape());
        let [rebuilt, drawn] = [z, z_p].map(|z| self.make(r, z, Mode::Evaluate));
        let v = self.judge(r, [x, rebuilt.x, drawn.x], Mode::Evaluate);
        let kl = self.encoder.whole_kl(r, &q);
        let [recon, generated, real, fake, pixels] = self.losses(r, &v, &rebuilt, x);
        vec![recon, kl, generated, real, fake, pixels]
    }

    fn views(&self) -> Vec<View> {
        let (x, z) = (Kind::Picture(self.shape), Kind::Vector(self.config.networks.latent));
        vec![
            View::new("encode").takes("x", x).gives("mean", z).gives("logvar", z),
            View::new("decode").takes("z", z).gives("x", x),
            View::new("reconstruct").takes("x", x).gives("reconstruction", x),
            View::new("fill").takes("x", x).takes("seen", x).takes("z", z).gives("filled", x).gives("dz", z),
        ]
    }

    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], _: &mut Draw) -> Vec<Tensor> {
        if let ("fill", &[x, seen, z]) = (name, inputs) {
            return self.decoder.fill(r, [x, seen, z]).into();
        }
        let &[input] = inputs else { panic!("vae_gan has no view {name} of {} inputs", inputs.len()) };
        if name == "decode" {
            return vec![self.decoder.generate(r, input)];
        }
        let q = self.encoder.forward(r, input, Mode::Evaluate);
        match name {
            "encode" => vec![q.mean, q.logvar],
            "reconstruct" => vec![self.decoder.generate(r, q.mean)],
            _ => panic!("vae_gan has no view {name}"),
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
        [self.encoder.initial(rng), self.decoder.initial(rng), self.discriminator.initial(rng)].concat()
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.divergence.knob()]
    }

    fn notice(&self) -> Option<String> {
        let text = "note: the loss is measured in features of a discriminator that learns too, so it may rise while the \
                    pictures get better; test_pixels is measured in pixels, and --monitor can follow it";
        Some(text.into())
    }

    fn check_batch(&self, batch_size: usize) -> Result<()> {
        self.config.networks.check_batch(batch_size, Shape::Picture(self.shape), self.config.networks.latent)?;
        self.config.discrimination.check_batch(batch_size, self.shape)
    }
}
