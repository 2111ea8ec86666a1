//! A VAE with a classifier on z, for data of which few examples have a label.
//!
//!   L(x,y) = E_q[-log p(x|z)] + KL(q(z|x) || N(0,1)) + w E_q[-log q(y|z)],   w = alpha N/N_l, 0 without a label
//!
//! With `detach` the classifier's gradient ends at z: the VAE learns from the pictures alone, and the classifier from
//! the features that it finds. That is M1 of Kingma, Mohamed, Rezende & Welling 2014 (arXiv 1406.5298), whose two
//! trainings run side by side here. B batch, D = C H W pixels, K classes, Z latent dimensions, N examples of which N_l
//! have a label.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::classifier::{CLASSIFY, Classifier, ERROR, Supervision};
use super::parts::decoder::Decoder;
use super::parts::gaussian::Gaussian;
use super::parts::network::Shape;
use super::parts::networks::{Divergence, Networks};
use super::parts::{complete, read, reads};
use super::vae::{KL, RECON};
use super::{Entry, Knob, Losses, Model, View, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, LABELS, PICTURES};
use crate::error::Result;
use crate::kernels::joint;
use crate::keys;
use crate::layers::Mode;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "latent_classifier",
    about: "a VAE with a classifier on z, trained on the pictures that have a label",
    formula: "L(x,y) = E_q[-log p(x|z)] + kl_weight KL(q(z|x) || N(0,1)) + alpha N/N_labelled E_q[-log q(y|z)]",
    takes: &[PICTURES, LABELS],
    terms: |_| &[RECON, KL, CLASSIFY, ERROR],
    keys: &[Networks::KEYS, Head::KEYS, Supervision::KEYS, Divergence::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: Networks::overlay,
    fill_in: |_, _| Ok(()),
    presets: &presets::LATENT_CLASSIFIER,
    open: |arena, table, columns| Ok(Box::new(LatentClassifier::open(arena, read(table)?, columns)?)),
};

keys! {
    /// Where the classifier's gradient goes.
    Head {
        "Model" {
            detach: bool = false, "BOOL",
                "End the classifier's gradient at z, so that the VAE learns from the pictures alone (M1)";
        }
    }
}

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Encoder and decoder.
    #[serde(flatten)]
    pub networks: Networks,
    /// Where the classifier's gradient goes.
    #[serde(flatten)]
    pub head: Head,
    /// The labels and the classifier.
    #[serde(flatten)]
    pub supervision: Supervision,
    /// The KL term.
    #[serde(flatten)]
    pub divergence: Divergence,
}

impl Config {
    fn check(&self) -> Result<()> {
        self.networks.check()?;
        self.supervision.check()?;
        self.divergence.check()
    }
}

/// The model.
pub struct LatentClassifier {
    config: Config,
    /// (C,H,W)
    shape: [usize; 3],
    /// K
    classes: usize,
    encoder: Gaussian,
    decoder: Decoder,
    classifier: Classifier,
}

impl LatentClassifier {
    /// Declares the parameters for pictures and labels of the columns. Errors: settings out of range, no labels,
    /// networks that do not fit.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<LatentClassifier> {
        let (shape, classes) = (columns.picture(PICTURES)?, columns.label(LABELS)?);
        let (input, latent) = (Shape::Picture(shape), config.networks.latent);
        config.check()?;
        config.networks.fit(input, latent, shape)?;
        let encoder = Gaussian::new(arena, &config.networks, input, config.divergence.free_bits);
        let decoder = Decoder::new(arena, &config.networks, latent, shape);
        let classifier = Classifier::new(arena, &config.supervision, &config.networks, latent, classes);
        Ok(LatentClassifier { config, shape, classes, encoder, decoder, classifier })
    }
}

impl Model for LatentClassifier {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.pictures(r, PICTURES); // (B,D)
        let label = batch.one_hot(r, LABELS); // (B,K): a row of zeros where there is no label

        let (z, q) = self.encoder.sample(r, x, draw, batch.mode); // (B,Z): z ~ q(z|x)
        let (y, decoder) = self.decoder.forward(r, z, batch.mode); // (B,D): logits or means
        let (logits, classifier) = self.classifier.forward(r, z, batch.mode); // (B,K): of q(y|z)
        let recon = self.decoder.loss(r, y, x); // (B): -log p(x|z)
        let kl = self.encoder.kl(r, &q); // (Z): KL(q(z|x) || N(0,1))
        let [classify, error] = self.classifier.loss(r, logits, label, batch); // (B): -w log q(y|z), and whether wrong

        let dlogits = self.classifier.loss_backward(r, logits, label, batch);
        let dy = self.decoder.loss_backward(r, recon, batch.weight);
        let dz = self.decoder.backward(r, decoder, dy);
        let dz = match self.config.head.detach {
            true => {
                self.classifier.backward_parameters(r, classifier, dlogits);
                dz
            }
            false => {
                let dz_of_label = self.classifier.backward(r, classifier, dlogits);
                joint::add(r, dz, dz_of_label, 1.0)
            }
        };
        self.encoder.backward(r, q, kl, dz, batch);
        vec![recon.rows, kl, classify, error]
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let (x, label) = (batch.pictures(r, PICTURES), batch.one_hot(r, LABELS));
        let (z, q) = self.encoder.sample(r, x, draw, Mode::Evaluate);
        let (y, _) = self.decoder.forward(r, z, Mode::Evaluate);
        let (logits, _) = self.classifier.forward(r, q.mean, Mode::Evaluate);
        let recon = self.decoder.loss(r, y, x);
        let [classify, error] = self.classifier.loss(r, logits, label, batch);
        vec![recon.rows, self.encoder.whole_kl(r, &q), classify, error]
    }

    fn views(&self) -> Vec<View> {
        let (x, z) = (Kind::Picture(self.shape), Kind::Vector(self.config.networks.latent));
        vec![
            View::new("encode").takes("x", x).gives("mean", z).gives("logvar", z),
            View::new("decode").takes("z", z).gives("x", x),
            View::new("reconstruct").takes("x", x).gives("reconstruction", x),
            View::new("fill").takes("x", x).takes("seen", x).takes("z", z).gives("filled", x).gives("dz", z),
            View::new("classify").takes("x", x).gives("label", Kind::Label(self.classes)),
        ]
    }

    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], _: &mut Draw) -> Vec<Tensor> {
        if let ("fill", &[x, seen, z]) = (name, inputs) {
            return self.decoder.fill(r, [x, seen, z]).into();
        }
        let &[input] = inputs else { panic!("latent_classifier has no view {name} of {} inputs", inputs.len()) };
        if name == "decode" {
            return vec![self.decoder.generate(r, input)];
        }
        let q = self.encoder.forward(r, input, Mode::Evaluate);
        match name {
            "encode" => vec![q.mean, q.logvar],
            "reconstruct" => vec![self.decoder.generate(r, q.mean)],
            "classify" => vec![self.classifier.probabilities(r, q.mean)],
            _ => panic!("latent_classifier has no view {name}"),
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
        [self.encoder.initial(rng), self.decoder.initial(rng), self.classifier.initial(rng)].concat()
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.divergence.knob()]
    }

    fn check_batch(&self, batch_size: usize) -> Result<()> {
        self.config.networks.check_batch(batch_size, Shape::Picture(self.shape), self.config.networks.latent)
    }
}
