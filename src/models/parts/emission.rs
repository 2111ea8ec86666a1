//! p(x_t|...) of a step of a sequence: how a network's outputs y (R,O) for R steps are compared with the numbers x
//! (R,C) of these steps. A step behind its row's end costs nothing.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::networks::require;
use crate::data::table::{STEPS, Table, Values};
use crate::error::{Error, Result, plain};
use crate::kernels::rows::Rows;
use crate::kernels::stroke_mixture::{self, Mixture};
use crate::kernels::{activation, bce, gaussian_nll, joint, steps};
use crate::keys;
use crate::models::batch::{Batch, Steps};
use crate::models::{Term, Weight};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The terms of a model of sequences with a latent at each step.
pub static TERMS: [Term; 3] = [
    Term { name: "recon", weight: Weight::One, about: "sum_t -log p(x_t|z_t,...)" },
    Term {
        name: "kl",
        weight: Weight::Knob("kl_weight"),
        about: "sum_t KL(q(z_t|...) || p(z_t|...)), the prior a learned one",
    },
    Term { name: "steps", weight: Weight::Zero, about: "steps a sequence" },
];

/// The distribution of the numbers of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// Each number is 0 or 1, y its logit: the notes of a piano roll.
    Bernoulli,
    /// y is the mean and the logvar of each number. One that is missing costs nothing.
    Gaussian,
    /// dx and dy of a pen from a mixture of bivariate normals, and whether it is lifted
    /// ([`stroke_mixture`]).
    Strokes,
}

impl Form {
    /// As in settings.
    fn name(self) -> &'static str {
        match self {
            Form::Bernoulli => "bernoulli",
            Form::Gaussian => "gaussian",
            Form::Strokes => "strokes",
        }
    }
}

keys! {
    /// The distribution of a step, as settings say it.
    Emission {
        "Model" {
            emission: Form = Form::Bernoulli, "NAME",
                "Distribution of a step's numbers: bernoulli (zeros and ones), gaussian (mean and logvar of each), or \
                 strokes (a mixture for dx and dy, and the pen)";
            mixture: usize = 20, "N", "Components of the mixture of strokes; the others do not use it";
        }
    }
}

/// More components are a typing error.
const MOST_COMPONENTS: usize = 256;
/// dx, dy and pen.
const OF_STROKES: usize = 3;

/// What each of R steps counts.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// (R): 1 at a step of a row, 0 behind its end.
    pub steps: Tensor,
    /// (R): the same times what a row counts in what is minimised.
    pub weight: Tensor,
}

impl Counted {
    /// Of the sequences of a batch. Panics on a batch whose rows have weights of their own.
    pub fn of(r: &mut Recorder, batch: &Batch, sequences: &Steps) -> Counted {
        let Rows::Scale(scale) = batch.weight else { panic!("the rows of sequences count alike") };
        let steps = steps::mask(r, sequences.lengths, batch.longest, 1.0);
        let weight = if scale == 1.0 { steps } else { steps::mask(r, sequences.lengths, batch.longest, scale) };
        Counted { steps, weight }
    }

    /// Rows (R) of a loss, 0 behind a row's end.
    pub fn rows(self, r: &mut Recorder, rows: Tensor) -> Tensor {
        let count = rows.len();
        joint::weigh(r, rows.reshape(&[count, 1]), self.steps).reshape(&[count])
    }
}

/// A recorded loss, and what its backward needs.
#[derive(Clone, Copy)]
pub struct Loss {
    /// (R): -log p(x_t|...) in nats, 0 behind a row's end.
    pub rows: Tensor,
    y: Output,
    x: Tensor,
    seen: Tensor,
}

/// What a network left, as the distribution takes it.
#[derive(Clone, Copy)]
enum Output {
    /// (R,O)
    Whole(Tensor),
    /// (R,C) each
    MeanAndLogvar([Tensor; 2]),
}

impl Emission {
    /// That it is a distribution of so many numbers, each setting within its range.
    pub fn check(&self, channels: usize) -> Result<()> {
        let rule = format!("must be 1 to {MOST_COMPONENTS}");
        require((1..=MOST_COMPONENTS).contains(&self.mixture), "mixture", self.mixture, &rule)?;
        let fits = self.emission != Form::Strokes || channels == OF_STROKES;
        let rule = format!("a step has {channels} numbers, and a stroke three: dx, dy, pen");
        require(fits, "emission", "strokes", &rule)
    }

