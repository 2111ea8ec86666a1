//! p(x|z): how a decoder's output y is compared with a picture x, and what its nats mean. D pixels of values 0 to 1.

use serde::{Deserialize, Serialize};

use crate::data::table::Kind;
use crate::error::{Error, Result};
use crate::kernels::activation::{self, Activation};
use crate::kernels::rows::Rows;
use crate::kernels::{bce, continuous_bernoulli, discretised_logistic, laplace, mse, optimal_sigma};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The distribution of a pixel given the decoder's output y.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Likelihood {
    /// y is a logit, the loss binary cross-entropy. A likelihood only of binary pixels; on grey levels it is not one,
    /// since e^-loss does not integrate to 1 over `[0,1]`.
    Bernoulli,
    /// y is the mean, sigma is fixed.
    Gaussian,
    /// y is the mean, sigma the best one for each batch. An evaluation fits it to the test batches.
    OptimalSigma,
    /// y is the median, the scale b is fixed.
    Laplace,
    /// y is a logit; Bernoulli with the constant that makes it a density on `[0,1]`.
    ContinuousBernoulli,
    /// y is the mean of a logistic distribution of fixed scale s, cut into the 256 grey levels.
    DiscretisedLogistic,
}

/// A recorded loss, and what its backward needs.
#[derive(Clone, Copy)]
pub struct Loss {
    /// (B): -log p(x|z) of each picture in nats.
    pub rows: Tensor,
    y: Tensor,
    x: Tensor,
    scale: Scale,
}

/// Scale of the distribution: given, or found by the loss.
#[derive(Clone, Copy)]
enum Scale {
    Fixed(f32),
    OfBatch(Tensor),
}

impl Likelihood {
    /// All of them.
    pub const ALL: [Likelihood; 6] = [
        Likelihood::Bernoulli,
        Likelihood::Gaussian,
        Likelihood::OptimalSigma,
        Likelihood::Laplace,
        Likelihood::ContinuousBernoulli,
        Likelihood::DiscretisedLogistic,
    ];

    /// -log p(x|z) of decoder outputs y (B,D) and pictures x (B,D). `sigma` is the scale of the Gaussian, of Laplace
    /// (b) and of the discretised logistic (s); the others have none.
    pub fn loss(self, r: &mut Recorder, y: Tensor, x: Tensor, sigma: f64) -> Loss {
        let sigma = sigma as f32;
        let (rows, scale) = match self {
            Likelihood::Bernoulli => (bce::loss(r, y, x), Scale::Fixed(sigma)),
            Likelihood::Gaussian => (mse::loss(r, y, x, sigma), Scale::Fixed(sigma)),
            Likelihood::OptimalSigma => {
                let (rows, sigma) = optimal_sigma::loss(r, y, x);
                (rows, Scale::OfBatch(sigma))
            }
            Likelihood::Laplace => (laplace::loss(r, y, x, sigma), Scale::Fixed(sigma)),
            Likelihood::ContinuousBernoulli => (continuous_bernoulli::loss(r, y, x), Scale::Fixed(sigma)),
            Likelihood::DiscretisedLogistic => (discretised_logistic::loss(r, y, x, sigma), Scale::Fixed(sigma)),
        };
        Loss { rows, y, x, scale }
    }

    /// dy (B,D) of the loss's rows, of which each counts as `rows` says. The optimal sigma, which is that of all rows
    /// alike, is held fixed where they have weights. Panics on the loss of another distribution.
    pub fn backward(self, r: &mut Recorder, loss: Loss, rows: Rows) -> Tensor {
        let [dy] = rows.apply(r, |r, scale| [self.backward_scaled(r, loss, scale)]);
        dy
    }

    /// dy (B,D) of `scale` * sum of the rows.
    fn backward_scaled(self, r: &mut Recorder, loss: Loss, scale: f32) -> Tensor {
        let Loss { y, x, .. } = loss;
        match (self, loss.scale) {
            (Likelihood::Bernoulli, _) => bce::backward(r, y, x, scale),
            (Likelihood::ContinuousBernoulli, _) => continuous_bernoulli::backward(r, y, x, scale),
            (Likelihood::OptimalSigma, Scale::OfBatch(sigma)) => optimal_sigma::backward(r, y, x, sigma, scale),
            (Likelihood::Gaussian, Scale::Fixed(sigma)) => mse::backward(r, y, x, sigma, scale),
            (Likelihood::Laplace, Scale::Fixed(b)) => laplace::backward(r, y, x, b, scale),
            (Likelihood::DiscretisedLogistic, Scale::Fixed(s)) => discretised_logistic::backward(r, y, x, s, scale),
            _ => panic!("the loss to go back through is not of {self:?}"),
        }
    }

