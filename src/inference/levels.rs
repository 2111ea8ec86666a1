//! How far the reconstructions of recordings are from them, in decibels.

use super::Trained;
use super::stages::chunk;
use crate::data::table::Table;
use crate::error::Result;

/// Differences in level of two spectrograms, over all mel filters, frames and recordings, padding included. Levels
/// below `top_db` under the peak count as that, on both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelError {
    /// The root of the mean square, dB.
    pub rms: f64,
    /// The mean absolute difference, dB.
    pub mean_absolute: f64,
}

impl Trained {
    /// The error of the last output of `reconstruct`, what a VAE decodes from the mean of q(z|x), and a denoising model
    /// from the recording under noise of this seed. Errors: no model of recordings; those of the view.
    pub fn level_error(&mut self, split: &Table, seed: u64) -> Result<LevelError> {
        let top_db = self.spectrogram()?.analysis.top_db;
        let chunk = chunk(split.dims());
        let [mut squares, mut sizes] = [0.0, 0.0];
        for start in (0..split.count).step_by(chunk) {
            let rows = start..(start + chunk).min(split.count);
            let labels = self.labels_of("reconstruct", split, rows.clone())?;
            let x = split.values(rows);
            let seed = seed.wrapping_add((start as u64) << 32);
            let made = self.told("reconstruct", ("x", &x), labels.as_deref(), seed)?.pop().expect("a view has outputs");
            for (x, made) in x.iter().zip(made) {
                let apart = top_db * f64::from(x - made.clamp(0.0, 1.0));
                squares += apart * apart;
                sizes += apart.abs();
            }
        }
        let count = (split.count * split.dims()) as f64;
        Ok(LevelError { rms: (squares / count).sqrt(), mean_absolute: sizes / count })
    }
}