    /// That it is a distribution of these training examples. Errors: a number that it cannot be of, or that is missing.
    pub fn check_values(&self, train: &Table) -> Result<()> {
        let Some(Values::Steps(sequences)) = train.column(STEPS).map(|column| &column.values) else { return Ok(()) };
        let width = sequences.features().len();
        let is_binary = |at: usize| match self.emission {
            Form::Bernoulli => true,
            Form::Gaussian => false,
            Form::Strokes => at % width == OF_STROKES - 1,
        };
        let fits = |(at, x): (usize, &f32)| !x.is_nan() && (!is_binary(at) || *x == 0.0 || *x == 1.0);
        let wrong = sequences.numbers().iter().enumerate().find(|&(at, x)| !fits((at, x)));
        let Some((at, x)) = wrong.filter(|_| self.emission != Form::Gaussian) else { return Ok(()) };
        let (name, form) = (plain(&sequences.features().names[at % width]), self.emission.name());
        let problem = if x.is_nan() {
            format!("a number of `{name}` is missing, which only gaussian passes over")
        } else {
            format!("a number of `{name}` is {x}, and must be 0 or 1")
        };
        Err(Error::Usage(format!("emission is {form}, but {problem}")))
    }

    /// O, the outputs that a network must have for C numbers.
    pub fn outputs(&self, channels: usize) -> usize {
        match self.emission {
            Form::Bernoulli => channels,
            Form::Gaussian => 2 * channels,
            Form::Strokes => 6 * self.mixture + 1,
        }
    }

    // ANCHOR: loss
    /// -log p of the steps' numbers, from y (R,O).
    pub fn loss(&self, r: &mut Recorder, y: Tensor, &Steps { x, seen, .. }: &Steps, counted: Counted) -> Loss {
        let (y, rows) = match self.emission {
            Form::Bernoulli => (Output::Whole(y), bce::loss(r, y, x)),
            Form::Gaussian => {
                let y: [Tensor; 2] = joint::split(r, y, x.matrix()[1]).into();
                (Output::MeanAndLogvar(y), gaussian_nll::loss(r, y, x, seen))
            }
            Form::Strokes => (Output::Whole(y), stroke_mixture::loss(r, y, x)),
        };
        Loss { rows: counted.rows(r, rows), y, x, seen }
    }

    /// dy (R,O) of the loss, as much as the steps count.
    pub fn backward(&self, r: &mut Recorder, Loss { y, x, seen, .. }: Loss, counted: Counted) -> Tensor {
        let weight = Rows::Weights(counted.weight);
        match y {
            Output::MeanAndLogvar(y) => {
                let [dmean, dlogvar] = gaussian_nll::backward(r, y, x, seen, weight);
                joint::concat(r, dmean, dlogvar)
            }
            Output::Whole(y) if self.emission == Form::Strokes => stroke_mixture::backward(r, y, x, weight),
            Output::Whole(y) => weight.apply(r, |r, scale| [bce::backward(r, y, x, scale)])[0],
        }
    }
    // ANCHOR_END: loss

    /// The means (C) of a step's numbers, from outputs (O) on the host.
    pub fn means(&self, y: &[f32]) -> Vec<f32> {
        match self.emission {
            Form::Bernoulli => y.iter().map(|&l| activation::sigmoid(f64::from(l)) as f32).collect(),
            Form::Gaussian => y[..y.len() / 2].to_vec(),
            Form::Strokes => {
                let Mixture { components, pen } = stroke_mixture::mixture(y);
                let mean = |i: usize| components.iter().map(|c| c.weight * c.mean[i]).sum::<f64>() as f32;
                vec![mean(0), mean(1), pen as f32]
            }
        }
    }

