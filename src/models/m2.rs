//! M2 of Kingma, Mohamed, Rezende & Welling (2014, arXiv 1406.5298): a VAE that is told the label, and a classifier
//! that says it where it is not known. With `features` it models the latents of a trained VAE: M1+M2.
//!
//!   L(x,y) = E_q[-log p(x|z,y)] + KL(q(z|x,y) || N(0,1)) + log K      bounds -log p(x,y), where y is known (eq. 6)
//!   U(x)   = sum_y q(y|x) L(x,y) - H(q(y|x))                          bounds -log p(x), where it is not (eq. 7)
//!   J      = sum_labelled [L(x,y) - w log q(y|x)] + sum_others U(x),  w = alpha N/N_l (eq. 9)
//!
//! The label is summed out exactly. Encoder and decoder see each picture under each of the K labels, and row (x,y)
//! counts pi(y): q(y|x), or 1 at the label where it is known and 0 elsewhere. L and U are then one sum, since
//! log K - H(pi) = KL(pi || uniform) is log K for a known label:
//!
//!   sum_y pi(y) [E_q[-log p(x|z,y)] + KL(q(z|x,y) || N(0,1))] + KL(pi || uniform)
//!
//! B batch, D numbers of a picture (or of its features), K classes, Z latent dimensions, N examples of which N_l have
//! a label. `docs/src/semi_supervised.md` derives the gradient to the classifier.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::classifier::{CLASSIFY, Classifier, ERROR, Supervision};
use super::parts::decoder::Decoder;
use super::parts::features::{FeatureKeys, Features};
use super::parts::gaussian::Gaussian;
use super::parts::likelihood::Likelihood;
use super::parts::network::Shape;
use super::parts::networks::{Divergence, Networks, require};
use super::parts::{beside, complete, read, reads};
use super::vae::{KL, RECON};
use super::{Entry, Knob, Losses, Model, Term, View, Weight, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, LABELS, PICTURES};
use crate::error::{Error, Result};
use crate::kernels::rows::Rows;
use crate::kernels::{enumerate, gaussian_kl, joint, marginal};
use crate::layers::Mode;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The divergence of the label.
pub const KL_Y: Term =
    Term { name: "kl_y", weight: Weight::One, about: "KL(q(y|x) || uniform); log K where the label is known" };

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "m2",
    about: "a VAE told the label, and a classifier where it is unknown, the label summed out (Kingma et al. 2014)",
    formula: "L(x,y) + alpha N/N_labelled -log q(y|x) with a label, sum_y q(y|x) L(x,y) - H(q(y|x)) without one   \
              (arXiv 1406.5298)",
    takes: &[PICTURES, LABELS],
    terms: |_| &[RECON, KL, KL_Y, CLASSIFY, ERROR],
    keys: &[Networks::KEYS, Supervision::KEYS, FeatureKeys::KEYS, Divergence::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: Networks::overlay,
    fill_in: |_, _| Ok(()),
    presets: &presets::M2,
    open: |arena, table, columns| Ok(Box::new(M2::open(arena, read(table)?, columns)?)),
};

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Encoder and decoder.
    #[serde(flatten)]
    pub networks: Networks,
    /// The labels and the classifier.
    #[serde(flatten)]
    pub supervision: Supervision,
    /// What is modelled in the pictures' place.
    #[serde(flatten)]
    pub features: FeatureKeys,
    /// The KL term.
    #[serde(flatten)]
    pub divergence: Divergence,
}

impl Config {
    fn check(&self) -> Result<()> {
        self.networks.check()?;
        self.supervision.check()?;
        self.features.check()?;
        self.divergence.check()?;
        let free = self.divergence.free_bits;
        require(free == 0.0, "free_bits", free, "must be 0 in this model, whose rows have weights")?;
        if self.networks.output == Likelihood::OptimalSigma {
            return Err(Error::Usage(
                "output is optimal_sigma, which is one of all rows, and here they have weights".into(),
            ));
        }
        if !self.features.feature_hidden.is_empty() {
            if self.networks.encoder.is_some() {
                return Err(Error::Usage("encoder is listed, but features are no pictures: give hidden sizes".into()));
            }
            if !matches!(self.networks.output, Likelihood::Gaussian | Likelihood::Laplace) {
                return Err(Error::Usage("features are any numbers: output must be gaussian or laplace".into()));
            }
        }
        Ok(())
    }
}

