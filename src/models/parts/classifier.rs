//! q(y|x): a network from what is known of an example to the logits of its classes, and what a wrong class costs.
//!
//! Of N examples N_l have a label, and each of these adds alpha N/N_l times -log q(y|x) to the loss (Kingma et al.
//! 2014, arXiv 1406.5298, eq. 9). All of them together weigh as much as alpha times N examples, however few they are.

use rand_chacha::ChaCha8Rng;

use super::networks::{LARGEST_SIZE, Networks, require};
use crate::arena::Arena;
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::{cross_entropy, joint, marginal};
use crate::keys;
use crate::layers::Mode;
use crate::layers::linear::Linear;
use crate::layers::sequential::{Layer, Saved, Sequential};
use crate::models::batch::Batch;
use crate::models::{Term, Weight};
use crate::program::Recorder;
use crate::tensor::Tensor;

keys! {
    /// What is known of the labels, and the classifier that learns from it.
    Supervision {
        "Model" {
            classifier: Vec<usize> = Vec::new(), "N",
                "Sizes of the hidden layers of the classifier, which has the networks' nonlinearity; without any it is \
                 linear";
        }
        "Loss" {
            labels: Option<usize> = None, "N",
                "Training pictures that keep their label, as many of each class, drawn by the seed; the others have \
                 none for the model; 0 keeps all";
            alpha: f64 = 0.1, "X",
                "Weight of the classifier: -log q(y|x) of a picture with a label counts X times the number of pictures \
                 for each one that has a label (Kingma et al. 2014)";
        }
    }
}

/// The classifier's term.
pub const CLASSIFY: Term =
    Term { name: "classify", weight: Weight::One, about: "alpha N/N_labelled -log q(y|x) of pictures with a label" };
/// How often it is wrong.
pub const ERROR: Term =
    Term { name: "error", weight: Weight::Zero, about: "share of the pictures with a label taken for another class" };

impl Supervision {
    /// Each value alone within its range.
    pub fn check(&self) -> Result<()> {
        let size = 1..=LARGEST_SIZE;
        for &width in &self.classifier {
            require(size.contains(&width), "classifier", width, &format!("must be 1 to {LARGEST_SIZE}"))?;
        }
        require(self.alpha >= 0.0 && self.alpha.is_finite(), "alpha", self.alpha, "must be 0 or a positive number")
    }
}

/// The classifier.
pub struct Classifier {
    network: Sequential,
    /// `None` where all examples have a label.
    labels: Option<usize>,
    alpha: f64,
}

impl Classifier {
    /// Declares the parameters, `classifier.0` and so on, for `inputs` numbers of an example.
    pub fn new(
        arena: &mut Arena,
        supervision: &Supervision,
        networks: &Networks,
        mut inputs: usize,
        classes: usize,
    ) -> Classifier {
        let mut linear = |i: usize, outputs: usize, activation| {
            let layer = Linear::new(arena, &format!("classifier.{}", 2 * i), inputs, outputs, activation);
            inputs = outputs;
            Layer::Linear(layer)
        };
        let hidden = &supervision.classifier;
        let mut layers: Vec<Layer> =
            hidden.iter().enumerate().map(|(i, &width)| linear(i, width, networks.activation)).collect();
        layers.push(linear(hidden.len(), classes, Activation::Identity));
        Classifier { network: Sequential::new(layers), labels: supervision.labels, alpha: supervision.alpha }
    }

    /// The initial values of every parameter.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        self.network.initial(rng)
    }

    /// x (B, inputs) to the logits of q(y|x), (B,K).
    pub fn forward(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> (Tensor, Saved) {
        r.scope("classifier");
        self.network.forward(r, x, mode)
    }

    /// dlogits (B,K) to dx (B, inputs), and the parameters' gradients.
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dlogits: Tensor) -> Tensor {
        r.scope("classifier");
        self.network.backward(r, saved, dlogits)
    }

    /// The parameters' share alone, where x needs no gradient.
    pub fn backward_parameters(&self, r: &mut Recorder, saved: Saved, dlogits: Tensor) {
        r.scope("classifier");
        self.network.backward_parameters(r, saved, dlogits);
    }

    /// q(y|x), (B,K): for whoever asks.
    pub fn probabilities(&self, r: &mut Recorder, x: Tensor) -> Tensor {
        let (logits, _) = self.forward(r, x, Mode::Evaluate);
        marginal::probabilities(r, logits)
    }

    /// The terms [`CLASSIFY`] and [`ERROR`], (B) each, for logits (B,K) and labels y (B,K), rows of zeros where there
    /// is none.
    pub fn loss(&self, r: &mut Recorder, logits: Tensor, y: Tensor, batch: &Batch) -> [Tensor; 2] {
        r.scope("loss");
        let ratio = self.ratio(batch);
        let rows = cross_entropy::loss(r, logits, y);
        let rows = joint::scale(r, rows, (self.alpha * ratio) as f32);
        let errors = cross_entropy::errors(r, logits, y);
        [rows, joint::scale(r, errors, ratio as f32)]
    }

    /// dlogits (B,K) of the weighted sum of [`CLASSIFY`]'s rows.
    pub fn loss_backward(&self, r: &mut Recorder, logits: Tensor, y: Tensor, batch: &Batch) -> Tensor {
        r.scope("loss");
        let weight = (self.alpha * self.ratio(batch)) as f32;
        let [dlogits] = batch.weight.apply(r, |r, scale| [cross_entropy::backward(r, logits, y, scale * weight)]);
        dlogits
    }

    /// N / N_l: examples for each one that has a label. All test examples have one.
    fn ratio(&self, batch: &Batch) -> f64 {
        match (self.labels, batch.mode) {
            (Some(labels), Mode::Train { .. }) => batch.examples() as f64 / labels as f64,
            _ => 1.0,
        }
    }
}
