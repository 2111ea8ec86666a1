//! Codes drawn from a prior, one place after the other.

use super::Trained;
use crate::data::table::Kind;
use crate::error::Result;
use crate::kernels::cross_entropy::largest;
use crate::kernels::random::host_uniform;
use crate::train::pictures::SAMPLE_SITE;

impl Trained {
    /// Whether it has a prior over its codes, so that [`draw_codes`](Trained::draw_codes) can draw from it.
    pub fn has_prior(&self) -> bool {
        self.find_view("next").is_ok()
    }

    /// So many samples of the prior, (count,V) numbers of codes: a pass of the model for each of the V places, in the
    /// order of reading, which gives the logits of its code given those before. A temperature below 1 divides them:
    /// likelier codes become likelier; 0 takes the likeliest.
    ///
    /// Errors: a model without such a prior, those of the device.
    pub fn draw_codes(&mut self, count: usize, seed: u64, temperature: f32) -> Result<Vec<f32>> {
        self.find_view("next")?;
        let Kind::Codes { places: [h, w], codes } = self.latent_kind()? else {
            unreachable!("what comes next is a code")
        };
        let places = h * w;
        let uniform = host_uniform(seed, SAMPLE_SITE, count * places);
        let mut drawn = vec![0.0; count * places];
        for place in 0..places {
            let logits = self.view("next", &[("codes", &drawn)], seed)?.remove(0);
            for row in 0..count {
                let at = row * places + place;
                drawn[at] = draw(&logits[at * codes..][..codes], uniform[at], f64::from(temperature)) as f32;
            }
        }
        Ok(drawn)
    }
}

/// The class of softmax(logits / temperature) that a number uniform in (0,1) falls into.
fn draw(logits: &[f32], uniform: f64, temperature: f64) -> usize {
    let likeliest = largest(logits);
    if temperature == 0.0 {
        return likeliest;
    }
    let most = f64::from(logits[likeliest]);
    let weights: Vec<f64> = logits.iter().map(|&l| ((f64::from(l) - most) / temperature).exp()).collect();
    let mut rest = uniform * weights.iter().sum::<f64>();
    // Rounding may leave a rest behind the last one.
    let falls_into = weights.iter().position(|weight| {
        rest -= weight;
        rest < 0.0
    });
    falls_into.unwrap_or(likeliest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_drawn_as_often_as_their_softmax_says() {
        let logits = [0.0f32, (2.0f32).ln(), f32::NEG_INFINITY, (5.0f32).ln()];
        let shares = |temperature: f64| {
            let mut counts = [0usize; 4];
            (0..8000).for_each(|i| counts[draw(&logits, (f64::from(i) + 0.5) / 8000.0, temperature)] += 1);
            counts
        };
        assert_eq!(shares(1.0), [1000, 2000, 0, 5000]);
        // Squared: 1, 4, 25 of 30.
        assert_eq!(shares(0.5).map(|count| (count as f64 / 8000.0 * 30.0).round()), [1.0, 4.0, 0.0, 25.0]);
        assert_eq!(shares(0.0), [0, 0, 0, 8000]);
    }
}
