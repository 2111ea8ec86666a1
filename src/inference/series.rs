//! What a model of series says of one: how strange its steps and windows are, and how it goes on. N steps of C numbers
//! on the model's scale, NaN where one is missing; W steps of a window; Z latent dimensions.
//!
//! A window is read to the mean of q(z|x) and drawn again from it, so that nothing here is random but a forecast. A
//! number of it costs, x^ and sigma being what is drawn,
//!
//!   error         (x - x^)^2
//!   probability   -log N(x; x^, sigma^2)
//!   elbo          the same + KL(q(z|x) || N(0,1)) / numbers of the window that were seen
//!
//! A step's score is the mean over its numbers that were seen, in all windows that cover it; a window's that over all
//! of its numbers.

use super::{Trained, kl_by_row};
use crate::data::sequences::series::Series;
use crate::data::table::STEPS;
use crate::error::{Error, Result};
use crate::inference::scores::Score;
use crate::kernels::random::host_normal;

/// What steps and windows are scored by.
pub const SCORES: [Score; 3] = [Score::Error, Score::Probability, Score::Elbo];

/// Windows that go through a view at once: their numbers are held several times.
const WINDOWS: usize = 1024;

/// The scores of a series, in the order of [`SCORES`].
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesScores {
    /// The first step of each window and its scores.
    pub windows: Vec<(usize, [f64; 3])>,
    /// (N): those of each step; NaN where no window covers it, or nothing of it was seen.
    pub steps: Vec<[f64; 3]>,
}

/// How a series goes on, on the model's scale: the moments of the mixture over all z that were drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Forecast {
    /// (steps,C)
    pub mean: Vec<f64>,
    /// (steps,C): of a number, of what p(x|z) says and of where z may be.
    pub deviation: Vec<f64>,
}

impl Trained {
    /// Whether it is a model of series, which gives a normal distribution for each number of a window.
    pub fn is_of_series(&self) -> bool {
        self.find_view("reconstruct").is_ok_and(|view| {
            let outputs: Vec<&str> = view.outputs.iter().map(|port| port.name).collect();
            view.input(STEPS).is_some() && outputs == ["mean", "logvar"]
        })
    }

    /// C and W. Errors: it is no model of series.
    pub fn series_sizes(&self) -> Result<[usize; 2]> {
        match self.is_of_series() {
            true => self.card.columns.steps(STEPS),
            false => {
                let problem = format!("this asks for a model of series, and this one is of {}", self.card.columns);
                Err(Error::Usage(problem))
            }
        }
    }

    /// The numbers of a series (N,C) on the model's scale, NaN where one is missing. Errors: other channels than the
    /// model's; a number that is too far from those of its training.
    pub fn standardised(&self, series: &Series) -> Result<Vec<f32>> {
        let features = self.step_features();
        features.check_names(&series.channels, &series.name)?;
        let numbers = features.standardised(&series.values);
        features.check(&numbers, &series.name).map(|()| numbers)
    }

    /// Scores of the numbers of a series (N,C) by the windows that begin at these steps. Errors: no model of series; no
    /// room on the device. Panics on a window beyond the end.
    pub fn series_scores(&mut self, numbers: &[f32], starts: &[usize]) -> Result<SeriesScores> {
        let [channels, longest] = self.series_sizes()?;
        let latent = self.latent()?;
        let steps = numbers.len() / channels;
        let mut scores = SeriesScores { windows: Vec::with_capacity(starts.len()), steps: vec![[0.0; 3]; steps] };
        let mut seen = vec![0.0; steps];
        for starts in starts.chunks(WINDOWS) {
            let of_window = |&start: &usize| &numbers[start * channels..(start + longest) * channels];
            let x: Vec<f32> = starts.iter().flat_map(of_window).copied().collect();
            let q = self.encode(&x, None)?;
            let kl = kl_by_row(&q[0], &q[1], latent);
            let drawn = self.view("decode", &[("z", &q[0])], 0)?;
            let width = channels * longest;
            for (n, (&start, kl)) in starts.iter().zip(kl).enumerate() {
                let of = |values: &[f32], at: usize| f64::from(values[n * width + at]);
                let there: Vec<usize> = (0..width).filter(|at| !x[n * width + at].is_nan()).collect();
                let kl_a_number = kl / there.len() as f64;
                let mut window = [0.0; 3];
                for &at in &there {
                    let costs = costs(of(&x, at), of(&drawn[0], at), of(&drawn[1], at), kl_a_number);
                    let step = start + at / channels;
                    seen[step] += 1.0;
                    (0..3).for_each(|score| {
                        window[score] += costs[score] / there.len() as f64;
                        scores.steps[step][score] += costs[score];
                    });
                }
                scores.windows.push((start, if there.is_empty() { [f64::NAN; 3] } else { window }));
            }
        }
        for (step, seen) in scores.steps.iter_mut().zip(seen) {
            // Nothing seen of nothing is no number.
            step.iter_mut().for_each(|score| *score /= seen);
        }
        Ok(scores)
    }

