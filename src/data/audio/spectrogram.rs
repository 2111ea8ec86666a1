//! A recording as a picture, and a picture as a sound. The picture is the log-mel spectrogram: a column a spectrum, a
//! row a mel filter, the lowest at the bottom, and as brightness the level in dB, from `top_db` below the peak (0) to
//! the peak (1). The peak is the loudest level of the training recordings.

use serde::{Deserialize, Serialize};

use super::griffin_lim::{MOMENTUM, TURNS, griffin_lim};
use super::mel::MelFilters;
use super::stft::Stft;
use crate::data::MAX_SIDE;
use crate::error::{Error, Result};
use crate::train::given::flag;

/// The level of silence in dB, whose logarithm would be none.
pub(super) const SILENT: f32 = -100.0;

/// How sounds are cut into spectra: the names are torchaudio's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Samples a second.
    pub sample_rate: u32,
    /// N, samples of a window.
    pub n_fft: usize,
    /// Samples from one window to the next.
    pub hop_length: usize,
    /// M, the filters: the height of the picture.
    pub n_mels: usize,
    /// T, the windows: the width of the picture.
    pub frames: usize,
    /// dB from black to white.
    pub top_db: f64,
}

impl Default for Analysis {
    /// For spoken words: windows of 32 ms every 12 ms, 0.76 seconds, up to 4 kHz.
    fn default() -> Analysis {
        Analysis { sample_rate: 8000, n_fft: 256, hop_length: 96, n_mels: 64, frames: 64, top_db: 80.0 }
    }
}

impl Analysis {
    /// Samples that a picture is of, (T-1) hops. A longer recording is cut, a shorter one is followed by silence.
    pub fn samples(&self) -> usize {
        (self.frames - 1) * self.hop_length
    }

    /// The same in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples() as f64 / f64::from(self.sample_rate)
    }

    /// (C,H,W) of its pictures.
    pub fn shape(&self) -> [usize; 3] {
        [1, self.n_mels, self.frames]
    }

    /// Errors: a value with which nothing can be heard, by its flag.
    pub fn check(&self) -> Result<()> {
        let Analysis { sample_rate, n_fft, hop_length, n_mels, frames, top_db } = *self;
        let problem = |key: &str, value: String, rule: &str| {
            Err(Error::Usage(format!("{} is {value}, but must be {rule}", flag(key))))
        };
        if !(1000..=192_000).contains(&sample_rate) {
            return problem("sample_rate", sample_rate.to_string(), "1000 to 192000 samples a second");
        }
        if !(16..=1 << 16).contains(&n_fft) || n_fft % 2 == 1 {
            return problem("n_fft", n_fft.to_string(), "an even number of 16 to 65536 samples");
        }
        if !(1..=n_fft / 2).contains(&hop_length) {
            return problem("hop_length", hop_length.to_string(), &format!("1 to {}, half of --n-fft", n_fft / 2));
        }
        if !(2..=MAX_SIDE).contains(&frames) {
            return problem("frames", frames.to_string(), &format!("2 to {MAX_SIDE}"));
        }
        if !(top_db > 0.0 && top_db <= 200.0) {
            return problem("top_db", top_db.to_string(), "above 0 and at most 200 dB");
        }
        if n_mels == 0 || n_mels > n_fft / 2 || !MelFilters::new(sample_rate, n_fft, n_mels).are_filled() {
            let rule = format!("1 or more, and so few that each filter has one of the frequencies of --n-fft {n_fft}");
            return problem("n_mels", n_mels.to_string(), &rule);
        }
        Ok(())
    }
}

/// An analysis with the level of white: what turns recordings into a model's pictures, and these into sounds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spectrogram {
    /// How sounds are cut.
    #[serde(flatten)]
    pub analysis: Analysis,
    /// The level of white in dB of a power of 1.
    pub peak: f64,
}

impl Spectrogram {
    /// Whether a file that claims it can be taken at its word, for pictures of this (C,H,W).
    pub fn is_whole(&self, shape: [usize; 3]) -> bool {
        self.analysis.check().is_ok() && self.analysis.shape() == shape && self.peak.is_finite()
    }

    /// Levels in dB as the bytes of a picture.
    pub fn bytes(&self, levels: &[f32]) -> Vec<u8> {
        let Spectrogram { analysis: Analysis { top_db, .. }, peak } = self;
        let share = |level: &f32| 1.0 + (f64::from(*level) - peak) / top_db;
        levels.iter().map(|level| (share(level).clamp(0.0, 1.0) * 255.0).round() as u8).collect()
    }

    /// The sound that a picture (M T) with values of 0 to 1 stands for: (T-1) hops of samples. Its filters' powers
    /// become those of the frequencies by non-negative least squares, and Griffin-Lim finds phases for them.
    pub fn sound(&self, picture: &[f32]) -> Vec<f64> {
        let Analysis { sample_rate, n_fft, hop_length, n_mels, frames, top_db } = self.analysis;
        assert!(picture.len() == n_mels * frames, "{} values are no picture of {n_mels}x{frames}", picture.len());
        let (stft, filters) = (Stft::new(n_fft, hop_length), MelFilters::new(sample_rate, n_fft, n_mels));
        let power = |value: f32| match f64::from(value.clamp(0.0, 1.0)) {
            // Black is all that is quieter, too.
            0.0 => 0.0,
            share => 10f64.powf((self.peak - top_db * (1.0 - share)) / 10.0),
        };
        let magnitudes: Vec<f64> = (0..frames)
            .flat_map(|t| {
                let mels: Vec<f64> = (0..n_mels).map(|m| power(picture[(n_mels - 1 - m) * frames + t])).collect();
                filters.invert(&mels)
            })
            .map(f64::sqrt)
            .collect();
        griffin_lim(&stft, &magnitudes, TURNS, MOMENTUM, 1)
    }
}