/// The model.
pub struct M2 {
    config: Config,
    /// (C,H,W)
    shape: [usize; 3],
    /// K
    classes: usize,
    /// What the encoder takes: the picture, or its features, and the label.
    input: Shape,
    features: Option<Features>,
    classifier: Classifier,
    encoder: Gaussian,
    decoder: Decoder,
}

impl M2 {
    /// Declares the parameters for pictures and labels of the columns. Errors: settings out of range, no labels,
    /// networks that do not fit.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<M2> {
        let (shape, classes) = (columns.picture(PICTURES)?, columns.label(LABELS)?);
        config.check()?;
        let features = Features::new(arena, &config.features, shape.iter().product());
        let modelled = if features.is_some() { [1, 1, config.features.feature_latent] } else { shape };
        let input = beside::shape(&config.networks, modelled, classes);
        let latent = config.networks.latent + classes;
        config.networks.fit(input, latent, modelled)?;
        let numbers = modelled.iter().product();
        let classifier = Classifier::new(arena, &config.supervision, &config.networks, numbers, classes);
        let encoder = Gaussian::new(arena, &config.networks, input, 0.0);
        let decoder = Decoder::new(arena, &config.networks, latent, modelled);
        Ok(M2 { config, shape, classes, input, features, classifier, encoder, decoder })
    }

    /// What is modelled of pictures x, (B,D): themselves, or their latents, sampled to train on.
    fn modelled(&self, r: &mut Recorder, x: Tensor, draw: Option<&mut Draw>) -> Tensor {
        match (&self.features, draw) {
            (None, _) => x,
            (Some(features), Some(draw)) => features.sample(r, x, draw),
            (Some(features), None) => features.means(r, x),
        }
    }

    /// Decoder inputs (z,y) (B,Z+K) to pictures (B,D).
    fn generate(&self, r: &mut Recorder, zy: Tensor) -> Tensor {
        let y = self.decoder.generate(r, zy);
        match &self.features {
            None => y,
            Some(features) => features.pictures(r, y),
        }
    }
}

/// The sum over y of pi(y) times the rows (B*K), in parts of that shape: a term.
fn weighed(r: &mut Recorder, rows: Tensor, pi: Tensor) -> Tensor {
    let n = rows.len();
    joint::weigh(r, rows.reshape(&[n, 1]), pi.reshape(&[n]))
}

