//! The bound that a model of one Gaussian latent minimises, from one sample of z a picture or from K of them.
//!
//! One sample: the ELBO (Kingma & Welling 2013, arXiv 1312.6114), its KL in closed form.
//!
//!   -ELBO(x) = -log p(x|z) + KL(q(z|x) || N(0,1))
//!
//! K samples: the importance-weighted bound (Burda, Grosse & Salakhutdinov 2015, arXiv 1509.00519).
//!
//!   -L_K(x) = -log 1/K sum_k w_k,   w_k = p(x|z_k) p(z_k) / q(z_k|x),   w~_k = w_k / sum w
//!
//! Its gradient is sum_k w~_k times that of -log w_k, the shares w~ held fixed. docs/src/importance.md derives it, and
//! the estimator of Tucker et al. (2018, arXiv 1810.04152) for the encoder. B batch, K samples, Z latent dimensions;
//! row b*K + k holds sample k of picture b.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::divergence::{Form, scale};
use super::gaussian::{Gaussian, Posterior};
use super::likelihood::Likelihood;
use super::networks::{Divergence, LARGEST_SIZE, require};
use super::prior::Sampled;
use crate::error::Result;
use crate::kernels::rows::Rows;
use crate::kernels::{importance, joint, repeat, total_correlation};
use crate::keys;
use crate::layers::Mode;
use crate::models::batch::Batch;
use crate::models::{Losses, Term, Weight, vae};
use crate::program::Recorder;
use crate::schedule::KnobSchedule;
use crate::tensor::Tensor;

keys! {
    /// The samples of the bound.
    Importance {
        "Loss" {
            importance: usize = 1, "K",
                "Samples of z a picture: with 1 the loss is -ELBO, with more the importance-weighted bound (Burda et \
                 al. 2015), which is tighter";
            estimator: Estimator = Estimator::Iwae, "NAME",
                "The encoder's gradient where --importance is above 1: iwae, or dreg, doubly reparameterised, of less \
                 noise (Tucker et al. 2018)";
        }
    }
}

/// How the encoder's gradient is estimated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimator {
    /// The derivative of the bound of the samples that were drawn.
    Iwae,
    /// The same in the mean, but for q's density, which is held fixed, and the square of the shares.
    Dreg,
}

/// The only term of a model of several samples.
pub const BOUND: Term =
    Term { name: "bound", weight: Weight::One, about: "-log 1/K sum_k p(x|z_k) p(z_k) / q(z_k|x), the bound -L_K" };

/// More samples a picture are a mistake: their rows must fit a batch.
const MOST_SAMPLES: usize = 4096;

impl Importance {
    /// K, from a model's settings; 1 where they know of none.
    pub fn samples(settings: &Table) -> usize {
        settings.get("importance").and_then(toml::Value::as_integer).map_or(1, |samples| samples.max(1) as usize)
    }

    /// Reconstruction and KL, or the bound of several samples, which has no parts.
    pub fn terms(settings: &Table) -> &'static [Term] {
        if Importance::samples(settings) > 1 { &[BOUND] } else { &[vae::RECON, vae::KL] }
    }

    /// Each value within its range, and nothing beside several samples that means something for one alone.
    pub fn check(&self, divergence: &Divergence, output: Likelihood) -> Result<()> {
        let samples = self.importance;
        require((1..=MOST_SAMPLES).contains(&samples), "importance", samples, &format!("must be 1 to {MOST_SAMPLES}"))?;
        if samples == 1 {
            return Ok(());
        }
        let Divergence { kl_weight, kl_schedule, free_bits } = divergence;
        let rule = |what: &str| format!("with importance {samples} {what}");
        let no_kl = rule("the loss has no KL to weigh: leave it out");
        require(*kl_weight == 1.0, "kl_weight", kl_weight, &no_kl)?;
        require(*kl_schedule == KnobSchedule::Constant, "kl_schedule", kl_schedule, &no_kl)?;
        require(*free_bits == 0.0, "free_bits", free_bits, &no_kl)?;
        let fitted = rule("each sample is weighed by one p(x|z), and this sigma is fitted to them: take gaussian");
        require(output != Likelihood::OptimalSigma, "output", "optimal_sigma", &fitted)
    }

    /// That the rows of all samples fit. Errors: they do not, by the names of the options.
    pub fn check_batch(&self, batch_size: usize) -> Result<()> {
        let rule =
            format!("--batch-size {batch_size} times that is more rows than the decoder takes at once, {LARGEST_SIZE}");
        require(batch_size.saturating_mul(self.importance) <= LARGEST_SIZE, "importance", self.importance, &rule)
    }
}

