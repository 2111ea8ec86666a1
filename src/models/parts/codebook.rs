//! A codebook between encoder and decoder: the nearest of K codes stands for each vector. van den Oord, Vinyals &
//! Kavukcuoglu 2017 (arXiv 1711.00937).
//!
//!   q = e_k,  k = argmin_j |z - e_j|^2;   loss |sg(z) - e|^2 + commitment |z - sg(e)|^2,  sg: no gradient passes
//!
//! The codes go to the vectors that are theirs by the gradient of the first part, or by running averages in its place
//! (appendix A.1): then they are statistics, not parameters, and a code that nothing is near is put onto a vector.
//!
//! Or nothing moves them: finite scalar quantisation (Mentzer et al. 2023, arXiv 2309.15505) rounds each number of
//! tanh(z) to one of its L levels -1, ..., 1, evenly apart. All combinations of levels are the codes, and the nearest
//! is the rounded one. No part of the loss is of the codes, which have nowhere to go.
//! B batch, V codes a picture, D numbers of a code, K codes.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::networks::{LARGEST_SIZE, require};
use super::read;
use crate::arena::{Arena, Parameter};
use crate::error::Result;
use crate::kernels::activation::{self, Activation};
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
    /// Nothing: they are a grid of levels.
    Fsq,
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
                 start anew), gradient (the optimiser, by the squared distance to them) or fsq (nothing: each number \
                 is rounded to one of its --set levels)";
            levels: Vec<usize> = vec![8, 5, 5], "N",
                "Of fsq, how many levels each number of a code has, 2 or more: codes and code_dim follow";
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
        require(holds, "restart", self.restart, "must be above 0 and below 1: the codes start by it")?;
        if self.codebook != Movement::Fsq {
            return Ok(());
        }
        let levels = format!("{:?}", self.levels);
        let holds = !self.levels.is_empty() && self.levels.iter().all(|&l| l >= 2);
        require(holds, "levels", &levels, "must be 2 or more each")?;
        let rule = format!("must make {MOST_CODES} codes at most: their product");
        require(self.of_levels() <= MOST_CODES, "levels", &levels, &rule)
    }

    /// How many codes the levels make; of more than can be counted, as many as can be.
    fn of_levels(&self) -> usize {
        self.levels.iter().fold(1, |all: usize, &level| all.saturating_mul(level))
    }

    /// With fsq, the codes and their numbers are those that the levels make, whatever else was said.
    pub fn settled(self) -> CodebookKeys {
        match self.codebook {
            Movement::Fsq => CodebookKeys { codes: self.of_levels(), code_dim: self.levels.len(), ..self },
            Movement::Gradient | Movement::Ema => self,
        }
    }

    /// The same in a table, so that a run's record says what ran. Errors: settings that cannot be read, levels out of
    /// range.
    pub fn fill_in(own: &mut Table, _: usize) -> Result<()> {
        let keys: CodebookKeys = read(own)?;
        keys.check()?;
        let keys = keys.settled();
        if keys.codebook == Movement::Fsq {
            own.insert("codes".into(), Value::Integer(keys.codes as i64));
            own.insert("code_dim".into(), Value::Integer(keys.code_dim as i64));
        }
        Ok(())
    }

    /// The weight of the commitment, the same over the run.
    pub fn knob(&self) -> Knob {
        let value = if self.codebook == Movement::Fsq { 0.0 } else { self.commitment };
        Knob { name: "commitment", value, schedule: KnobSchedule::Constant }
    }
}

