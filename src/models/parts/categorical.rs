//! q(z|x) of V categorical variables of K classes each, and its samples: relaxed ones, which have a gradient, and exact
//! ones. Jang et al. 2016 (arXiv 1611.01144), Maddison et al. 2016 (arXiv 1611.00712).
//!
//!   q = softmax(logits(x)),   y = softmax((logits + g) / tau),   KL(q || uniform) = sum_k q_k (log q_k + log K)

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::encoder::{self, Encoder};
use super::networks::{LARGEST_SIZE, Networks, require};
use crate::arena::Arena;
use crate::error::Result;
use crate::kernels::{categorical_kl, fill, gumbel_softmax};
use crate::keys;
use crate::layers::Mode;
use crate::models::Knob;
use crate::models::batch::Batch;
use crate::models::draw::Draw;
use crate::program::Recorder;
use crate::schedule::KnobSchedule;
use crate::tensor::Tensor;

/// How the gradient passes the sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// The decoder sees the relaxed sample y, and the gradient is that of y.
    Gumbel,
    /// The decoder sees the one-hot vector of y's largest element, and the gradient is that of y all the same.
    StraightThrough,
    /// The decoder sees the one-hot vector of the largest logit. This moves in steps, so no gradient reaches the
    /// encoder: a lesson, not a model.
    Argmax,
}

keys! {
    /// The latent variables.
    Variables {
        "Model" {
            categories: usize = 10, "K",
                "Classes of each categorical variable, of which there are --latent";
            estimator: Estimator = Estimator::Gumbel, "NAME",
                "What the decoder sees in training, and whose gradient passes: gumbel (the relaxed sample), \
                 straight_through (its largest element as one-hot, with the relaxed sample's gradient) or argmax (the \
                 largest logit as one-hot: no gradient, a lesson)";
        }
        "Loss" {
            temperature: f64 = 1.0, "X",
                "Temperature of the relaxed samples before its schedule; near 0 they are nearly one-hot, and their \
                 gradient is large";
            temperature_schedule: KnobSchedule = KnobSchedule::Constant, "FORM",
                "As kl_schedule, times the temperature: exponential:RATE:FLOOR is max(FLOOR, e^(-RATE step))";
        }
    }
}

impl Variables {
    /// Each value alone within its range.
    pub fn check(&self) -> Result<()> {
        let rule = format!("must be 2 to {LARGEST_SIZE}");
        require((2..=LARGEST_SIZE).contains(&self.categories), "categories", self.categories, &rule)?;
        let holds = self.temperature > 0.0 && self.temperature.is_finite();
        require(holds, "temperature", self.temperature, "must be a positive number")?;
        // A schedule that touches 0 divides by it.
        let falls_to_0 = match self.temperature_schedule {
            KnobSchedule::Constant | KnobSchedule::Logistic { .. } => false,
            KnobSchedule::Exponential { last, .. } => last == 0.0,
            KnobSchedule::Linear { .. } | KnobSchedule::Cosine { .. } | KnobSchedule::Cyclical { .. } => true,
        };
        let rule = "reaches a temperature of 0: take constant, or exponential:RATE:FLOOR with a floor above 0";
        require(!falls_to_0, "temperature_schedule", self.temperature_schedule, rule)
    }

    /// The temperature over the run.
    pub fn knob(&self) -> Knob {
        Knob { name: "temperature", value: self.temperature, schedule: self.temperature_schedule }
    }
}

/// The encoder, whose numbers are the logits of V variables of K classes.
pub struct Categorical {
    variables: usize,
    classes: usize,
    estimator: Estimator,
    encoder: Encoder,
}

/// q(z|x) of a batch, and what its backward needs.
pub struct Posterior {
    /// (B*V,K)
    pub logits: Tensor,
    /// (B*V,K), where the gradient is that of a relaxed sample.
    soft: Option<Tensor>,
    saved: encoder::Saved,
}

impl Categorical {
    /// Declares the parameters, under the names that [`Encoder`] gives.
    pub fn new(arena: &mut Arena, networks: &Networks, variables: &Variables, picture: [usize; 3]) -> Categorical {
        let (count, classes) = (networks.latent, variables.categories);
        let encoder = Encoder::new(arena, networks, picture, count * classes);
        Categorical { variables: count, classes, estimator: variables.estimator, encoder }
    }