/// An analysis made ready.
pub struct Analyser {
    analysis: Analysis,
    stft: Stft,
    filters: MelFilters,
}

impl Analyser {
    /// Its window and filters.
    pub fn new(analysis: &Analysis) -> Analyser {
        let Analysis { sample_rate, n_fft, hop_length, n_mels, .. } = *analysis;
        let (stft, filters) = (Stft::new(n_fft, hop_length), MelFilters::new(sample_rate, n_fft, n_mels));
        Analyser { analysis: analysis.clone(), stft, filters }
    }

    /// Levels of a sound in dB, 10 log10 of the filters' power, as a picture (M T): the highest filter in the first
    /// row.
    pub fn levels(&self, samples: &[f64]) -> Vec<f32> {
        let Analysis { n_mels, frames, .. } = self.analysis;
        let samples = &samples[..samples.len().min(self.analysis.samples())];
        let spectra = self.stft.forward(samples, frames);
        let mut levels = vec![0.0; n_mels * frames];
        for (t, spectrum) in spectra.chunks_exact(self.stft.bins()).enumerate() {
            let power: Vec<f64> = spectrum.iter().map(|value| value.norm_sqr()).collect();
            for (m, power) in self.filters.apply(&power).into_iter().enumerate() {
                levels[(n_mels - 1 - m) * frames + t] = (10.0 * power.log10()).max(f64::from(SILENT)) as f32;
            }
        }
        levels
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::PI;

    use super::*;

    fn tone(analysis: &Analysis, hertz: f64) -> Vec<f64> {
        let rate = f64::from(analysis.sample_rate);
        (0..analysis.samples()).map(|n| 0.5 * (2.0 * PI * hertz * n as f64 / rate).sin()).collect()
    }

    /// The row of the brightest value in the middle of a picture.
    fn brightest_row(levels: &[f32], [_, rows, columns]: [usize; 3]) -> usize {
        let level = |row: usize| levels[row * columns + columns / 2];
        (0..rows).max_by(|&a, &b| level(a).total_cmp(&level(b))).unwrap()
    }

    #[test]
    fn low_tones_are_at_the_bottom_and_as_loud_as_they_are() {
        let analysis = Analysis::default();
        let analyser = Analyser::new(&analysis);
        let row = |hertz: f64| brightest_row(&analyser.levels(&tone(&analysis, hertz)), analysis.shape());
        let rows = [200.0, 800.0, 2000.0, 3500.0].map(row);
        assert!(rows.is_sorted_by(|a, b| a > b) && rows[0] > 50 && rows[3] < 8, "{rows:?}");
        // A sine of amplitude a has the magnitude a N / 4 under a Hann window, at a frequency of the transform.
        let level = analyser.levels(&tone(&analysis, 1000.0)).into_iter().fold(f32::MIN, f32::max);
        let wanted = 20.0 * (0.5f64 * 256.0 / 4.0).log10();
        assert!((f64::from(level) - wanted).abs() < 1.0, "{level} {wanted}");
        assert!(analyser.levels(&[0.0; 9]).iter().all(|&level| level == SILENT));
    }

    #[test]
    fn a_tone_comes_back_from_its_picture() {
        let analysis = Analysis::default();
        let analyser = Analyser::new(&analysis);
        for hertz in [450.0, 1300.0] {
            let levels = analyser.levels(&tone(&analysis, hertz));
            let peak = f64::from(levels.iter().copied().fold(f32::MIN, f32::max));
            let spectrogram = Spectrogram { analysis: analysis.clone(), peak };
            let bytes = spectrogram.bytes(&levels);
            assert!(bytes.contains(&255) && bytes.contains(&0));
            let picture: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
            let sound = spectrogram.sound(&picture);
            assert_eq!(sound.len(), analysis.samples());
            let again = analyser.levels(&sound);
            assert_eq!(brightest_row(&again, analysis.shape()), brightest_row(&levels, analysis.shape()));
            let loud = |levels: &[f32]| levels.iter().copied().fold(f32::MIN, f32::max);
            assert!((loud(&again) - loud(&levels)).abs() < 3.0, "{} {}", loud(&again), loud(&levels));
        }
    }

    #[test]
    fn an_analysis_that_hears_nothing_is_refused_by_its_flag() {
        let usual = Analysis::default;
        for (wrong, words) in [
            (Analysis { sample_rate: 10, ..usual() }, ["--sample-rate is 10", "1000 to 192000"]),
            (Analysis { n_fft: 255, ..usual() }, ["--n-fft is 255", "even"]),
            (Analysis { hop_length: 129, ..usual() }, ["--hop-length is 129", "1 to 128"]),
            (Analysis { n_mels: 100, ..usual() }, ["--n-mels is 100", "--n-fft 256"]),
            (Analysis { frames: 1, ..usual() }, ["--frames is 1", "2 to"]),
            (Analysis { top_db: 0.0, ..usual() }, ["--top-db is 0", "above 0"]),
        ] {
            let message = wrong.check().unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)), "{message}");
        }
        assert!(usual().check().is_ok());
        let whole = Spectrogram { analysis: usual(), peak: 30.0 };
        assert!(whole.is_whole([1, 64, 64]) && !whole.is_whole([1, 64, 63]));
        assert!(!Spectrogram { peak: f64::NAN, ..whole }.is_whole([1, 64, 64]));
    }
}
