//! Recommendation by a VAE: Mult-VAE of Liang, Krishnan, Hoffman & Jebara (2018, arXiv 1802.05814), and the same with a
//! Bernoulli for each item.
//!
//! A user is a row x of I zeros and ones, which items they chose, n = sum_i x_i of them. Minimised is, in nats,
//!
//!   L(x) = E_q(z|x)[-log p(x|z)] + kl_weight KL(q(z|x) || N(0,1)),   q(z|x) = N(mean(x'), e^logvar(x'))
//!
//!   multinomial   log p(x|z) = sum_i x_i log softmax_i(f(z))      n draws from one distribution over the items
//!   bernoulli     log p(x|z) = sum_i log Bernoulli(x_i | sigmoid(f_i(z)))
//!
//! What the encoder sees is x' = x / |x|, of which each element is dropped with probability p while training and the
//! others are divided by 1 - p. The KL weight rises to 0.2 and not to 1: the model is to rank, not to draw users.
//! Weights start as Glorot & Bengio (2010) draw them. Asked for items, it takes z = mean(x / |x|); logits f(z) rank.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::gaussian::Gaussian;
use super::parts::mlp;
use super::parts::network::Shape;
use super::parts::networks::{Divergence, LARGEST_SIZE, Networks, require};
use super::parts::{complete, read, reads};
use super::vae::{KL, RECON};
use super::{Entry, Knob, Losses, Model, View, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, ITEMS, Kind};
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::corrupt::{self, Corruption};
use crate::kernels::rows::Rows;
use crate::kernels::{bce, multinomial, normalise};
use crate::layers::sequential::Sequential;
use crate::layers::{Mode, xavier};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "recommendation",
    about: "Mult-VAE: which items a user will like, from those that they liked (Liang et al. 2018)",
    formula: "E_q[-sum_i x_i log softmax_i(f(z))] + kl_weight KL(q(z|x) || N(0,1))   (arXiv 1802.05814)",
    takes: &[ITEMS],
    terms: |_| &[RECON, KL],
    keys: &[Preferences::KEYS, Divergence::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: |_, _| (),
    fill_in: |_, _| Ok(()),
    presets: &presets::RECOMMENDATION,
    open: |arena, table, columns| Ok(Box::new(Recommendation::open(arena, read(table)?, columns)?)),
};

/// The distribution of a user's items given the logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// As many draws as the user has items from one distribution: items compete.
    Multinomial,
    /// Each item for itself.
    Bernoulli,
}

crate::keys! {
    /// The networks, and how a user is read.
    Preferences {
        "Model" {
            likelihood: Preference = Preference::Multinomial, "NAME",
                "Distribution of a user's items: multinomial (draws from one softmax) or bernoulli (each item for \
                 itself)";
            hidden: Vec<usize> = vec![600], "N",
                "Sizes of the encoder's hidden layers; the decoder mirrors them";
            latent: usize = 200, "N", "Number of latent dimensions";
            activation: Activation = Activation::Tanh, "NAME", "Nonlinearity after each hidden layer";
            normalise: bool = true, "true or false",
                "Divide what the encoder sees of a user by its Euclidean length";
            dropout: f64 = 0.5, "P",
                "Share of what the encoder sees of a user that is dropped, anew at each step; needs normalise";
        }
    }
}

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The networks.
    #[serde(flatten)]
    pub preferences: Preferences,
    /// The KL term.
    #[serde(flatten)]
    pub divergence: Divergence,
}

impl Config {
    fn check(&self) -> Result<()> {
        self.networks().check()?;
        let dropout = self.preferences.dropout;
        require((0.0..1.0).contains(&dropout), "dropout", dropout, "must be at least 0 and below 1")?;
        let scales = self.preferences.normalise || dropout == 0.0;
        require(
            scales,
            "dropout",
            dropout,
            "must be 0 where normalise is false: what is left is scaled with the length",
        )?;
        self.divergence.check()
    }

    /// As the parts take them.
    fn networks(&self) -> Networks {
        let Preferences { hidden, latent, activation, .. } = self.preferences.clone();
        Networks { hidden, latent, activation, ..Networks::default() }
    }
}

/// The model.
pub struct Recommendation {
    config: Config,
    /// I
    items: usize,
    encoder: Gaussian,
    decoder: Sequential,
}

