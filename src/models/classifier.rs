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
use super::parts::network::{Network, Shape};
use super::parts::networks::lone_batch_norm;
use super::parts::{complete, read, reads};
use super::{Entry, Losses, Model, Term, View, Weight, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, LABELS, PICTURES};
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::{channels, cross_entropy, marginal};
use crate::keys;
use crate::layers::Mode;
use crate::layers::linear::{self, Linear};
use crate::layers::sequential::{self, Sequential};
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
    body: Sequential,
    head: Linear,
}

/// What the backward needs of the forward.
struct Saved {
    body: sequential::Saved,
    /// Shape of what the body left.
    left: Tensor,
    head: linear::Saved,
}

impl Classifier {
    /// Declares the parameters, `body.0` and so on and `fc`, for pictures and labels of the columns. Errors: no labels,
    /// a network that does not fit.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Classifier> {
        let (shape, classes) = (columns.picture(PICTURES)?, columns.label(LABELS)?);
        let (network, input) = (&config.network.body, Shape::Picture(shape));
        let features = network.sizes("body", input)?.0.len();
        let body = network.build(arena, "body", input);
        let head = Linear::new(arena, "fc", features, classes, Activation::Identity);
        Ok(Classifier { config, shape, features, classes, body, head })
    }

    /// x (B,D) to f(x), (B,F), channels first where the body leaves a picture.
    fn features(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> (Tensor, sequential::Saved, Tensor) {
        r.scope("body");
        let x = channels::last(r, x, self.shape);
        let (left, saved) = self.body.forward(r, x, mode);
        let f = if left.shape().len() == 4 { channels::first(r, left) } else { left };
        (f, saved, left)
    }

    /// x (B,D) to the logits of q(y|x), (B,K).
    fn forward(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> (Tensor, Saved) {
        let (f, body, left) = self.features(r, x, mode);
        r.scope("fc");
        let (logits, head) = self.head.forward(r, f);
        (logits, Saved { body, left, head })
    }

    /// The parameters' gradients, from that of the logits, (B,K).
    fn backward(&self, r: &mut Recorder, saved: Saved, dlogits: Tensor) {
        r.scope("fc");
        let df = self.head.backward(r, saved.head, dlogits);
        r.scope("body");
        let dleft = match *saved.left.shape() {
            [_, h, w, c] => channels::last(r, df, [c, h, w]),
            _ => df,
        };
        self.body.backward_parameters(r, saved.body, dleft);
    }
}

impl Model for Classifier {
    fn step(&self, r: &mut Recorder, batch: &Batch, _: &mut Draw) -> Losses {
        let (x, y) = (batch.pictures(r, PICTURES), batch.one_hot(r, LABELS)); // (B,D), (B,K)
        let (logits, saved) = self.forward(r, x, batch.mode);
        r.scope("loss");
        let losses = [cross_entropy::loss(r, logits, y), cross_entropy::errors(r, logits, y)];

        let backward = |r: &mut Recorder, scale| [cross_entropy::backward(r, logits, y, scale)];
        let [dlogits] = batch.weight.apply(r, backward);
        self.backward(r, saved, dlogits);
        losses.into()
    }

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, _: &mut Draw) -> Losses {
        let (x, y) = (batch.pictures(r, PICTURES), batch.one_hot(r, LABELS));
        let (logits, _) = self.forward(r, x, Mode::Evaluate);
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
            ("features", &[x]) => vec![self.features(r, x, Mode::Evaluate).0],
            ("classify", &[x]) => {
                let (logits, _) = self.forward(r, x, Mode::Evaluate);
                // Nothing writes this tensor, and it starts as zeros: no label is known.
                let none = r.tensor("labels", logits.shape());
                vec![marginal::weights(r, logits, none)]
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
        [self.body.initial(rng), self.head.initial(rng)].concat()
    }

    fn check_batch(&self, batch_size: usize) -> Result<()> {
        let body = Some(self.config.network.body.clone());
        lone_batch_norm(batch_size, &[("body", &body, Shape::Picture(self.shape))])
    }
}
