//! A model of a picture given a smaller one of it: super-resolution.
//!
//!   L(x) = E_q[-log p(x|z,low)] + kl_weight KL(q(z|x) || N(0,1)) - log p(x|0,low)
//!   low = the mean of each square of F x F pixels of x
//!   p(x|z,low) has the mean   up(low) + decoder(z, low),   up = bilinear interpolation
//!
//! so that the decoder has only the details to draw, which the small picture lacks; z says which of those that it
//! allows (the skip as in Gatopoulos, Stol & Tomczak 2020, arXiv 2006.05218). Whoever enlarges a picture has no z. The
//! last term is for them: a decoder that always saw a z of the picture itself draws badly at the middle of the prior.
//! Sohn, Lee & Yan 2015 ("Learning structured output representation using deep conditional generative models", section
//! 4.2) train on both in the same way, with z of a prior. B batch, D = C H W pixels, d = C h w of the small picture, P
//! = h w, Z latent dimensions.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::decoder::{self, Decoder};
use super::parts::gaussian::Gaussian;
use super::parts::likelihood::Likelihood;
use super::parts::network::Shape;
use super::parts::networks::{Divergence, Networks, require};
use super::parts::{complete, read, reads};
use super::vae::{KL, RECON};
use super::{Entry, Knob, Losses, Model, Term, View, Weight, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, PICTURES};
use crate::error::Result;
use crate::kernels::pool::Window;
use crate::kernels::{channels, joint, pool, reduce, upsample};
use crate::keys;
use crate::layers::Mode;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "super_resolution",
    about: "a VAE that is told the picture at a lower resolution and draws what that lacks",
    formula: "L(x) = E_q[-log p(x|z,low)] + kl_weight KL(q(z|x) || N(0,1)) - log p(x|0,low)",
    takes: &[PICTURES],
    terms: |_| &[RECON, KL, MIDDLE],
    keys: &[Scale::KEYS, Networks::KEYS, Divergence::KEYS],
    defaults: || read::<Config>(&with_output(Table::new())).map(|config| complete(&config)).expect("defaults"),
    reads: |table| reads::<Config>(with_output(table)),
    check: |table| read::<Config>(table)?.check(),
    overlay: Networks::overlay,
    fill_in: |_, _| Ok(()),
    presets: &presets::SUPER_RESOLUTION,
    open: |arena, table, columns| Ok(Box::new(SuperResolution::open(arena, read(table)?, columns)?)),
};

const MIDDLE: Term = Term { name: "middle", weight: Weight::One, about: "-log p(x|0,low), with nothing of z" };

keys! {
    /// How much larger the picture is than the one that is told.
    Scale {
        "Model" {
            factor: usize = 2, "N", "Rows and columns of the picture for each one of the small picture";
        }
    }
}

/// With a Gaussian output, where none is given: the small picture is added to a mean, and the networks' default has
/// none.
fn with_output(mut table: Table) -> Table {
    table.entry("output").or_insert("gaussian".into());
    table
}

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// How much larger.
    #[serde(flatten)]
    pub scale: Scale,
    /// Encoder and decoder.
    #[serde(flatten)]
    pub networks: Networks,
    /// The KL term.
    #[serde(flatten)]
    pub divergence: Divergence,
}

impl Config {
    fn check(&self) -> Result<()> {
        let factor = self.scale.factor;
        require((2..=16).contains(&factor), "factor", factor, "must be 2 to 16")?;
        let is_moved = matches!(
            self.networks.output,
            Likelihood::Gaussian | Likelihood::OptimalSigma | Likelihood::Laplace | Likelihood::DiscretisedLogistic
        );
        let name = serde_json::to_value(self.networks.output).expect("it has a name");
        let rule = "must be gaussian, optimal_sigma, laplace or discretised_logistic: the small picture is added to \
                    its mean";
        require(is_moved, "output", name, rule)?;
        self.networks.check()?;
        self.divergence.check()
    }
}

/// The model.
pub struct SuperResolution {
    config: Config,
    /// (C,H,W)
    shape: [usize; 3],
    /// (C,h,w)
    low: [usize; 3],
    encoder: Gaussian,
    decoder: Decoder,
}

