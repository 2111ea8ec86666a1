//! Sequences of a trained model with a latent at each step: drawn of its prior, a step at a time, by the views `start`,
//! `emit` and `advance`; and what it makes of those that there are. C numbers of a step, O outputs of the network.

#[cfg(feature = "native")]
pub mod drawing;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::Trained;
use crate::data::features::Features;
use crate::data::table::STEPS;
use crate::error::Result;
use crate::models::parts::emission::Emission;
use crate::models::parts::read;

impl Trained {
    /// Whether it draws sequences step by step.
    pub fn is_of_steps(&self) -> bool {
        self.views.iter().any(|view| view.name == "emit")
    }

    /// The distribution of a step. Errors: it is no model of sequences.
    pub fn emission(&self) -> Result<Emission> {
        self.find_view("emit")?;
        read(&self.card.settings)
    }

    /// What the numbers of a step are. Panics on a model of anything but sequences, whose card has to have them.
    pub fn step_features(&self) -> &Features {
        self.card.features.as_ref().expect("the card of a model of sequences has features")
    }

    /// So many sequences of `steps` steps, (count, steps*C), on the model's scale. Sequence n has random numbers of its
    /// own. A temperature narrows the distribution of a step, not that of its latent.
    ///
    /// Errors: no model of sequences; no room on the device.
    pub fn generate(&mut self, count: usize, steps: usize, temperature: f64, seed: u64) -> Result<Vec<f32>> {
        let emission = self.emission()?;
        let [channels, _] = self.card.columns.steps(STEPS)?;
        let own = |n: usize| {
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            rng.set_stream(n as u64);
            rng
        };
        let mut rngs: Vec<ChaCha8Rng> = (0..count).map(own).collect();
        let mut all = vec![0.0; count * steps * channels];
        let mut state = self.view("start", &[("row", &vec![0.0; count])], seed)?.remove(0);
        for t in 0..steps {
            // The noise of each step's latents is of another seed.
            let of_step = seed.wrapping_add((t as u64 + 1) << 32);
            let emitted = self.view("emit", &[("state", &state)], of_step)?;
            let [z, outputs] = <[Vec<f32>; 2]>::try_from(emitted).expect("emit gives z and outputs");
            let rows = outputs.chunks(outputs.len() / count).zip(&mut rngs);
            let x: Vec<f32> = rows.flat_map(|(y, rng)| emission.sample(y, temperature, rng)).collect();
            for (n, x) in x.chunks(channels).enumerate() {
                all[(n * steps + t) * channels..][..channels].copy_from_slice(x);
            }
            state = self.view("advance", &[("state", &state), ("z", &z), ("x", &x)], seed)?.remove(0);
        }
        Ok(all)
    }

    /// The means of each step's numbers, (N, longest*C), for sequences x (N, longest*C) with NaN behind their ends:
    /// each latent is the mean of q. Behind an end the means say nothing.
    ///
    /// Errors: no model of sequences; no room on the device.
    pub fn step_means(&mut self, x: &[f32]) -> Result<Vec<f32>> {
        let emission = self.emission()?;
        let [channels, _] = self.card.columns.steps(STEPS)?;
        let outputs = self.view("reconstruct", &[(STEPS, x)], 0)?.remove(0);
        Ok(outputs.chunks(emission.outputs(channels)).flat_map(|y| emission.means(y)).collect())
    }
}