    /// The mean of p(x|z), (B,D), for decoder outputs y (B,D): the picture to look at.
    pub fn generate(self, r: &mut Recorder, y: Tensor) -> Tensor {
        match self {
            Likelihood::Bernoulli => activation::forward(r, y, Activation::Sigmoid),
            Likelihood::ContinuousBernoulli => continuous_bernoulli::mean(r, y),
            // The outer bins of the discretised logistic move its mean towards the middle where y is near black or
            // white; y is what the picture is meant to be.
            Likelihood::Gaussian | Likelihood::OptimalSigma | Likelihood::Laplace | Likelihood::DiscretisedLogistic => {
                y
            }
        }
    }

    /// Refuses values that it is no distribution of. Errors: vectors, which may hold any number, for one of grey levels.
    pub fn check(self, of: Kind) -> Result<()> {
        match (self, of) {
            (Likelihood::Gaussian | Likelihood::OptimalSigma | Likelihood::Laplace, _) => Ok(()),
            (_, Kind::Picture(_)) => Ok(()),
            _ => {
                let name = serde_json::to_value(self).expect("it has a name");
                Err(Error::Usage(format!(
                    "output is {name}, a distribution of pixel values from 0 to 1, and the data set has {of}: use \
                     gaussian, optimal_sigma or laplace"
                )))
            }
        }
    }

    /// Whether e^-loss is a probability or a density of pictures with grey levels, so that loss and KL make -ELBO.
    /// Who knows that the pixels are binary may take Bernoulli for one, too.
    pub fn is_likelihood(self) -> bool {
        self != Likelihood::Bernoulli
    }