impl Recommendation {
    /// Declares the parameters for the items of the columns. Errors: settings out of range, no column of items.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Recommendation> {
        let items = columns.items(ITEMS)?;
        config.check()?;
        let networks = config.networks();
        require(items <= LARGEST_SIZE, "the number of items", items, &format!("must be at most {LARGEST_SIZE}"))?;
        let encoder = Gaussian::new(arena, &networks, Shape::Vector(items), config.divergence.free_bits);
        let decoder = mlp::decoder(arena, &networks, networks.latent, items);
        Ok(Recommendation { config, items, encoder, decoder })
    }

    /// x (B,I) as the encoder sees it: at length 1; while training some of it is dropped, and the rest is longer.
    fn seen(&self, r: &mut Recorder, x: Tensor, draw: &mut Draw, mode: Mode) -> Tensor {
        if !self.config.preferences.normalise {
            return x;
        }
        let p = self.config.preferences.dropout as f32;
        r.scope("encoder");
        match mode {
            Mode::Train { .. } if p > 0.0 => {
                let x = normalise::forward(r, x, 1.0 / (1.0 - p));
                let noise = draw.uniform(r, x.shape());
                corrupt::forward(r, x, noise, Corruption::Mask(p))
            }
            _ => normalise::forward(r, x, 1.0),
        }
    }

    /// -log p(x|z) of each row in nats, for logits y (B,I) and x (B,I).
    fn loss(&self, r: &mut Recorder, y: Tensor, x: Tensor) -> Loss {
        r.scope("loss");
        match self.config.preferences.likelihood {
            Preference::Multinomial => Loss::Multinomial(multinomial::loss(r, y, x)),
            Preference::Bernoulli => Loss::Bernoulli { rows: bce::loss(r, y, x), y, x },
        }
    }
}

/// A recorded -log p(x|z), and what its backward needs.
enum Loss {
    Multinomial(multinomial::Loss),
    Bernoulli { rows: Tensor, y: Tensor, x: Tensor },
}

impl Loss {
    /// (B)
    fn rows(&self) -> Tensor {
        match self {
            Loss::Multinomial(loss) => loss.rows,
            Loss::Bernoulli { rows, .. } => *rows,
        }
    }

    /// dy (B,I) of the weighted sum of the rows.
    fn backward(self, r: &mut Recorder, weight: Rows) -> Tensor {
        r.scope("loss");
        match self {
            Loss::Multinomial(loss) => multinomial::backward(r, loss, weight),
            Loss::Bernoulli { y, x, .. } => {
                let [dy] = weight.apply(r, |r, scale| [bce::backward(r, y, x, scale)]);
                dy
            }
        }
    }
}

impl Model for Recommendation {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.items(r, ITEMS); // (B,I): 1 where the user chose the item

        let seen = self.seen(r, x, draw, batch.mode); // (B,I): x / |x|, half of it dropped
        let (z, q) = self.encoder.sample(r, seen, draw, batch.mode); // (B,Z): z ~ q(z|x)
        let (y, decoder) = self.decoder.forward(r, z, batch.mode); // (B,I): logits
        let recon = self.loss(r, y, x); // (B): -log p(x|z), of all items
        let (rows, kl) = (recon.rows(), self.encoder.kl(r, &q)); // (Z): KL(q(z|x) || N(0,1))

        let dy = recon.backward(r, batch.weight);
        let dz = self.decoder.backward(r, decoder, dy);
        self.encoder.backward(r, q, kl, dz, batch);
        vec![rows, kl]
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.items(r, ITEMS);
        let seen = self.seen(r, x, draw, Mode::Evaluate);
        let (z, q) = self.encoder.sample(r, seen, draw, Mode::Evaluate);
        let (y, _) = self.decoder.forward(r, z, Mode::Evaluate);
        vec![self.loss(r, y, x).rows(), self.encoder.whole_kl(r, &q)]
    }

    fn views(&self) -> Vec<View> {
        let (x, z) = (Kind::Items(self.items), Kind::Vector(self.config.preferences.latent));
        vec![
            View::new("encode").takes(ITEMS, x).gives("mean", z).gives("logvar", z),
            View::new("recommend").takes(ITEMS, x).gives("scores", Kind::Vector(self.items)),
        ]
    }

    /// `recommend` gives a score for every item, those that are there too; the higher the better.
    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], draw: &mut Draw) -> Vec<Tensor> {
        let &[x] = inputs else { panic!("recommendation has no view {name} of {} inputs", inputs.len()) };
        let seen = self.seen(r, x, draw, Mode::Evaluate);
        let q = self.encoder.forward(r, seen, Mode::Evaluate);
        match name {
            "encode" => vec![q.mean, q.logvar],
            "recommend" => vec![self.decoder.forward(r, q.mean, Mode::Evaluate).0],
            _ => panic!("recommendation has no view {name}"),
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        self.config.networks().describe(Shape::Vector(self.items))
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        let parameters = [self.encoder.initial(rng), self.decoder.initial(rng)].concat();
        parameters.into_iter().map(|(parameter, _)| (parameter, xavier(rng, parameter))).collect()
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.divergence.knob()]
    }
}