    /// The initial values of every parameter.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        self.encoder.initial(rng)
    }

    /// x (B,D) to q(z|x).
    pub fn forward(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> Posterior {
        let (logits, saved) = self.encoder.forward(r, x, mode);
        let rows = logits.len() / self.classes;
        Posterior { logits: logits.reshape(&[rows, self.classes]), soft: None, saved }
    }

    /// x (B,D) to what the decoder sees in training, (B,V*K), and to q. `clock` has the temperature.
    pub fn sample(
        &self,
        r: &mut Recorder,
        x: Tensor,
        draw: &mut Draw,
        clock: Tensor,
        mode: Mode,
    ) -> (Tensor, Posterior) {
        let q = self.forward(r, x, mode);
        r.scope("latent");
        if self.estimator == Estimator::Argmax {
            return (self.rows(gumbel_softmax::mode(r, q.logits)), q);
        }
        let noise = draw.uniform(r, q.logits.shape());
        let soft = gumbel_softmax::forward(r, q.logits, noise, clock);
        let z = match self.estimator {
            Estimator::StraightThrough => gumbel_softmax::mode(r, soft),
            _ => soft,
        };
        (self.rows(z), Posterior { soft: Some(soft), ..q })
    }

    /// x (B,D) to an exact sample of q(z|x), one-hot (B,V*K), and to q; to q's mode where the draw wants means, or the
    /// estimator is argmax.
    pub fn hard(&self, r: &mut Recorder, x: Tensor, draw: &mut Draw, mode: Mode) -> (Tensor, Posterior) {
        let q = self.forward(r, x, mode);
        r.scope("latent");
        let z = match draw {
            Draw::Clock(_) | Draw::Given(_) if self.estimator != Estimator::Argmax => {
                let noise = draw.uniform(r, q.logits.shape());
                gumbel_softmax::sample(r, q.logits, noise)
            }
            _ => gumbel_softmax::mode(r, q.logits),
        };
        (self.rows(z), q)
    }

    /// The mode of q(z|x), one-hot (B,V*K).
    pub fn mode(&self, r: &mut Recorder, q: &Posterior) -> Tensor {
        r.scope("latent");
        self.rows(gumbel_softmax::mode(r, q.logits))
    }

    /// (B*V): KL(q(z|x) || uniform) of each variable in nats. With estimator argmax q is certain of one class, and each
    /// costs log K.
    pub fn kl(&self, r: &mut Recorder, q: &Posterior) -> Tensor {
        r.scope("loss");
        if self.estimator == Estimator::Argmax {
            let kl = r.tensor("kl", &[q.logits.matrix()[0]]);
            fill::forward(r, kl, (self.classes as f32).ln());
            return kl;
        }
        categorical_kl::loss(r, q.logits)
    }

    // ANCHOR: backward
    /// The parameters' gradients, from the KL, whose weight is the clock's first knob, and from dz (B,V*K): with
    /// estimator argmax neither has any.
    pub fn backward(&self, r: &mut Recorder, q: Posterior, dz: Tensor, batch: &Batch) {
        let Posterior { logits, soft, saved } = q;
        r.scope("latent");
        let dlogits = match soft {
            None => {
                let dlogits = r.tensor("dlogits", logits.shape());
                fill::forward(r, dlogits, 0.0);
                dlogits
            }
            Some(soft) => {
                let dlogits = categorical_kl::backward(r, logits, batch.clock, batch.weight, batch.rows);
                let dsoft = dz.reshape(soft.shape()); // straight through: of the one-hot vector, taken for that of y
                gumbel_softmax::backward(r, [soft, dsoft], batch.clock, dlogits);
                dlogits
            }
        };
        self.encoder.backward(r, saved, self.rows(dlogits));
    }
    // ANCHOR_END: backward

    /// (B*V,K) as (B,V*K).
    fn rows(&self, t: Tensor) -> Tensor {
        let width = self.variables * self.classes;
        t.reshape(&[t.len() / width, width])
    }
}