impl SuperResolution {
    /// Declares the parameters for pictures of the columns' shape. Errors: settings out of range, sides that the factor
    /// does not divide, networks that do not fit.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<SuperResolution> {
        config.check()?;
        let (shape, factor, latent) = (columns.picture(PICTURES)?, config.scale.factor, config.networks.latent);
        let [c, h, w] = shape;
        let rule = format!("must divide the rows and columns of the pictures, {h} and {w}");
        require(h % factor == 0 && w % factor == 0, "factor", factor, &rule)?;
        let low = [c, h / factor, w / factor];
        let inputs = [c + latent, low[1], low[2]];
        let head = (2 * latent, format!("2 x {latent} numbers, mean and logvar"));
        config.networks.fit_to(Shape::Picture(shape), head, Shape::Picture(inputs), shape)?;
        let encoder = Gaussian::new(arena, &config.networks, Shape::Picture(shape), config.divergence.free_bits);
        let decoder = Decoder::over(arena, &config.networks, inputs, shape);
        Ok(SuperResolution { config, shape, low, encoder, decoder })
    }

    /// x (B,D) to the small picture (B,d).
    fn shrink(&self, r: &mut Recorder, x: Tensor) -> Tensor {
        r.scope("low");
        let x = channels::last(r, x, self.shape);
        let factor = self.config.scale.factor;
        let low = pool::average(r, x, Window::new([factor; 2], [factor; 2], [0; 2]));
        channels::first(r, low)
    }

    /// The small picture (B,d) to its bilinear interpolation (B,D).
    fn up(&self, r: &mut Recorder, low: Tensor) -> Tensor {
        r.scope("low");
        let low = channels::last(r, low, self.low);
        let up = upsample::bilinear(r, low, self.config.scale.factor);
        channels::first(r, up)
    }

    /// The small picture (B,d), its interpolation (B,D) and z (B,Z) to the mean of p(x|z,low), (B,D).
    fn forward(&self, r: &mut Recorder, [low, up, z]: [Tensor; 3], mode: Mode) -> (Tensor, decoder::Saved) {
        r.scope("decoder");
        let [c, h, w] = self.low;
        let [b, latent] = z.matrix();
        let planes = joint::planes(r, z, h * w); // (B,Z*P)
        let joined = joint::concat(r, low, planes); // (B,d+Z*P)
        let joined = channels::last(r, joined, [c + latent, h, w]);
        let (details, saved) = self.decoder.forward(r, joined.reshape(&[b, joined.len() / b]), mode); // (B,D)
        (joint::add(r, details, up, 1.0), saved)
    }

    /// The middle of the prior, (B,Z).
    fn middle(&self, r: &mut Recorder, rows: usize) -> Tensor {
        // Nothing writes this tensor, and it starts as zeros.
        r.tensor("middle", &[rows, self.config.networks.latent])
    }

    /// dy (B,D) to dz (B,Z), and the decoder's gradients. The small picture is data.
    fn backward(&self, r: &mut Recorder, saved: decoder::Saved, dy: Tensor) -> Tensor {
        let [c, h, w] = self.low;
        let (b, latent) = (dy.matrix()[0], self.config.networks.latent);
        let djoined = self.decoder.backward(r, saved, dy);
        r.scope("decoder");
        let djoined = channels::first(r, djoined.reshape(&[b, h, w, c + latent]));
        let (_, dplanes) = joint::split(r, djoined, c * h * w);
        reduce::rows(r, dplanes.reshape(&[b * latent, h * w])).reshape(&[b, latent])
    }
}

impl Model for SuperResolution {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES); // (B,D)

        let low = self.shrink(r, x); // (B,d)
        let up = self.up(r, low); // (B,D)
        let (z, q) = self.encoder.sample(r, x, draw, batch.mode); // (B,Z): z ~ q(z|x)
        let (y, decoder) = self.forward(r, [low, up, z], batch.mode); // (B,D): up(low) + details
        let recon = self.decoder.loss(r, y, x); // (B): -log p(x|z,low)
        let kl = self.encoder.kl(r, &q); // (Z): KL(q(z|x) || N(0,1))
        let middle = self.middle(r, z.matrix()[0]); // (B,Z): 0
        let (y_middle, decoder_middle) = self.forward(r, [low, up, middle], batch.mode);
        let recon_middle = self.decoder.loss(r, y_middle, x); // (B): -log p(x|0,low)

        let dy_middle = self.decoder.loss_backward(r, recon_middle, batch.weight);
        self.decoder.backward_parameters(r, decoder_middle, dy_middle);
        let dy = self.decoder.loss_backward(r, recon, batch.weight);
        let dz = self.backward(r, decoder, dy);
        self.encoder.backward(r, q, kl, dz, batch);
        vec![recon.rows, kl, recon_middle.rows]
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES);
        let low = self.shrink(r, x);
        let up = self.up(r, low);
        let (z, q) = self.encoder.sample(r, x, draw, Mode::Evaluate);
        let (y, _) = self.forward(r, [low, up, z], Mode::Evaluate);
        let middle = self.middle(r, z.matrix()[0]);
        let (y_middle, _) = self.forward(r, [low, up, middle], Mode::Evaluate);
        let recon = self.decoder.loss(r, y, x).rows;
        vec![recon, self.encoder.whole_kl(r, &q), self.decoder.loss(r, y_middle, x).rows]
    }

    fn views(&self) -> Vec<View> {
        let (x, low) = (Kind::Picture(self.shape), Kind::Picture(self.low));
        let z = Kind::Vector(self.config.networks.latent);
        vec![
            View::new("encode").takes("x", x).gives("mean", z).gives("logvar", z),
            View::new("shrink").takes("x", x).gives("low", low),
            View::new("enlarge").takes("low", low).takes("z", z).gives("x", x),
            View::new("reconstruct").takes("x", x).gives("reconstruction", x),
        ]
    }

    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], _: &mut Draw) -> Vec<Tensor> {
        match (name, inputs) {
            ("encode", &[x]) => {
                let q = self.encoder.forward(r, x, Mode::Evaluate);
                vec![q.mean, q.logvar]
            }
            ("shrink", &[x]) => vec![self.shrink(r, x)],
            ("enlarge", &[low, z]) => {
                let up = self.up(r, low);
                vec![self.forward(r, [low, up, z], Mode::Evaluate).0]
            }
            ("reconstruct", &[x]) => {
                let low = self.shrink(r, x);
                let up = self.up(r, low);
                let q = self.encoder.forward(r, x, Mode::Evaluate);
                vec![self.forward(r, [low, up, q.mean], Mode::Evaluate).0]
            }
            _ => panic!("super_resolution has no view {name} of {} inputs", inputs.len()),
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        let networks = self.config.networks.describe(Shape::Picture(self.shape));
        format!("{}-{networks}", Shape::Picture(self.low))
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        [self.encoder.initial(rng), self.decoder.initial(rng)].concat()
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.divergence.knob()]
    }

    fn check_batch(&self, batch_size: usize) -> Result<()> {
        let [c, h, w] = self.low;
        let inputs = Shape::Picture([c + self.config.networks.latent, h, w]);
        self.config.networks.check_batch_of(batch_size, Shape::Picture(self.shape), inputs)
    }
}