impl Model for M2 {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES);
        let x = self.modelled(r, x, Some(draw)); // (B,D)
        let y = batch.one_hot(r, LABELS); // (B,K): a row of zeros where there is no label
        let [b, k] = y.matrix();

        let (logits, classifier) = self.classifier.forward(r, x, batch.mode); // (B,K): of q(y|x)
        let pi = marginal::weights(r, logits, y); // (B,K): the label, or q(y|x)
        let (xs, ys) = (enumerate::rows(r, x, k), enumerate::labels(r, b, k)); // (BK,D), (BK,K): each x under each y
        let xy = beside::join(r, xs, ys, self.input);
        let (z, q) = self.encoder.sample(r, xy, draw, batch.mode); // (BK,Z): z ~ q(z|x,y)
        let zy = joint::concat(r, z, ys); // (BK,Z+K)
        let (out, decoder) = self.decoder.forward(r, zy, batch.mode); // (BK,D): logits or means
        let recon = self.decoder.loss(r, out, xs); // (BK): -log p(x|z,y)
        let kl = gaussian_kl::rows(r, q.mean, q.logvar); // (BK): KL(q(z|x,y) || N(0,1))
        let kl_y = marginal::loss(r, pi); // (B): KL(pi || uniform)
        let [classify, error] = self.classifier.loss(r, logits, y, batch); // (B): -w log q(y|x), and whether wrong

        let costs = [pi, recon.rows.reshape(&[b, k]), kl.reshape(&[b, k])];
        let [dpi] = batch.weight.apply(r, |r, scale| [marginal::backward(r, costs, batch.clock, scale)]);
        let dlogits = self.classifier.loss_backward(r, logits, y, batch);
        let dlogits = joint::add(r, dlogits, dpi, 1.0); // (B,K)
        self.classifier.backward_parameters(r, classifier, dlogits);
        let [weights] = batch.weight.apply(r, |r, scale| [joint::scale(r, pi, scale)]);
        let batch = batch.weighed(Rows::Weights(weights.reshape(&[b * k]))); // a row counts as much as its label
        let dout = self.decoder.loss_backward(r, recon, batch.weight);
        let dzy = self.decoder.backward(r, decoder, dout);
        let (dz, _dy) = joint::split(r, dzy, self.config.networks.latent);
        self.encoder.backward(r, q, kl, dz, &batch);
        vec![weighed(r, recon.rows, pi), weighed(r, kl, pi), kl_y, classify, error]
    }
    // ANCHOR_END: step

    /// Test pictures are judged by U(x), as if they had no label; the classifier by their labels.
    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let (x, y) = (batch.pictures(r, PICTURES), batch.one_hot(r, LABELS));
        let x = self.modelled(r, x, None);
        let [b, k] = y.matrix();
        let (logits, _) = self.classifier.forward(r, x, Mode::Evaluate);
        let none = r.tensor("labels", &[b, k]); // zeros: nothing writes them
        let pi = marginal::weights(r, logits, none);
        let (xs, ys) = (enumerate::rows(r, x, k), enumerate::labels(r, b, k));
        let xy = beside::join(r, xs, ys, self.input);
        let (z, q) = self.encoder.sample(r, xy, draw, Mode::Evaluate);
        let zy = joint::concat(r, z, ys);
        let (out, _) = self.decoder.forward(r, zy, Mode::Evaluate);
        let recon = self.decoder.loss(r, out, xs);
        let kl = gaussian_kl::rows(r, q.mean, q.logvar);
        let kl_y = marginal::loss(r, pi);
        let [classify, error] = self.classifier.loss(r, logits, y, batch);
        vec![weighed(r, recon.rows, pi), weighed(r, kl, pi), kl_y, classify, error]
    }

    fn views(&self) -> Vec<View> {
        let (x, z) = (Kind::Picture(self.shape), Kind::Vector(self.config.networks.latent));
        let y = Kind::Label(self.classes);
        vec![
            View::new("encode").takes("x", x).takes("label", y).gives("mean", z).gives("logvar", z),
            View::new("decode").takes("z", z).takes("label", y).gives("x", x),
            View::new("reconstruct").takes("x", x).takes("label", y).gives("reconstruction", x),
            View::new("classify").takes("x", x).gives("label", y),
        ]
    }

    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], _: &mut Draw) -> Vec<Tensor> {
        match (name, inputs) {
            ("decode", &[z, y]) => {
                let zy = joint::concat(r, z, y);
                vec![self.generate(r, zy)]
            }
            ("classify", &[x]) => {
                let x = self.modelled(r, x, None);
                vec![self.classifier.probabilities(r, x)]
            }
            ("encode" | "reconstruct", &[x, y]) => {
                let x = self.modelled(r, x, None);
                let xy = beside::join(r, x, y, self.input);
                let q = self.encoder.forward(r, xy, Mode::Evaluate);
                if name == "encode" {
                    return vec![q.mean, q.logvar];
                }
                let zy = joint::concat(r, q.mean, y);
                vec![self.generate(r, zy)]
            }
            _ => panic!("m2 has no view {name} of {} inputs", inputs.len()),
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
        [self.classifier.initial(rng), self.encoder.initial(rng), self.decoder.initial(rng)].concat()
    }

    fn constants(&self) -> Result<Vec<(Tensor, Vec<f32>)>> {
        self.features.as_ref().map_or(Ok(Vec::new()), Features::values)
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.divergence.knob()]
    }

    fn check_batch(&self, batch_size: usize) -> Result<()> {
        self.config.networks.check_batch(batch_size, self.input, self.config.networks.latent + self.classes)
    }
}
