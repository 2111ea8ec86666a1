//! The pictures that each epoch leaves: samples, reconstructions, curves. Large ones are drawn smaller or fewer, so that no
//! run ends because of them.

use super::metrics::EpochMetrics;
use super::programs::RECONSTRUCTIONS;
use super::run_folder::RunFolder;
use crate::error::Result;
use crate::picture::{self, Fit};

/// Side of the square that a pixel becomes, where there is room.
const UPSCALE: usize = 2;
/// Test pictures side by side, each above its reconstruction.
const COLUMNS: usize = 16;

/// How many of `count` samples of (H,W) the grid holds, and how it is laid out: nearly a square. `None` for not even one.
pub fn samples(count: usize, image: [usize; 2]) -> Option<Fit> {
    picture::fit(count, image, UPSCALE, |count| {
        let columns = count.isqrt().max(1);
        [count.div_ceil(columns), columns]
    })
}

/// The same of test pictures above their reconstructions.
pub fn reconstructions(count: usize, image: [usize; 2]) -> Option<Fit> {
    picture::fit(count, image, UPSCALE, |count| [2 * count.div_ceil(COLUMNS), count.min(COLUMNS)])
}

/// How a run's grids are laid out; what is `None` is not drawn.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// (C,H,W) of a picture.
    pub shape: [usize; 3],
    /// Of the samples.
    pub samples: Option<Fit>,
    /// Of the reconstructions.
    pub reconstructions: Option<Fit>,
}

impl Layout {
    /// For `count` samples (none for 0) and a test set of `test` pictures.
    pub fn new(count: usize, test: usize, shape: [usize; 3]) -> Layout {
        let [_, h, w] = shape;
        let samples = if count > 0 { samples(count, [h, w]) } else { None };
        Layout { shape, samples, reconstructions: reconstructions(RECONSTRUCTIONS.min(test), [h, w]) }
    }

    /// A line where fewer test pictures are drawn than usual.
    pub fn note(&self, test: usize) -> Option<String> {
        let usual = RECONSTRUCTIONS.min(test);
        let [_, h, w] = self.shape;
        let what = match self.reconstructions {
            Some(fit) if fit.count == usual => return None,
            Some(fit) => format!("{} of {usual} are drawn", fit.count),
            None => "none are drawn".into(),
        };
        Some(format!("note: reconstructions of {h}x{w} pixels are more than a picture holds: {what}"))
    }

    /// Draws samples (S,D), if there are any to draw. Errors: a file that cannot be written.
    pub fn save_samples(&self, folder: &RunFolder, epoch: usize, samples: &[f32]) -> Result<()> {
        let [c, h, w] = self.shape;
        match self.samples {
            None => Ok(()),
            Some(Fit { count, columns, upscale }) => {
                picture::grid(samples, [count, c, h, w], columns, upscale)?.save(folder.samples(epoch))
            }
        }
    }

    /// Draws originals (R,D) above their reconstructions (R,D), if there is room for any. Errors: a file that cannot be
    /// written.
    pub fn save_reconstructions(&self, folder: &RunFolder, epoch: usize, [originals, made]: [&[f32]; 2]) -> Result<()> {
        let [c, h, w] = self.shape;
        match self.reconstructions {
            None => Ok(()),
            Some(Fit { count, columns, upscale }) => {
                let shape = [count, c, h, w];
                picture::reconstructions(originals, made, shape, columns, upscale)?.save(folder.reconstructions(epoch))
            }
        }
    }
}

/// Draws the losses of all epochs so far. Errors: a file that cannot be written.
pub fn save_curves(folder: &RunFolder, title: &str, rows: &[EpochMetrics]) -> Result<()> {
    let series = |name: &str, value: fn(&EpochMetrics) -> f64| {
        (name.to_string(), rows.iter().map(|m| (m.epoch as f64, value(m))).collect::<Vec<_>>())
    };
    let curves = [series("train", |m| m.train_loss), series("test", |m| m.test_loss)];
    picture::curves(&curves, title, "epoch", "loss (nats)").save(folder.curves())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grids_of_every_size_are_what_the_picture_holds() {
        let usual = Layout::new(64, 1000, [1, 28, 28]);
        assert_eq!(usual.samples, Some(Fit { count: 64, columns: 8, upscale: 2 }));
        assert_eq!(usual.reconstructions, Some(Fit { count: 32, columns: 16, upscale: 2 }));
        assert_eq!(usual.note(1000), None);
        assert!(Layout::new(0, 5, [1, 28, 28]).samples.is_none());
        for side in [520, 740, 3000, 8200] {
            let layout = Layout::new(64, 40, [3, side, side]);
            for (fit, each) in [(layout.samples, 1), (layout.reconstructions, 2)] {
                let Some(fit) = fit else { continue };
                let rows = each * fit.count.div_ceil(fit.columns);
                assert!(picture::grid_size([rows, fit.columns], [side, side], fit.upscale).is_ok(), "{side}: {fit:?}");
            }
            assert_eq!(layout.note(40).is_some(), layout.reconstructions.is_none_or(|fit| fit.count < 32), "{side}");
        }
    }
}