    // ANCHOR: forecast
    /// How the numbers of a series (N,C) go on for so many steps: the last of them and the steps to come are a window
    /// whose end is missing. z is drawn `samples` times from q(z|x) of what was seen, and each is drawn whole.
    ///
    /// Errors: no model of series; none that has learned to go on so far; no sample; a series of which nothing was
    /// seen.
    pub fn forecast(&mut self, numbers: &[f32], steps: usize, samples: usize, seed: u64) -> Result<Forecast> {
        let [channels, longest] = self.series_sizes()?;
        let hide = self.card.settings.get("hide").and_then(toml::Value::as_integer).unwrap_or(0) as usize;
        if !(1..=hide).contains(&steps) {
            let learned =
                if hide == 0 { "not learned to go on".into() } else { format!("learned to go on for 1 to {hide}") };
            return Err(Error::Usage(format!(
                "a forecast of {steps} steps is asked for, and the model has {learned}: train one with --set hide={} \
                 (of windows that are longer)",
                steps.max(1)
            )));
        }
        if samples == 0 {
            return Err(Error::Usage("a forecast needs at least 1 sample of z".into()));
        }
        let shown = &numbers[numbers.len().saturating_sub((longest - steps) * channels)..];
        if shown.iter().all(|x| x.is_nan()) {
            return Err(Error::Usage("nothing was seen in the last window: there is nothing to go on from".into()));
        }
        let mut window = vec![f32::NAN; longest * channels];
        window[..shown.len()].copy_from_slice(shown);
        let [mean, logvar] = self.encode(&window, None)?; // (Z)
        let noise = host_normal(seed, 0, samples * mean.len());
        let q = mean.iter().zip(&logvar).cycle();
        let z: Vec<f32> = q.zip(&noise).map(|((m, v), n)| m + (0.5 * v).exp() * n).collect();
        let drawn = self.view("decode", &[("z", &z)], 0)?; // (samples,W*C)
        let of = |values: &[f32], sample: usize, at: usize| f64::from(values[sample * window.len() + shown.len() + at]);
        let share = 1.0 / samples as f64;
        let all = 0..steps * channels;
        let mean_of = |at: usize| (0..samples).map(|sample| share * of(&drawn[0], sample, at)).sum::<f64>();
        let mean: Vec<f64> = all.clone().map(mean_of).collect();
        let variance = |at: usize| {
            let of_sample = |sample| of(&drawn[1], sample, at).exp() + (of(&drawn[0], sample, at) - mean[at]).powi(2);
            (0..samples).map(|sample| share * of_sample(sample)).sum::<f64>()
        };
        let deviation = all.map(|at| variance(at).sqrt()).collect();
        Ok(Forecast { mean, deviation })
    }
    // ANCHOR_END: forecast
}

/// Error, probability and elbo of a number.
fn costs(x: f64, mean: f64, logvar: f64, kl: f64) -> [f64; 3] {
    let error = (x - mean).powi(2);
    let nats = 0.5 * (std::f64::consts::TAU.ln() + logvar + error * (-logvar).exp());
    [error, nats, nats + kl]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_costs_its_density() {
        let [error, nats, elbo] = costs(3.0, 1.0, 4f64.ln(), 0.25);
        let density = (-0.5f64).exp() / (8.0 * std::f64::consts::PI).sqrt();
        assert_eq!(error, 4.0);
        assert!((nats + density.ln()).abs() < 1e-12 && elbo == nats + 0.25);
    }
}
