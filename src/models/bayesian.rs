//! A VAE whose weights are not known but inferred as well: Kingma & Welling 2013 (arXiv 1312.6114), appendix F, with
//! the Gaussian q(w) of Blundell, Cornebise, Kavukcuoglu & Wierstra 2015 (arXiv 1505.05424), sampled where it acts
//! (Kingma, Salimans & Welling 2015, arXiv 1506.02557).
//!
//! Minimised is the bound of all N training pictures, for each picture its share:
//!
//!   L(x) = E_q(w) E_q(z|x)[-log p(x|z,w)] + KL(q(z|x) || N(0,1)) + KL(q(w) || N(0,s^2)) / N
//!
//! q(w) is a Gaussian for each weight, its mean and logvar trained. The weights of the decoder are such, or of the
//! encoder too. B batch, D = C H W pixels, Z latent dimensions, S draws of the weights.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::bayesian::{Perceptron, Weights, joined};
use super::parts::likelihood::Likelihood;
use super::parts::networks::{Divergence, LARGEST_SIZE, require};
use super::parts::{complete, count_examples, read, reads};
use super::vae::{KL, RECON};
use super::{Entry, Knob, Losses, Model, Term, View, Weight, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, PICTURES};
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::rows::Rows;
use crate::kernels::{gaussian_kl, joint, reparameterise, repeat, spread};
use crate::keys;
use crate::program::Recorder;
use crate::tensor::Tensor;

const WEIGHT_KL: Term = Term { name: "weight_kl", weight: Weight::One, about: "KL(q(w) || N(0,s^2)) / N" };

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "bayesian",
    about: "a VAE with a Gaussian for every weight of the decoder, or of both networks (Blundell et al. 2015)",
    formula: "L(x) = E_q(w) E_q(z|x)[-log p(x|z,w)] + kl_weight KL(q(z|x) || N(0,1)) + KL(q(w) || N(0,s^2)) / N   \
              (arXiv 1505.05424)",
    takes: &[PICTURES],
    terms: |_| &[RECON, KL, WEIGHT_KL],
    keys: &[Settings::KEYS, Divergence::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: |_, _| {},
    fill_in: count_examples,
    presets: &presets::BAYESIAN,
    open: |arena, table, columns| Ok(Box::new(Bayesian::open(arena, read(table)?, columns)?)),
};

/// Which network's weights are Gaussians.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inferred {
    /// Those of p(x|z,w), which a VAE's theory calls parameters.
    Decoder,
    /// Those of q(z|x,w) too.
    Both,
}

keys! {
    /// The two networks and q(w).
    Settings {
        "Model" {
            hidden: Vec<usize> = vec![400], "N",
                "Sizes of the encoder's hidden layers, for instance 512,256; the decoder mirrors them";
            latent: usize = 20, "N", "Number of latent dimensions";
            activation: Activation = Activation::Relu, "NAME", "Nonlinearity after each hidden layer";
            output: Likelihood = Likelihood::Bernoulli, "NAME", "Distribution of a pixel: as of the model `vae`";
            sigma: f64 = 1.0, "X", "Scale of the outputs that have one";
            inferred: Inferred = Inferred::Decoder, "NAME",
                "Whose weights are Gaussians: decoder, or both networks'";
            prior_sigma: f64 = 0.1, "X", "Standard deviation s of a weight before any data: N(0, s^2)";
            initial_logvar: f64 = -9.0, "X", "Where every weight's logvar starts";
            weight_draws: usize = 5, "N", "Draws of the weights that an evaluation averages";
            examples: Option<usize> = None, "N",
                "N of the formula, over which KL(q(w)) is spread; the number of training examples where it is not \
                 given";
        }
    }
}

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The networks.
    #[serde(flatten)]
    pub networks: Settings,
    /// The KL term of z.
    #[serde(flatten)]
    pub divergence: Divergence,
}

