//! A classifier of pictures, whose features tell how much pictures look alike.
//!
//!   L(x,y) = -log q(y|x),   q(y|x) = softmax(W f(x) + b)
//!
//! in nats. f(x) are the numbers that the listed network leaves, one linear layer before the classes. The Fréchet
//! distance and the other metrics of `elbo eval --metrics` are of f(x) and q(y|x); see `src/fidelity/`.
//! B batch, D = C H W pixels, F features, K classes.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::Batch;
use super::draw::Draw;
use super::parts::encoder::Encoder;
use super::parts::network::{Network, Shape};
use super::parts::networks::lone_batch_norm;
use super::parts::{complete, read, reads};
use super::{Entry, Losses, Model, Term, View, Weight, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, LABELS, PICTURES};
use crate::error::Result;
use crate::kernels::{cross_entropy, marginal};
use crate::keys;
use crate::layers::Mode;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "classifier",
    about: "a classifier of pictures, whose features tell how much pictures look alike (`elbo eval --metrics`)",
    formula: "L(x,y) = -log q(y|x), q(y|x) = softmax(W f(x) + b)",
    takes: &[PICTURES, LABELS],
    terms: |_| &[CLASSIFY, ERROR],
    keys: &[Body::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |_| Ok(()),
    overlay: |_, _| (),
    fill_in: |_, _| Ok(()),
    presets: &presets::CLASSIFIER,
    open: |arena, table, columns| Ok(Box::new(Classifier::open(arena, read(table)?, columns)?)),
};

const CLASSIFY: Term = Term { name: "classify", weight: Weight::One, about: "-log q(y|x)" };
const ERROR: Term =
    Term { name: "error", weight: Weight::Zero, about: "share of the pictures taken for another class" };

keys! {
    /// The network.
    Body {
        "Model" {
            body: Network = "flatten, linear 64, relu".parse().expect("a network"), "LAYERS",
                "The layers from a picture to its features, as those of --encoder; one linear layer to the classes \
                 follows";
        }
    }
}

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The network.
    #[serde(flatten)]
    pub network: Body,
}

/// The model.
pub struct Classifier {
    config: Config,
    /// (C,H,W)
    shape: [usize; 3],
    /// F
    features: usize,
    /// K
    classes: usize,
    /// The listed network and the layer of the classes.
    network: Encoder,
}

impl Classifier {
    /// Declares the parameters, `body.0` and so on and `fc`, for pictures and labels of the columns. Errors: no labels,
    /// a network that does not fit.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Classifier> {
        let (shape, classes) = (columns.picture(PICTURES)?, columns.label(LABELS)?);
        let body = &config.network.body;
        let features = body.sizes("body", Shape::Picture(shape))?.0.len();
        let network = Encoder::listed(arena, "body", body, shape, Some(("fc", classes)));
        Ok(Classifier { config, shape, features, classes, network })
    }
}

impl Model for Classifier {
    fn step(&self, r: &mut Recorder, batch: &Batch, _: &mut Draw) -> Losses {
        let (x, y) = (batch.pictures(r, PICTURES), batch.one_hot(r, LABELS)); // (B,D), (B,K)
        let (logits, saved) = self.network.forward(r, x, batch.mode); // (B,K)
        r.scope("loss");
        let losses = [cross_entropy::loss(r, logits, y), cross_entropy::errors(r, logits, y)];

        let backward = |r: &mut Recorder, scale| [cross_entropy::backward(r, logits, y, scale)];
        let [dlogits] = batch.weight.apply(r, backward);
        self.network.backward(r, saved, dlogits);
        losses.into()
    }

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, _: &mut Draw) -> Losses {
        let (x, y) = (batch.pictures(r, PICTURES), batch.one_hot(r, LABELS));
        let (logits, _) = self.network.forward(r, x, Mode::Evaluate);
        vec![cross_entropy::loss(r, logits, y), cross_entropy::errors(r, logits, y)]
    }

    fn views(&self) -> Vec<View> {
        let x = Kind::Picture(self.shape);
        vec![
            View::new("classify").takes("x", x).gives("label", Kind::Label(self.classes)),
            View::new("features").takes("x", x).gives("features", Kind::Vector(self.features)),
        ]
    }

    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], _: &mut Draw) -> Vec<Tensor> {
        match (name, inputs) {
            ("features", &[x]) => vec![self.network.features(r, x)],
            ("classify", &[x]) => {
                let (logits, _) = self.network.forward(r, x, Mode::Evaluate);
                vec![marginal::probabilities(r, logits)]
            }
            _ => panic!("classifier has no view {name} of {} inputs", inputs.len()),
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        format!("{}-{}-{}", Shape::Picture(self.shape), self.features, self.classes)
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        self.network.initial(rng)
    }

    fn check_batch(&self, batch_size: usize) -> Result<()> {
        let body = Some(self.config.network.body.clone());
        lone_batch_norm(batch_size, &[("body", &body, Shape::Picture(self.shape))])
    }
}