/// The bound of a batch, and what its backward needs.
pub struct Bound {
    /// The terms of the loss: reconstruction and KL, or what stands in its place, or the bound alone.
    pub terms: Losses,
    /// dL/drecon, how much each row of the reconstruction counts, (B*K).
    pub rows: Rows,
    /// What the backward reads.
    pub saved: Saved,
}

/// What the backward of a bound reads.
#[expect(clippy::large_enum_variant, reason = "a step has one")]
pub enum Saved {
    /// (Z): the KL in closed form.
    Kl(Tensor),
    /// (B*K): w~, then dL/drecon; of several samples.
    Weights([Tensor; 2]),
    /// (Z): the KL in closed form. (B): what each row's counts.
    Held(Tensor, Tensor),
    /// Of the three parts.
    Parted(total_correlation::Parts),
    /// Of a sampled KL.
    Sampled(Sampled),
}

impl Gaussian {
    /// a (B,I), which belongs to a picture, to (B*K,I), a row for each sample of it.
    pub fn repeat(&self, r: &mut Recorder, a: Tensor) -> Tensor {
        match self.samples {
            1 => a,
            samples => repeat::forward(r, a, samples),
        }
    }

    // ANCHOR: forms
    /// The bound as it is optimised, from recon (B*K), -log p(x|z) of each sample. Panics on a q of which none was
    /// drawn.
    pub fn bound(&self, r: &mut Recorder, q: &Posterior, recon: Tensor, batch: &Batch) -> Bound {
        let (terms, saved) = match &self.form {
            Form::Whole if self.samples > 1 => return self.bound_of_several(r, q, recon, batch),
            Form::Whole => {
                let kl = self.kl(r, q);
                (vec![recon, kl], Saved::Kl(kl))
            }
            Form::Held => {
                let kl = self.kl(r, q);
                let (gap, weights) = self.held(r, kl, batch, scale(batch));
                (vec![recon, kl, gap], Saved::Held(kl, weights))
            }
            Form::Parted(examples) => {
                let parts = self.parted(r, q, *examples, batch);
                let [information, correlation, dimensions] = parts.terms;
                (vec![recon, information, correlation, dimensions], Saved::Parted(parts))
            }
            Form::Sampled(vamp) => {
                let sampled = self.sampled(r, q, vamp, batch.mode);
                (vec![recon, sampled.kl], Saved::Sampled(sampled))
            }
        };
        Bound { terms, rows: batch.weight, saved }
    }
    // ANCHOR_END: forms

    fn bound_of_several(&self, r: &mut Recorder, q: &Posterior, recon: Tensor, batch: &Batch) -> Bound {
        let (bound, shares) = self.weighed(r, q, recon);
        let by_picture = shares.reshape(&[bound.len(), self.samples]);
        let weights = match batch.weight {
            Rows::Scale(1.0) => shares,
            Rows::Scale(scale) => joint::scale(r, shares, scale),
            Rows::Weights(weights) => joint::weigh(r, by_picture, weights).reshape(shares.shape()),
        };
        Bound { terms: vec![bound], rows: Rows::Weights(weights), saved: Saved::Weights([shares, weights]) }
    }