impl Config {
    fn check(&self) -> Result<()> {
        let n = &self.networks;
        let (size, rule) = (1..=LARGEST_SIZE, format!("must be 1 to {LARGEST_SIZE}"));
        require(size.contains(&n.latent), "latent", n.latent, &rule)?;
        require(!n.hidden.is_empty(), "hidden", "empty", "must name at least one layer's size")?;
        n.hidden.iter().try_for_each(|&width| require(size.contains(&width), "hidden", width, &rule))?;
        for (key, value) in [("sigma", n.sigma), ("prior_sigma", n.prior_sigma)] {
            require(value > 0.0 && value.is_finite(), key, value, "must be a positive number")?;
        }
        let logvar = n.initial_logvar;
        require((-30.0..=10.0).contains(&logvar), "initial_logvar", logvar, "must be -30 to 10")?;
        require((1..=1000).contains(&n.weight_draws), "weight_draws", n.weight_draws, "must be 1 to 1000")?;
        self.divergence.check()
    }
}

/// The model.
pub struct Bayesian {
    config: Config,
    /// (C,H,W)
    shape: [usize; 3],
    encoder: Perceptron,
    decoder: Perceptron,
}

impl Bayesian {
    /// Declares the parameters for pictures of the columns' shape. Errors: settings out of range.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Bayesian> {
        config.check()?;
        let shape = columns.picture(PICTURES)?;
        let pixels = shape.iter().product();
        let Settings { ref hidden, latent, activation, inferred, .. } = config.networks;
        let of_encoder = if inferred == Inferred::Both { Weights::Gaussians } else { Weights::Points };
        let encoder = Perceptron::encoder(arena, of_encoder, [pixels, 2 * latent], hidden, activation);
        let decoder = Perceptron::decoder(arena, Weights::Gaussians, [latent, pixels], hidden, activation);
        Ok(Bayesian { config, shape, encoder, decoder })
    }

    /// B/N: the share of KL(q(w)) that a batch bears.
    fn share(&self, rows: usize) -> f32 {
        rows as f32 / self.config.networks.examples.unwrap_or(rows) as f32
    }

    /// (P): B/N KL(q(w) || N(0,s^2)) in parts.
    fn weight_kl(&self, r: &mut Recorder, rows: usize) -> Tensor {
        let (sigma, share) = (self.config.networks.prior_sigma, self.share(rows));
        let parts = [self.encoder.kl(r, sigma, share), self.decoder.kl(r, sigma, share)].concat();
        r.scope("loss");
        joined(r, &parts)
    }

    /// q(z|x) with the weights at their means: mean and logvar (B,Z).
    fn encode(&self, r: &mut Recorder, x: Tensor) -> [Tensor; 2] {
        r.scope("encoder");
        let h = self.encoder.mean(r, x);
        joint::split(r, h, self.config.networks.latent).into()
    }

    /// The picture of z with the weights at their means, (B,D).
    fn decode(&self, r: &mut Recorder, z: Tensor) -> Tensor {
        r.scope("decoder");
        let y = self.decoder.mean(r, z);
        self.config.networks.output.generate(r, y)
    }
}

impl Model for Bayesian {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let Settings { output, sigma, prior_sigma, latent, .. } = self.config.networks;
        let free_bits = self.config.divergence.free_bits as f32;
        let scale = if let Rows::Scale(scale) = batch.weight { scale } else { 1.0 };
        let x = batch.pictures(r, PICTURES); // (B,D)

        let (h, encoder) = self.encoder.forward(r, x, draw); // (B,2Z)
        r.scope("latent");
        let (mean, logvar) = joint::split(r, h, latent);
        let noise = draw.latent(r, mean.shape());
        let z = reparameterise::forward(r, mean, logvar, noise); // (B,Z): z ~ q(z|x)
        let (y, decoder) = self.decoder.forward(r, z, draw); // (B,D): each row by weights of its own
        r.scope("loss");
        let recon = output.loss(r, y, x, sigma); // (B): -log p(x|z,w)
        let kl = gaussian_kl::loss(r, mean, logvar, free_bits); // (Z)
        let weight_kl = self.weight_kl(r, batch.rows); // (P)

