//! How unlike its training data a model finds a row: four scores, larger for what is stranger. B rows, D values of a
//! row, Z latent dimensions, S samples z_s ~ q(z|x) = N(mean, e^logvar):
//!
//!   error        |x - x^|^2, x^ decoded from the mean of q(z|x)
//!   probability  -1/S sum_s log p(x|z_s), minus the reconstruction probability of An & Cho (2015)
//!   elbo         the same + KL(q(z|x) || p(z)), a bound of -log p(x)
//!   bound        -log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x), the tighter bound of Burda et al. (2015, arXiv 1509.00519)
//!
//! p(z) is N(0,1), or what the model's view `log_prior` says of it; the KL from that is one by the same samples.
//! The last three are in nats, and need the views `encode` and `likelihood`. The samples are drawn on the host, so that
//! every model with these views can be scored.

use std::ops::Range;

use super::stages::chunk;
use super::{Trained, kl_by_row};
use crate::data::table::{LABELS, PICTURES, Table};
use crate::error::{Error, Result};
use crate::kernels::random::host_normal;
use crate::models::parts::likelihood::Likelihood;
use crate::train::pictures::one_hot;

/// What a row is scored by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// The squared distance to the reconstruction.
    Error,
    /// -log p(x|z), averaged over samples of z.
    Probability,
    /// -ELBO
    Elbo,
    /// The importance-weighted bound.
    Bound,
}

impl Score {
    /// All of them, in the order that lists show.
    pub const ALL: [Score; 4] = [Score::Error, Score::Probability, Score::Elbo, Score::Bound];

    /// As in lists, files and options.
    pub fn name(self) -> &'static str {
        match self {
            Score::Error => "error",
            Score::Probability => "probability",
            Score::Elbo => "elbo",
            Score::Bound => "bound",
        }
    }

    /// Whether it is made of the model's likelihood.
    pub fn is_of_likelihood(self) -> bool {
        self != Score::Error
    }
}

/// The scores of N rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Scores {
    /// Each score that the model can give, with its value for each row.
    pub rows: Vec<(Score, Vec<f64>)>,
}

impl Scores {
    /// The rows' values of a score; `None` where the model cannot give it.
    pub fn of(&self, score: Score) -> Option<&[f64]> {
        self.rows.iter().find(|(found, _)| *found == score).map(|(_, values)| values.as_slice())
    }
}

impl Trained {
    /// The scores that the model can give: all four with the views `encode` and `likelihood`, unless the scale of
    /// p(x|z) is fitted to the batch a row stands in; else the error alone. Of sentences all but the error, as words
    /// have no distance. Errors: it does not reconstruct either.
    pub fn known_scores(&self) -> Result<&'static [Score]> {
        if self.is_of_sentences() {
            self.find_view("likelihood")?;
            return Ok(&Score::ALL[1..]);
        }
        self.find_view("reconstruct")?;
        let has = |name: &str| self.views.iter().any(|view| view.name == name);
        let is_of_row = self.output.is_some_and(|output| output != Likelihood::OptimalSigma);
        Ok(if has("encode") && has("likelihood") && is_of_row { &Score::ALL } else { &Score::ALL[..1] })
    }

    /// The scores of all rows of a split, with `samples` samples of z a row, drawn by the seed. `progress` is told how
    /// many rows are done.
    ///
    /// Errors: no samples; those of [`known_scores`](Trained::known_scores); a split without the labels that the model
    /// is told; no room on the device; a score that is not finite.
    pub fn scores(
        &mut self,
        split: &Table,
        samples: usize,
        seed: u64,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Scores> {
        if samples == 0 {
            return Err(Error::Usage("a score needs at least 1 sample of z".into()));
        }
        let known = self.known_scores()?;
        let mut scores = Scores { rows: known.iter().map(|&score| (score, Vec::with_capacity(split.count))).collect() };
        let rows = chunk(split.dims());
        for (number, first) in (0..split.count).step_by(rows).enumerate() {
            let range = first..(first + rows).min(split.count);
            let noise = |s: usize, n: usize| host_normal(seed, (number * samples + s) as u32, n);
            for (score, values) in self.scores_of(split, range.clone(), samples, &noise)? {
                let (_, all) = scores.rows.iter_mut().find(|(found, _)| *found == score).expect("it is known");
                all.extend(values);
            }
            progress(range.end);
        }
        for (score, values) in &scores.rows {
            if let Some(row) = values.iter().position(|value| !value.is_finite()) {
                let problem = format!("the {} of row {row} is {}: it cannot be ranked", score.name(), values[row]);
                return Err(Error::file(&self.path, problem));
            }
        }
        Ok(scores)
    }

    /// Those of a chunk of rows. `noise` gives the standard normal numbers of a sample.
    fn scores_of(
        &mut self,
        split: &Table,
        rows: Range<usize>,
        samples: usize,
        noise: &dyn Fn(usize, usize) -> Vec<f32>,
    ) -> Result<Vec<(Score, Vec<f64>)>> {
        let (x, dims) = (split.values(rows.clone()), split.dims()); // (B,D)
        let (known, modelled) = (self.known_scores()?, self.modelled());
        let asked = if known.contains(&Score::Error) { "reconstruct" } else { "encode" };
        let labels = match self.classes(asked)? {
            Some(classes) => self.labels_of(asked, split, rows)?.map(|labels| one_hot(labels, classes)),
            None => None,
        };
        let label = labels.as_deref().unwrap_or_default();
        let x = x.as_slice();

        let mut scores = Vec::new();
        if known.contains(&Score::Error) {
            let view = self.find_view("reconstruct")?;
            let place = view.outputs.iter().position(|port| port.name == "reconstruction").unwrap_or(0);
            let reconstruction = self.view("reconstruct", &[(PICTURES, x), (LABELS, label)], 0)?.swap_remove(place);
            let error = x.chunks(dims).zip(reconstruction.chunks(dims)).map(|(x, y)| distance(x, y)).collect();
            scores.push((Score::Error, error));
        }
        if known.len() == scores.len() {
            return Ok(scores);
        }

        let q = self.view("encode", &[(modelled, x), (LABELS, label)], 0)?;
        let [mean, logvar] = [&q[0], &q[1]]; // (B,Z)
        let latent = self.latent()?;
        // ANCHOR: samples
        let mut probability = vec![0.0; x.len() / dims];
        let mut weights = vec![Sum::default(); x.len() / dims];
        let is_learned = self.find_view("log_prior").is_ok();
        let mut kl = if is_learned { vec![0.0; x.len() / dims] } else { kl_by_row(mean, logvar, latent) };
        // Of few rows several samples go through a view at once.
        let (rows, latents) = (x.len() / dims, mean.len());
        let at_once = (chunk(dims) / rows).clamp(1, samples);
        for first in (0..samples).step_by(at_once) {
            let group = first..(first + at_once).min(samples);
            let noise: Vec<f32> = group.clone().flat_map(|s| noise(s, latents)).collect();
            let of = mean.iter().zip(logvar).cycle();
            let z: Vec<f32> = of.zip(&noise).map(|((m, v), n)| m + (0.5 * v).exp() * n).collect();
            let (x, label) = (x.repeat(group.len()), label.repeat(group.len()));
            let inputs = [(modelled, x.as_slice()), ("z", z.as_slice()), (LABELS, label.as_slice())];
            let recon = self.view("likelihood", &inputs, 0)?.swap_remove(0); // (S*B,1)
            let log_prior = match is_learned {
                true => self.view("log_prior", &[("z", &z)], 0)?.swap_remove(0), // (S*B,1)
                false => Vec::new(),
            };
            for (at, &recon) in recon.iter().enumerate() {
                let row = at % rows;
                let [of, of_row] = [at, row].map(|row| row * latent..(row + 1) * latent);
                let recon = f64::from(recon);
                probability[row] += recon / samples as f64;
                let mut ratio = log_ratio(&noise[of.clone()], &logvar[of_row], &z[of.clone()]);
                if is_learned {
                    ratio += f64::from(log_prior[at]) - log_normal(&z[of]);
                    kl[row] -= ratio / samples as f64;
                }
                weights[row].add(ratio - recon);
            }
        }
        let elbo = probability.iter().zip(kl).map(|(recon, kl)| recon + kl).collect();
        let bound = weights.iter().map(|sum| (samples as f64).ln() - sum.log()).collect();
        // ANCHOR_END: samples
        scores.extend([(Score::Probability, probability), (Score::Elbo, elbo), (Score::Bound, bound)]);
        Ok(scores)
    }
}

