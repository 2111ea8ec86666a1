//! The conditional VAE (Sohn, Lee & Yan 2015): a VAE whose encoder and decoder are told the label.
//!
//!   -ELBO(x|y) = E_q[-log p(x|z,y)] + KL(q(z|x,y) || N(0,1)),   q(z|x,y) = N(mean(x,y), e^logvar(x,y))
//!
//! The label stands beside what each network takes, as K numbers of which one is 1. A listed encoder, which sees
//! pictures, gets it as K more channels, each all 0 or all 1. B batch, D = C H W pixels, K classes, Z latent
//! dimensions, S samples of z a picture: 1, unless `importance` says more, for the tighter bound of
//! [`parts::bound`](super::parts::bound), which calls them K.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::beside;
use super::parts::bound::Importance;
use super::parts::decoder::Decoder;
use super::parts::gaussian::Gaussian;
use super::parts::likelihood::Likelihood;
use super::parts::network::Shape;
use super::parts::networks::{Divergence, Networks};
use super::parts::{complete, read, reads};
use super::{Entry, Knob, Losses, Model, View, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, LABELS, PICTURES};
use crate::error::Result;
use crate::kernels::joint;
use crate::layers::Mode;
use crate::program::Recorder;
use crate::tensor::Tensor;

// ANCHOR: entry
/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "conditional",
    about: "a VAE that is told the label: draws what is asked for (Sohn et al. 2015)",
    formula: "-ELBO(x|y) = E_q[-log p(x|z,y)] + kl_weight KL(q(z|x,y) || N(0,1))   (Sohn, Lee & Yan, NeurIPS 2015)",
    takes: &[PICTURES, LABELS],
    terms: Importance::terms,
    keys: &[Networks::KEYS, Divergence::KEYS, Importance::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: Networks::overlay,
    fill_in: |_, _| Ok(()),
    presets: &presets::CONDITIONAL,
    open: |arena, table, columns| Ok(Box::new(Conditional::open(arena, read(table)?, columns)?)),
};
// ANCHOR_END: entry

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Encoder and decoder.
    #[serde(flatten)]
    pub networks: Networks,
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
pub struct Conditional {
    config: Config,
    /// (C,H,W)
    shape: [usize; 3],
    /// K
    classes: usize,
    /// What the encoder takes: the picture and the label.
    input: Shape,
    encoder: Gaussian,
    decoder: Decoder,
}

impl Conditional {
    /// Declares the parameters for pictures and labels of the columns. Errors: settings out of range, no labels,
    /// networks that do not fit.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Conditional> {
        let (shape, classes) = (columns.picture(PICTURES)?, columns.label(LABELS)?);
        let input = beside::shape(&config.networks, shape, classes);
        let latent = config.networks.latent + classes;
        config.check()?;
        config.networks.fit(input, latent, shape)?;
        let encoder = Gaussian::new(arena, &config.networks, input, config.divergence.free_bits);
        let encoder = encoder.weighing(&config.importance);
        let decoder = Decoder::new(arena, &config.networks, latent, shape);
        Ok(Conditional { config, shape, classes, input, encoder, decoder })
    }
}

impl Model for Conditional {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES); // (B,D)
        let y = batch.one_hot(r, LABELS); // (B,K)

        let xy = beside::join(r, x, y, self.input);
        let (z, q) = self.encoder.sample(r, xy, draw, batch.mode); // (B*S,Z): z ~ q(z|x,y)
        let (x, y) = (self.encoder.repeat(r, x), self.encoder.repeat(r, y)); // as many rows as z
        let zy = joint::concat(r, z, y); // (B*S,Z+K)
        let (out, decoder) = self.decoder.forward(r, zy, batch.mode); // (B*S,D): logits or means
        let recon = self.decoder.loss(r, out, x); // (B*S): -log p(x|z,y)
        let bound = self.encoder.bound(r, &q, recon.rows, batch); // recon and KL(q(z|x,y) || N(0,1)), or -L_K

        let dout = self.decoder.loss_backward(r, recon, bound.rows);
        let dzy = self.decoder.backward(r, decoder, dout);
        let (dz, _dy) = joint::split(r, dzy, self.config.networks.latent); // a label is given: nothing trains it
        self.encoder.backward_bound(r, q, bound.saved, dz, batch);
        bound.terms
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let (x, y) = (batch.pictures(r, PICTURES), batch.one_hot(r, LABELS));
        let xy = beside::join(r, x, y, self.input);
        let (z, q) = self.encoder.sample(r, xy, draw, Mode::Evaluate);
        let (x, y) = (self.encoder.repeat(r, x), self.encoder.repeat(r, y));
        let zy = joint::concat(r, z, y);
        let (out, _) = self.decoder.forward(r, zy, Mode::Evaluate);
        let recon = self.decoder.loss(r, out, x);
        self.encoder.whole_bound(r, &q, recon.rows, batch)
    }

    // ANCHOR: views
    fn views(&self) -> Vec<View> {
        let (x, z) = (Kind::Picture(self.shape), Kind::Vector(self.config.networks.latent));
        let y = Kind::Label(self.classes);
        vec![
            View::new("encode").takes("x", x).takes("label", y).gives("mean", z).gives("logvar", z),
            View::new("decode").takes("z", z).takes("label", y).gives("x", x),
            View::new("reconstruct").takes("x", x).takes("label", y).gives("reconstruction", x),
            View::new("score")
                .takes("x", x)
                .takes("label", y)
                .gives("recon", Kind::Vector(1))
                .gives("mean", z)
                .gives("logvar", z),
            View::new("likelihood").takes("x", x).takes("z", z).takes("label", y).gives("recon", Kind::Vector(1)),
            View::new("fill")
                .takes("x", x)
                .takes("seen", x)
                .takes("z", z)
                .takes("label", y)
                .gives("filled", x)
                .gives("dz", z),
        ]
    }
    // ANCHOR_END: views

    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], _: &mut Draw) -> Vec<Tensor> {
        match (name, inputs) {
            ("likelihood", &[x, z, y]) => {
                let zy = joint::concat(r, z, y);
                return vec![self.decoder.recon(r, zy, x)];
            }
            ("fill", &[x, seen, z, y]) => {
                let zy = joint::concat(r, z, y);
                let [filled, dzy] = self.decoder.fill(r, [x, seen, zy]);
                let (dz, _dy) = joint::split(r, dzy, self.config.networks.latent);
                return vec![filled, dz];
            }
            _ => {}
        }
        let &[input, y] = inputs else { panic!("conditional has no view {name} of {} inputs", inputs.len()) };
        if name == "decode" {
            let zy = joint::concat(r, input, y);
            return vec![self.decoder.generate(r, zy)];
        }
        let xy = beside::join(r, input, y, self.input);
        let q = self.encoder.forward(r, xy, Mode::Evaluate);
        let zy = joint::concat(r, q.mean, y);
        match name {
            "encode" => vec![q.mean, q.logvar],
            "reconstruct" => vec![self.decoder.generate(r, zy)],
            "score" => vec![self.decoder.recon(r, zy, input), q.mean, q.logvar],
            _ => panic!("conditional has no view {name}"),
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
        vec![self.config.divergence.knob()]
    }

    fn output(&self) -> Option<Likelihood> {
        Some(self.config.networks.output)
    }

    fn check_batch(&self, batch_size: usize) -> Result<()> {
        self.config.importance.check_batch(batch_size)?;
        self.config.networks.check_batch(batch_size, self.input, self.config.networks.latent + self.classes)
    }
}
