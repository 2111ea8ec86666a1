//! A codebook between encoder and decoder: the nearest of K codes stands for each vector. van den Oord, Vinyals &
//! Kavukcuoglu 2017 (arXiv 1711.00937).
//!
//!   q = e_k,  k = argmin_j |z - e_j|^2;   loss |sg(z) - e|^2 + commitment |z - sg(e)|^2,  sg: no gradient passes
//!
//! The codes go to the vectors that are theirs by the gradient of the first part, or by running averages in its place
//! (appendix A.1): then they are statistics, not parameters, and a code that nothing is near is put onto a vector.
//! B batch, V codes a picture, D numbers of a code, K codes.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::networks::{LARGEST_SIZE, require};
use crate::arena::{Arena, Parameter};
use crate::error::Result;
use crate::kernels::codebook::{self, Averages};
use crate::kernels::rows::Rows;
use crate::keys;
use crate::models::Knob;
use crate::models::batch::Batch;
use crate::program::Recorder;
use crate::schedule::KnobSchedule;
use crate::tensor::Tensor;

/// What moves the codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Movement {
    /// The optimiser.
    Gradient,
    /// Exponential moving averages of the vectors that are theirs.
    Ema,
}

/// More codes are typing errors: each is compared with every vector.
const MOST_CODES: usize = 1 << 16;

keys! {
    /// The codebook.
    CodebookKeys {
        "Model" {
            codes: usize = 512, "K", "Codes in the codebook, of which each of the --latent places takes one";
            code_dim: usize = 64, "N", "Numbers of a code";
        }
        "Loss" {
            codebook: Movement = Movement::Ema, "NAME",
                "What moves the codes: ema (running averages of the vectors that are theirs, and codes without any \
                 start anew) or gradient (the optimiser, by the squared distance to them)";
            commitment: f64 = 0.25, "X",
                "Weight of the squared distance to the codes by which the encoder keeps to them (beta)";
            decay: f64 = 0.99, "X", "Of the running averages: 0 takes those of the batch alone";
            restart: f64 = 0.01, "X",
                "With ema, a code whose running count falls below this part of an equal share is put onto a vector of \
                 the batch; so the codes start, too";
        }
    }
}

impl CodebookKeys {
    /// Each value alone within its range.
    pub fn check(&self) -> Result<()> {
        require((2..=MOST_CODES).contains(&self.codes), "codes", self.codes, &format!("must be 2 to {MOST_CODES}"))?;
        let rule = format!("must be 1 to {LARGEST_SIZE}");
        require((1..=LARGEST_SIZE).contains(&self.code_dim), "code_dim", self.code_dim, &rule)?;
        let holds = self.commitment >= 0.0 && self.commitment.is_finite();
        require(holds, "commitment", self.commitment, "must be 0 or a positive number")?;
        require((0.0..1.0).contains(&self.decay), "decay", self.decay, "must be 0 or more and below 1")?;
        let holds = self.restart > 0.0 && self.restart < 1.0;
        require(holds, "restart", self.restart, "must be above 0 and below 1: the codes start by it")
    }

    /// The weight of the commitment, the same over the run.
    pub fn knob(&self) -> Knob {
        Knob { name: "commitment", value: self.commitment, schedule: KnobSchedule::Constant }
    }
}

/// What the codes are on the device.
enum Codes {
    Trained(Parameter),
    Averaged(Averages),
}

/// The codebook.
pub struct Codebook {
    /// K
    count: usize,
    /// D
    dim: usize,
    codes: Codes,
}

/// The codes of a batch, and what the backward needs.
pub struct Quantised {
    /// (B*V,D)
    z: Tensor,
    /// (B*V): the numbers of the codes.
    pub ids: Tensor,
    /// (B,V*D)
    pub q: Tensor,
    /// (K) how many vectors are each code's, and (K,D) their sums.
    tallied: [Tensor; 2],
}