/// What the codes are on the device.
enum Codes {
    Trained(Parameter),
    Averaged(Averages),
    /// (K,D), and how many levels each of the D numbers has.
    Levels(Tensor, Vec<usize>),
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
    /// (B*V,D); with levels their tanh.
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
    /// and `codebook.embed_avg` (K,D), all of them zeros at first. Levels are a statistic, too.
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
            Movement::Fsq => Codes::Levels(arena.statistic("codebook.weight", &[count, dim], 0.0), keys.levels.clone()),
        };
        Codebook { count, dim, codes }
    }

    /// The initial values of the codes, where they are parameters: uniform within 1/K.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        match &self.codes {
            Codes::Averaged(_) | Codes::Levels(..) => Vec::new(),
            Codes::Trained(codes) => {
                let bound = 1.0 / self.count as f32;
                let values = (0..codes.value.len()).map(|_| bound * (2.0 * rng.random::<f32>() - 1.0));
                vec![(codes.value, values.collect())]
            }
        }
    }

    /// The levels of all codes, where they are levels: of code k the first number changes fastest.
    pub fn constants(&self) -> Vec<(Tensor, Vec<f32>)> {
        let Codes::Levels(codes, levels) = &self.codes else { return Vec::new() };
        let value = |i: usize, level: usize| 2.0 * (i % level) as f32 / (level - 1) as f32 - 1.0;
        let mut values = Vec::with_capacity(codes.len());
        for mut code in 0..self.count {
            for &level in levels {
                values.push(value(code, level));
                code /= level;
            }
        }
        vec![(*codes, values)]
    }

    /// z (B,V*D) as what is near the codes: of levels its tanh.
    fn bounded(&self, r: &mut Recorder, z: Tensor) -> Tensor {
        r.scope("codebook");
        match self.codes {
            Codes::Levels(..) => activation::forward(r, z, Activation::Tanh),
            _ => z,
        }
    }

    /// (K,D)
    fn values(&self) -> Tensor {
        match &self.codes {
            Codes::Levels(codes, _) => *codes,
            Codes::Trained(codes) => codes.value,
            Codes::Averaged(averages) => averages.codes,
        }
    }

    /// z (B,V*D) to the numbers of its codes, (B*V).
    pub fn encode(&self, r: &mut Recorder, z: Tensor) -> Tensor {
        let z = self.bounded(r, z);
        self.nearest(r, z)
    }

    fn nearest(&self, r: &mut Recorder, z: Tensor) -> Tensor {
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
        let z = self.bounded(r, z);
        let ids = self.nearest(r, z);
        let q = self.gather(r, ids.reshape(&[rows, numbers / self.dim]));
        let z = z.reshape(&[ids.len(), self.dim]);
        let tallied = codebook::tally(r, ids, z, self.count);
        Quantised { z, ids, q, tallied }
    }

    /// The terms: |sg(z) - e|^2 of each picture (B), zeros where no gradient moves them; |z - sg(e)|^2 of each (B);
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
            Codes::Averaged(_) | Codes::Levels(..) => r.tensor("codebook", &[rows]),
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
            Codes::Levels(..) => {}
        }
        let dz = match self.codes {
            Codes::Levels(..) => activation::backward(r, z, dz, Activation::Tanh),
            _ => dz,
        };
        dz.reshape(&[batch.rows, z.len() / batch.rows])
    }
    // ANCHOR_END: backward
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_lie_evenly_from_minus_one_to_one_in_every_combination() {
        let keys = CodebookKeys {
            codebook: Movement::Fsq,
            levels: vec![3, 2],
            codes: 6,
            code_dim: 2,
            ..CodebookKeys::default()
        };
        let of_levels = Codebook::new(&mut Arena::new(), &keys).constants().remove(0).1;
        let expected = [[-1.0, -1.0], [0.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [0.0, 1.0], [1.0, 1.0]];
        assert_eq!(of_levels, expected.concat());
        let moved = CodebookKeys { codebook: Movement::Ema, ..keys };
        assert!(Codebook::new(&mut Arena::new(), &moved).constants().is_empty());
    }

    #[test]
    fn what_follows_from_the_levels_is_filled_in() {
        let mut own: Table = "codebook = 'fsq'\nlevels = [8, 5, 5]\ncodes = 7".parse().unwrap();
        CodebookKeys::fill_in(&mut own, 1).unwrap();
        assert_eq!((own["codes"].as_integer(), own["code_dim"].as_integer()), (Some(200), Some(3)));
        for wrong in ["levels = [8, 1]", "levels = []", "levels = [300, 300]"] {
            own.extend(wrong.parse::<Table>().unwrap());
            let message = read::<CodebookKeys>(&own).unwrap().check().unwrap_err().to_string();
            assert!(message.contains("levels is ["), "{message}");
        }
        let mut own: Table = "codebook = 'ema'".parse().unwrap();
        CodebookKeys::fill_in(&mut own, 1).unwrap();
        assert_eq!(own.len(), 1);
    }
}