    /// Numbers (C) of a step, drawn, from outputs (O) on the host. A temperature below 1 narrows normals by its root,
    /// as sketch-rnn does, and leaves the more probable of two values more often.
    pub fn sample(&self, y: &[f32], temperature: f64, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let flip = |logit: f64, rng: &mut ChaCha8Rng| {
            let p = activation::sigmoid(logit / temperature);
            f32::from(rng.random::<f64>() < p)
        };
        match self.emission {
            Form::Bernoulli => y.iter().map(|&l| flip(f64::from(l), rng)).collect(),
            Form::Gaussian => {
                let (means, logvars) = y.split_at(y.len() / 2);
                let draw = |(&mean, &logvar): (&f32, &f32)| {
                    let sigma = (0.5 * f64::from(logvar)).exp() * temperature.sqrt();
                    (f64::from(mean) + sigma * normal(rng)[0]) as f32
                };
                means.iter().zip(logvars).map(draw).collect()
            }
            Form::Strokes => {
                let Mixture { components, pen } = stroke_mixture::mixture(y);
                // The logits of the weights are divided by the temperature.
                let powers: Vec<f64> = components.iter().map(|c| c.weight.powf(1.0 / temperature)).collect();
                let mut left = rng.random::<f64>() * powers.iter().sum::<f64>();
                let chosen = powers.iter().position(|power| {
                    left -= power;
                    left < 0.0
                });
                let c = &components[chosen.unwrap_or(components.len() - 1)];
                let [a, b] = normal(rng);
                let across = c.rho * a + (1.0 - c.rho * c.rho).sqrt() * b;
                let root = temperature.sqrt();
                let [dx, dy] = [c.mean[0] + root * c.sigma[0] * a, c.mean[1] + root * c.sigma[1] * across];
                vec![dx as f32, dy as f32, flip((pen / (1.0 - pen)).ln(), rng)]
            }
        }
    }
}

/// Two independent numbers of N(0,1): Box & Muller 1958.
fn normal(rng: &mut ChaCha8Rng) -> [f64; 2] {
    let (u, turn) = (1.0 - rng.random::<f64>(), std::f64::consts::TAU * rng.random::<f64>());
    let radius = (-2.0 * u.ln()).sqrt();
    [radius * turn.cos(), radius * turn.sin()]
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn emission(emission: Form, mixture: usize) -> Emission {
        Emission { emission, mixture }
    }

    /// Mean and variance of many draws of the first number.
    fn moments(emission: &Emission, y: &[f32], temperature: f64) -> [f64; 2] {
        let rng = &mut ChaCha8Rng::seed_from_u64(1);
        let draws: Vec<f64> = (0..20_000).map(|_| f64::from(emission.sample(y, temperature, rng)[0])).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        [mean, draws.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 20_000.0]
    }

    #[test]
    fn draws_have_the_means_that_are_told() {
        // A mixture of two: weights 1/4 and 3/4, dx at -1 and 1 with sigma 1/2, rho 0; the pen mostly down.
        let strokes = [0.0, 3f32.ln(), -1.0, 1.0, 0.5, 0.5, 0.5f32.ln(), 0.5f32.ln(), 0.0, 0.0, 0.0, 0.0, -1.0];
        for (form, y, variance) in [
            (Form::Bernoulli, &[0.4f32, -2.0][..], 0.24),
            (Form::Gaussian, &[0.7, -1.0, 0.5f32.ln(), 0.0][..], 0.5),
            (Form::Strokes, &strokes, 0.25 + 0.75),
        ] {
            let emission = emission(form, 2);
            let [mean, seen] = moments(&emission, y, 1.0);
            // Four standard errors, and log sigma is held to its range by a tanh.
            assert!((mean - f64::from(emission.means(y)[0])).abs() < 0.03, "{form:?}: {mean}");
            assert!((seen - variance).abs() < 0.03, "{form:?}: {seen}");
            let [_, narrow] = moments(&emission, y, 0.25);
            assert!(narrow < 0.75 * seen, "{form:?}: {narrow}");
        }
    }

    #[test]
    fn strokes_are_three_numbers() {
        assert!(emission(Form::Strokes, 20).check(3).is_ok());
        let message = emission(Form::Strokes, 20).check(4).unwrap_err().to_string();
        assert!(message.contains("emission is strokes, but a step has 4 numbers"), "{message}");
        assert!(emission(Form::Bernoulli, 0).check(4).unwrap_err().to_string().contains("mixture is 0"));
        assert_eq!([Form::Bernoulli, Form::Gaussian, Form::Strokes].map(|f| emission(f, 5).outputs(3)), [3, 6, 31]);
    }
}