    /// Bits a dimension of a loss of `nats` a picture of `dims` pixels; `None` where it is no likelihood.
    ///
    /// A density on `[0,1]` becomes one on the 256 grey levels, as others report it, by the change of variables from
    /// `[0,1]` to `[0,256]`: log2 256 = 8 bits more. It is taken at the grey levels themselves, without the noise that
    /// dequantisation adds, so it bounds no probability of the grey levels and can even be negative. That of the
    /// discretised logistic is a probability.
    pub fn bits_per_dimension(self, nats: f64, dims: usize) -> Option<f64> {
        let bits = nats / (dims as f64 * std::f64::consts::LN_2);
        match self {
            Likelihood::Bernoulli => None,
            Likelihood::DiscretisedLogistic => Some(bits),
            Likelihood::Gaussian | Likelihood::OptimalSigma | Likelihood::Laplace | Likelihood::ContinuousBernoulli => {
                Some(bits + 8.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::backend::{Device, cpu::Cpu};
    use crate::cases::uniform;

    /// Loss, gradient and picture of y (2,3) against x.
    fn run(likelihood: Likelihood, cpu: Cpu, y: &[f32], x: &[f32], sigma: f64) -> [Vec<f32>; 3] {
        let arena = &mut Arena::new();
        let [ty, tx] = ["y", "x"].map(|name| arena.tensor(name, &[2, 3]));
        let mut r = Recorder::new(arena);
        let loss = likelihood.loss(&mut r, ty, tx, sigma);
        let dy = likelihood.backward(&mut r, loss, Rows::Scale(0.5));
        let picture = likelihood.generate(&mut r, ty);
        let program = r.finish("likelihood");
        let mut backend = Device::Cpu(cpu).backend();
        let program = backend.load(arena, &program).unwrap();
        backend.write(ty, y);
        backend.write(tx, x);
        backend.run(&[(program, 1)]).unwrap();
        backend.read(&[loss.rows, dy, picture]).unwrap().try_into().unwrap()
    }

    const X: [f32; 6] = [0.0, 0.2, 1.0, 0.6, 0.4, 0.8];

    #[test]
    fn names_are_those_of_the_settings() {
        let names = crate::keys::variants::<Likelihood>();
        let expected =
            ["bernoulli", "gaussian", "optimal_sigma", "laplace", "continuous_bernoulli", "discretised_logistic"];
        assert_eq!(names, expected);
        for (likelihood, name) in Likelihood::ALL.iter().zip(names) {
            assert_eq!(serde_json::to_value(likelihood).unwrap(), name);
        }
    }

    #[test]
    fn each_is_its_own_loss_and_its_gradient() {
        let y = uniform(5, 6, -0.5, 1.5);
        let losses: Vec<f32> = Likelihood::ALL.iter().map(|l| run(*l, Cpu::Reference, &y, &X, 0.3)[0][0]).collect();
        for (i, loss) in losses.iter().enumerate() {
            assert!(losses[..i].iter().all(|other| (other - loss).abs() > 1e-3), "{losses:?}");
        }
        for likelihood in Likelihood::ALL {
            let sum = |y: &[f32]| run(likelihood, Cpu::Reference, y, &X, 0.3)[0].iter().map(|&v| v as f64).sum::<f64>();
            let [_, gradient, picture] = run(likelihood, Cpu::Reference, &y, &X, 0.3);
            for i in 0..6 {
                let moved = |by: f32| {
                    let mut y = y.clone();
                    y[i] += by;
                    sum(&y)
                };
                let numeric = 0.5 * (moved(4e-3) - moved(-4e-3)) / 8e-3;
                // The clip of sigma is near enough to be worth a percent.
                let tolerance = if likelihood == Likelihood::OptimalSigma { 0.02 } else { 3e-3 };
                let error = (gradient[i] as f64 - numeric).abs();
                assert!(error < tolerance * numeric.abs().max(1.0), "{likelihood:?}: {} {numeric}", gradient[i]);
                // Means of logits lie inside (0,1), the others are the output itself.
                let squashed = matches!(likelihood, Likelihood::Bernoulli | Likelihood::ContinuousBernoulli);
                assert!(if squashed { picture[i] != y[i] } else { picture[i] == y[i] }, "{likelihood:?}");
                assert!(!squashed || (0.0..1.0).contains(&picture[i]), "{likelihood:?}");
            }
        }
    }

    #[test]
    fn rows_of_equal_weights_are_rows_of_that_scale() {
        for likelihood in Likelihood::ALL {
            for cpu in [Cpu::Reference, Cpu::Accelerated] {
                let arena = &mut Arena::new();
                let [y, x] = ["y", "x"].map(|name| arena.tensor(name, &[2, 3]));
                let weights = ["equal", "of the first"].map(|name| arena.tensor(name, &[2]));
                let mut r = Recorder::new(arena);
                let loss = likelihood.loss(&mut r, y, x, 0.3);
                let scaled = likelihood.backward(&mut r, loss, Rows::Scale(0.25));
                let [equal, first] = weights.map(|w| likelihood.backward(&mut r, loss, Rows::Weights(w)));
                let program = r.finish("rows");
                let mut backend = Device::Cpu(cpu).backend();
                let program = backend.load(arena, &program).unwrap();
                backend.write(y, &uniform(5, 6, -0.5, 1.5));
                backend.write(x, &X);
                backend.write(weights[0], &[0.25; 2]);
                backend.write(weights[1], &[0.25, 0.0]);
                backend.run(&[(program, 1)]).unwrap();
                let all = backend.read(&[scaled, equal, first]).unwrap();
                // A quarter changes no digit.
                assert_eq!(all[0], all[1], "{likelihood:?} on {cpu:?}");
                assert_eq!((&all[2][..3], &all[2][3..]), (&all[0][..3], &[0.0; 3][..]), "{likelihood:?} on {cpu:?}");
            }
        }
    }

    #[test]
    fn sigma_is_a_scale_of_three_of_them() {
        let y = uniform(5, 6, -0.5, 1.5);
        for likelihood in Likelihood::ALL {
            let [narrow, wide] = [0.3, 3.0].map(|sigma| run(likelihood, Cpu::Reference, &y, &X, sigma));
            let scaled =
                matches!(likelihood, Likelihood::Gaussian | Likelihood::Laplace | Likelihood::DiscretisedLogistic);
            assert_eq!(narrow[0] != wide[0], scaled, "{likelihood:?}");
            assert_eq!(narrow[1] != wide[1], scaled, "{likelihood:?}");
        }
    }

    #[test]
    fn an_output_that_is_nan_is_not_hidden() {
        for likelihood in Likelihood::ALL {
            for cpu in [Cpu::Reference, Cpu::Accelerated] {
                for i in 0..6 {
                    let mut y = uniform(5, 6, -0.5, 1.5);
                    y[i] = f32::NAN;
                    let [rows, dy, picture] = run(likelihood, cpu, &y, &X, 0.3);
                    let all = [rows[i / 3], dy[i], picture[i]];
                    assert!(all.iter().all(|v| v.is_nan()), "{likelihood:?} on {cpu:?}, x = {}: {all:?}", X[i]);
                }
            }
        }
    }

    #[test]
    fn bits_are_nats_by_dimension_and_density() {
        let nats = 784.0 * std::f64::consts::LN_2;
        assert_eq!(Likelihood::Bernoulli.bits_per_dimension(nats, 784), None);
        assert_eq!(Likelihood::DiscretisedLogistic.bits_per_dimension(3.0 * nats, 784), Some(3.0));
        for likelihood in Likelihood::ALL {
            let bits = likelihood.bits_per_dimension(-5.0 * nats, 784);
            assert_eq!(bits.is_some(), likelihood.is_likelihood());
            assert!(likelihood == Likelihood::DiscretisedLogistic || bits.is_none_or(|b| (b - 3.0).abs() < 1e-12));
        }
        // The uniform density on [0,1] costs nothing in nats and 8 bits a pixel.
        assert_eq!(Likelihood::ContinuousBernoulli.bits_per_dimension(0.0, 3072), Some(8.0));
    }

    #[test]
    #[should_panic(expected = "not of OptimalSigma")]
    fn a_loss_of_another_likelihood_is_a_program_error() {
        let arena = &mut Arena::new();
        let [y, x] = ["y", "x"].map(|name| arena.tensor(name, &[2, 3]));
        let mut r = Recorder::new(arena);
        let loss = Likelihood::Gaussian.loss(&mut r, y, x, 1.0);
        Likelihood::OptimalSigma.backward(&mut r, loss, Rows::Scale(1.0));
    }
}