    /// The terms as they are, without free bits.
    pub fn whole_bound(&self, r: &mut Recorder, q: &Posterior, recon: Tensor, batch: &Batch) -> Losses {
        match &self.form {
            Form::Whole if self.samples > 1 => vec![self.weighed(r, q, recon).0],
            Form::Whole => vec![recon, self.whole_kl(r, q)],
            Form::Held => {
                let kl = self.whole_kl(r, q);
                vec![recon, kl, self.held(r, kl, batch, 1.0).0]
            }
            Form::Parted(examples) => [&[recon][..], &self.parted(r, q, *examples, batch).terms].concat(),
            Form::Sampled(vamp) => vec![recon, self.sampled(r, q, vamp, Mode::Evaluate).kl],
        }
    }

    /// -L_K (B), and w~ (B*K).
    fn weighed(&self, r: &mut Recorder, q: &Posterior, recon: Tensor) -> (Tensor, Tensor) {
        r.scope("loss");
        let log_w = importance::log_weights(r, recon, q.logvar, [q.noise(), q.z()]);
        importance::bound(r, log_w, q.mean.matrix()[0])
    }

    /// The parameters' gradients, from the bound and from dz (B*K,Z), the reconstruction's.
    pub fn backward_bound(&self, r: &mut Recorder, q: Posterior, saved: Saved, dz: Tensor, batch: &Batch) {
        let [shares, weights] = match saved {
            Saved::Kl(kl) => return self.backward(r, q, kl, dz, batch),
            Saved::Held(kl, weights) => {
                return self.backward(r, q, kl, dz, &batch.weighed(Rows::Weights(weights)));
            }
            Saved::Parted(parts) => return self.backward_parted(r, q, &parts, dz, batch),
            Saved::Sampled(sampled) => return self.backward_sampled(r, q, sampled, dz, batch),
            Saved::Weights(weights) => weights,
        };
        r.scope("latent");
        let sample = [q.z(), q.noise(), q.logvar];
        let [dmean, dlogvar] = match self.estimator {
            Estimator::Iwae => importance::backward_iwae(r, dz, sample, weights),
            Estimator::Dreg => importance::backward_dreg(r, dz, sample, [shares, weights]),
        };
        self.backward_network(r, q, [dmean, dlogvar]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_nothing_beside_several_samples_is_refused() {
        let check = |samples, divergence: Divergence, output| {
            let importance = Importance { importance: samples, ..Importance::default() };
            importance.check(&divergence, output).map_err(|e| e.to_string())
        };
        let none = Divergence::default;
        let bernoulli = Likelihood::Bernoulli;
        assert!(check(1, Divergence { free_bits: 0.1, ..none() }, Likelihood::OptimalSigma).is_ok());
        assert!(check(5, none(), bernoulli).is_ok());
        for (samples, divergence, output, word) in [
            (0, none(), bernoulli, "importance is 0, but must be 1 to 4096"),
            (5000, none(), bernoulli, "importance is 5000"),
            (5, Divergence { kl_weight: 2.0, ..none() }, bernoulli, "kl_weight is 2, but with importance 5"),
            (5, Divergence { free_bits: 0.1, ..none() }, bernoulli, "free_bits is 0.1"),
            (
                5,
                Divergence { kl_schedule: "linear:5".parse().unwrap(), ..none() },
                bernoulli,
                "kl_schedule is linear:5",
            ),
            (5, none(), Likelihood::OptimalSigma, "output is optimal_sigma"),
        ] {
            let message = check(samples, divergence, output).unwrap_err();
            assert!(message.starts_with(word) && !message.contains('\n'), "{message}");
        }
        let many = Importance { importance: 4096, ..Importance::default() };
        assert!(many.check_batch(256).is_ok());
        assert!(many.check_batch(257).unwrap_err().to_string().contains("--batch-size 257"));
    }

    #[test]
    fn samples_are_read_from_any_settings() {
        let samples = |text: &str| Importance::samples(&text.parse().unwrap());
        assert_eq!([samples(""), samples("importance = 7"), samples("importance = -1")], [1, 7, 1]);
    }
}