        self.decoder.kl_backward(r, prior_sigma, scale * self.share(batch.rows));
        self.encoder.kl_backward(r, prior_sigma, scale * self.share(batch.rows));
        r.scope("loss");
        let dy = output.backward(r, recon, batch.weight);
        let dz = self.decoder.backward(r, decoder, dy);
        r.scope("latent");
        let (dmean, dlogvar) = gaussian_kl::backward(r, [mean, logvar, kl], batch.clock, scale, free_bits);
        reparameterise::backward(r, logvar, noise, dz, dmean, dlogvar);
        let dh = joint::concat(r, dmean, dlogvar);
        self.encoder.backward_parameters(r, encoder, dh);
        vec![recon.rows, kl, weight_kl]
    }
    // ANCHOR_END: step

    /// The mean over S draws of the weights, each with a z of its own.
    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let Settings { output, sigma, latent, weight_draws: draws, .. } = self.config.networks;
        let x = batch.pictures(r, PICTURES);
        let x = repeat::forward(r, x, draws); // (B S,D)
        let (h, _) = self.encoder.forward(r, x, draw);
        r.scope("latent");
        let (mean, logvar) = joint::split(r, h, latent);
        let noise = draw.latent(r, mean.shape());
        let z = reparameterise::forward(r, mean, logvar, noise);
        let (y, _) = self.decoder.forward(r, z, draw);
        r.scope("loss");
        let recon = output.loss(r, y, x, sigma).rows; // (B S)
        let kl = gaussian_kl::loss(r, mean, logvar, 0.0); // (Z), of B S rows
        let [recon, kl] = [recon, kl].map(|sum| joint::scale(r, sum, 1.0 / draws as f32));
        vec![recon, kl, self.weight_kl(r, batch.rows)]
    }

    fn views(&self) -> Vec<View> {
        let (x, z) = (Kind::Picture(self.shape), Kind::Vector(self.config.networks.latent));
        vec![
            View::new("encode").takes("x", x).gives("mean", z).gives("logvar", z),
            View::new("decode").takes("z", z).gives("x", x),
            View::new("reconstruct").takes("x", x).gives("reconstruction", x),
            View::new("likelihood").takes("x", x).takes("z", z).gives("recon", Kind::Vector(1)),
            View::new("disagreement").takes("x", x).gives("mean", x).gives("deviation", x),
        ]
    }

    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], draw: &mut Draw) -> Vec<Tensor> {
        match (name, inputs) {
            ("encode", &[x]) => self.encode(r, x).into(),
            ("decode", &[z]) => vec![self.decode(r, z)],
            ("reconstruct", &[x]) => {
                let [mean, _] = self.encode(r, x);
                vec![self.decode(r, mean)]
            }
            ("likelihood", &[x, z]) => {
                let y = self.decoder.mean(r, z);
                let Settings { output, sigma, .. } = self.config.networks;
                let rows = output.loss(r, y, x, sigma).rows;
                vec![rows.reshape(&[rows.len(), 1])]
            }
            ("disagreement", &[x]) => self.disagreement(r, x, draw).into(),
            _ => panic!("bayesian has no view {name} of {} inputs", inputs.len()),
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        let Settings { hidden, latent, .. } = &self.config.networks;
        let sizes = [&[self.shape.iter().product()], &hidden[..], &[*latent]].concat();
        sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("-")
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        let logvar = self.config.networks.initial_logvar as f32;
        [self.encoder.initial(rng, logvar), self.decoder.initial(rng, logvar)].concat()
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.divergence.knob()]
    }

    fn output(&self) -> Option<Likelihood> {
        Some(self.config.networks.output)
    }
}

/// Pictures of the weights that `disagreement` draws: enough for a standard deviation within a fifth of itself.
const DRAWS: usize = 16;

impl Bayesian {
    // ANCHOR: disagreement
    /// Mean and standard deviation of a picture's reconstruction over draws of the weights, z staying the mean of
    /// q(z|x): what is left is what the training pictures did not settle. x (B,D) to (B,D) each.
    fn disagreement(&self, r: &mut Recorder, x: Tensor, draw: &mut Draw) -> [Tensor; 2] {
        let x = repeat::forward(r, x, DRAWS);
        let (h, _) = self.encoder.forward(r, x, draw);
        let (z, _) = joint::split(r, h, self.config.networks.latent);
        let (y, _) = self.decoder.forward(r, z, draw);
        let pictures = self.config.networks.output.generate(r, y);
        spread::forward(r, pictures, DRAWS).into()
    }
    // ANCHOR_END: disagreement
}