/// |x - y|^2
fn distance(x: &[f32], y: &[f32]) -> f64 {
    x.iter().zip(y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()
}

/// log p(z) - log q(z|x) of z = mean + e^(logvar/2) noise: both densities have the same log 2 pi.
fn log_ratio(noise: &[f32], logvar: &[f32], z: &[f32]) -> f64 {
    let terms = noise.iter().zip(logvar).zip(z).map(|((n, v), z)| {
        let [n, v, z] = [n, v, z].map(|value| f64::from(*value));
        0.5 * (n * n + v - z * z)
    });
    terms.sum()
}

/// log N(z; 0, 1)
fn log_normal(z: &[f32]) -> f64 {
    z.iter().map(|&z| -0.5 * (std::f64::consts::TAU.ln() + f64::from(z).powi(2))).sum()
}

/// A running log sum_s e^(w_s): the largest w, and the sum of e^(w - largest).
#[derive(Clone, Copy)]
struct Sum {
    largest: f64,
    sum: f64,
}

impl Default for Sum {
    fn default() -> Sum {
        Sum { largest: f64::NEG_INFINITY, sum: 0.0 }
    }
}

impl Sum {
    fn add(&mut self, w: f64) {
        if w > self.largest {
            self.sum *= (self.largest - w).exp();
            self.largest = w;
        }
        self.sum += (w - self.largest).exp();
    }

    fn log(self) -> f64 {
        self.largest + self.sum.ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_sum_is_the_sum_of_exponentials() {
        let values = [-1000.0, -1001.5, -999.0, -1003.0];
        let mut sum = Sum::default();
        values.iter().for_each(|&w| sum.add(w));
        let expected = -1000.0 + values.iter().map(|w| (w + 1000.0f64).exp()).sum::<f64>().ln();
        assert!((sum.log() - expected).abs() < 1e-12);
        sum.add(f64::NAN);
        assert!(sum.log().is_nan());
    }

    #[test]
    fn the_ratio_is_of_the_two_densities() {
        let (mean, logvar, noise) = ([0.3f32, -1.0], [-0.5f32, 0.25], [0.7f32, -1.2]);
        let z: Vec<f32> = (0..2).map(|j| mean[j] + (0.5 * logvar[j]).exp() * noise[j]).collect();
        let density = |z: f32, mean: f32, logvar: f32| {
            let [z, mean, logvar] = [z, mean, logvar].map(f64::from);
            -0.5 * ((2.0 * std::f64::consts::PI).ln() + logvar + (z - mean).powi(2) / logvar.exp())
        };
        let expected: f64 = (0..2).map(|j| density(z[j], 0.0, 0.0) - density(z[j], mean[j], logvar[j])).sum();
        assert!((log_ratio(&noise, &logvar, &z) - expected).abs() < 1e-6);
    }
}