impl Codebook {
    /// Declares `codebook.weight` (K,D): a parameter, or with averages a statistic beside `codebook.cluster_size` (K)
    /// and `codebook.embed_avg` (K,D), all of them zeros at first.
    pub fn new(arena: &mut Arena, keys: &CodebookKeys) -> Codebook {
        let (count, dim) = (keys.codes, keys.code_dim);
        let codes = match keys.codebook {
            Movement::Gradient => Codes::Trained(arena.parameter("codebook.weight", &[count, dim])),
            Movement::Ema => Codes::Averaged(Averages {
                codes: arena.statistic("codebook.weight", &[count, dim], 0.0),
                counts: arena.statistic("codebook.cluster_size", &[count], 0.0),
                sums: arena.statistic("codebook.embed_avg", &[count, dim], 0.0),
                decay: keys.decay as f32,
                restart: keys.restart as f32,
            }),
        };
        Codebook { count, dim, codes }
    }

    /// The initial values of the codes, where they are parameters: uniform within 1/K.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        match &self.codes {
            Codes::Averaged(_) => Vec::new(),
            Codes::Trained(codes) => {
                let bound = 1.0 / self.count as f32;
                let values = (0..codes.value.len()).map(|_| bound * (2.0 * rng.random::<f32>() - 1.0));
                vec![(codes.value, values.collect())]
            }
        }
    }

    /// (K,D)
    fn values(&self) -> Tensor {
        match &self.codes {
            Codes::Trained(codes) => codes.value,
            Codes::Averaged(averages) => averages.codes,
        }
    }

    /// z (B,V*D) to the numbers of the nearest codes, (B*V).
    pub fn nearest(&self, r: &mut Recorder, z: Tensor) -> Tensor {
        r.scope("codebook");
        codebook::nearest(r, z.reshape(&[z.len() / self.dim, self.dim]), self.values())
    }

    /// Numbers of codes (B,V) to the codes, (B,V*D).
    pub fn gather(&self, r: &mut Recorder, ids: Tensor) -> Tensor {
        let [rows, places] = ids.matrix();
        r.scope("codebook");
        let q = codebook::gather(r, ids.reshape(&[rows * places]), self.values());
        q.reshape(&[rows, places * self.dim])
    }

    /// z (B,V*D) to the codes that stand for it.
    pub fn forward(&self, r: &mut Recorder, z: Tensor) -> Quantised {
        let [rows, numbers] = z.matrix();
        let ids = self.nearest(r, z);
        let q = self.gather(r, ids.reshape(&[rows, numbers / self.dim]));
        let z = z.reshape(&[ids.len(), self.dim]);
        let tallied = codebook::tally(r, ids, z, self.count);
        Quantised { z, ids, q, tallied }
    }

    /// The terms: |sg(z) - e|^2 of each picture (B), zeros where averages move the codes; |z - sg(e)|^2 of each (B);
    /// perplexity and number of the codes that the batch takes, (1) each and times B, so that their means over batches
    /// are in codes.
    pub fn terms(&self, r: &mut Recorder, quantised: &Quantised) -> [Tensor; 4] {
        let Quantised { z, ids, q, tallied: [counts, _] } = *quantised;
        let [rows, numbers] = q.matrix();
        r.scope("loss");
        let distance = codebook::distance(r, z.reshape(&[rows, numbers]), q);
        let of_codes = match self.codes {
            Codes::Trained(_) => distance,
            // Nothing writes this tensor, and it starts as zeros.
            Codes::Averaged(_) => r.tensor("codebook", &[rows]),
        };
        let [perplexity, used] = codebook::perplexity(r, counts, ids.len(), rows as f32);
        [of_codes, distance, perplexity, used]
    }

    // ANCHOR: backward
    /// dq (B,V*D) to dz (B,V*D): the gradient of the codes is handed on as if it were that of z, and the commitment
    /// adds its own. The codes get theirs, or move to the averages of this batch.
    pub fn backward(&self, r: &mut Recorder, quantised: Quantised, dq: Tensor, batch: &Batch) -> Tensor {
        let Quantised { z, q, tallied, .. } = quantised;
        let Rows::Scale(scale) = batch.weight else { panic!("every picture of a codebook counts the same") };
        r.scope("codebook");
        let [dq, q] = [dq, q].map(|t| t.reshape(z.shape()));
        let dz = codebook::straight_through(r, dq, [z, q, batch.clock], scale);
        match &self.codes {
            Codes::Trained(codes) => codebook::backward(r, tallied, codes.value, codes.grad, scale),
            Codes::Averaged(averages) => codebook::update(r, tallied, z, batch.clock, averages),
        }
        dz.reshape(&[batch.rows, z.len() / batch.rows])
    }
    // ANCHOR_END: backward
}
