//! The mel scale: M triangles over the frequencies of a spectrum, as far apart as the ear has them. Of the two formulas
//! in use this is HTK's, mel(f) = 2595 log10(1 + f / 700 Hz), and the triangles have a height of 1: torchaudio's
//! defaults. Slaney's formula is librosa's default.

/// Multiplicative steps of [`MelFilters::invert`].
const STEPS: usize = 100;

/// M filters over the N/2+1 frequencies of a spectrum.
pub struct MelFilters {
    /// Its first frequency and its weights from there on, of each.
    filters: Vec<(usize, Vec<f64>)>,
    bins: usize,
}

/// HTK's formula, of Hz.
fn mel(hertz: f64) -> f64 {
    2595.0 * (1.0 + hertz / 700.0).log10()
}

/// Its inverse.
fn hertz(mel: f64) -> f64 {
    700.0 * (10f64.powf(mel / 2595.0) - 1.0)
}

impl MelFilters {
    /// Triangles from 0 Hz to half the rate, whose M+2 corners are as far apart in mel. Those of spectra of windows of
    /// `n_fft` samples.
    pub fn new(sample_rate: u32, n_fft: usize, n_mels: usize) -> MelFilters {
        let (rate, bins) = (f64::from(sample_rate), n_fft / 2 + 1);
        let corner = |m: usize| hertz(mel(rate / 2.0) * m as f64 / (n_mels + 1) as f64);
        let filter = |m: usize| {
            let [low, middle, high] = [corner(m), corner(m + 1), corner(m + 2)];
            let weight = |k: usize| {
                let f = k as f64 * rate / n_fft as f64;
                ((f - low) / (middle - low)).min((high - f) / (high - middle)).max(0.0)
            };
            let first = (0..bins).find(|&k| weight(k) > 0.0).unwrap_or(bins);
            (first, (first..bins).map(weight).take_while(|&weight| weight > 0.0).collect())
        };
        MelFilters { filters: (0..n_mels).map(filter).collect(), bins }
    }

    /// Whether each filter has a frequency: where there are many, the lowest fall between two.
    pub fn are_filled(&self) -> bool {
        self.filters.iter().all(|(_, weights)| !weights.is_empty())
    }

    /// Of the power of one spectrum (N/2+1) that of each filter, (M).
    pub fn apply(&self, power: &[f64]) -> Vec<f64> {
        let sum = |(first, weights): &(usize, Vec<f64>)| {
            weights.iter().zip(&power[*first..]).map(|(weight, power)| weight * power).sum()
        };
        self.filters.iter().map(sum).collect()
    }

    /// The transpose: of a value a filter (M) the sum at each frequency, (N/2+1).
    fn spread(&self, values: &[f64]) -> Vec<f64> {
        let mut sums = vec![0.0; self.bins];
        for ((first, weights), value) in self.filters.iter().zip(values) {
            weights.iter().enumerate().for_each(|(n, weight)| sums[first + n] += weight * value);
        }
        sums
    }

    // ANCHOR: invert
    /// A power of each frequency (N/2+1), none negative, whose filters are nearest to `mels` (M) in the sum of squares.
    /// The pseudo-inverse would give negative powers, and cut at 0 these no longer fit. From a positive start each step
    /// multiplies by M^T m / M^T M s (Lee & Seung 2001): it stays positive, the error falls, and of the many answers it
    /// ends in a smooth one. What no filter hears is 0.
    pub fn invert(&self, mels: &[f64]) -> Vec<f64> {
        let wanted = self.spread(mels);
        let heard = self.spread(&vec![1.0; self.filters.len()]);
        let start = wanted.iter().zip(&heard).map(|(wanted, heard)| if *heard > 0.0 { wanted / heard } else { 0.0 });
        let mut power: Vec<f64> = start.collect();
        for _ in 0..STEPS {
            let found = self.spread(&self.apply(&power));
            for ((power, wanted), found) in power.iter_mut().zip(&wanted).zip(&found) {
                if *found > 0.0 {
                    *power *= wanted / found;
                }
            }
        }
        power
    }
    // ANCHOR_END: invert
}

#[cfg(test)]
mod tests {
    use super::*;

    /// torchaudio.functional.melscale_fbanks(9, 0.0, 4000.0, 3, 8000, norm=None, mel_scale="htk"): by hand, corners
    /// 458.73, 1218.06 and 2475.00 Hz, frequencies 500 Hz apart.
    #[test]
    fn filters_are_the_formulas() {
        assert!((mel(1000.0) - 999.9855).abs() < 1e-3 && (hertz(mel(1234.5)) - 1234.5).abs() < 1e-9);
        let filters = MelFilters::new(8000, 16, 3);
        let corners: Vec<f64> = (1..4).map(|m| hertz(mel(4000.0) * m as f64 / 4.0)).collect();
        let heights = |k: usize| {
            let mut spectrum = vec![0.0; 9];
            spectrum[k] = 1.0;
            filters.apply(&spectrum)
        };
        let [a, b, c] = [corners[0], corners[1], corners[2]];
        let wanted = [
            [(b - 500.0) / (b - a), (500.0 - a) / (b - a), 0.0],
            [0.0, (c - 1500.0) / (c - b), (1500.0 - b) / (c - b)],
        ];
        for (k, wanted) in [1, 3].into_iter().zip(wanted) {
            assert!(heights(k).iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-12), "{k}: {:?}", heights(k));
        }
        assert_eq!((heights(0), heights(8)), (vec![0.0; 3], vec![0.0; 3]));
    }

    /// Between the first and the last middle two triangles overlap, and their heights add up to 1.
    #[test]
    fn the_filters_of_a_frequency_add_up_to_one() {
        let filters = MelFilters::new(8000, 256, 64);
        assert!(filters.are_filled() && !MelFilters::new(8000, 256, 128).are_filled());
        let sums = filters.spread(&[1.0; 64]);
        let [first, last] = [1, 64].map(|m| hertz(mel(4000.0) * f64::from(m) / 65.0));
        for (k, sum) in sums.iter().enumerate() {
            let f = k as f64 * 31.25;
            assert!(f < first || f > last || (sum - 1.0).abs() < 1e-12, "{f} Hz: {sum}");
        }
    }

    #[test]
    fn the_inverse_has_the_same_filters_and_no_negative_power() {
        let filters = MelFilters::new(8000, 256, 64);
        let spectrum: Vec<f64> =
            (0..129).map(|k| 1.0 + (f64::from(k) * 0.2).sin() + 40.0 * f64::from(u8::from(k == 30))).collect();
        let mels = filters.apply(&spectrum);
        let power = filters.invert(&mels);
        assert!(power.iter().all(|&power| power >= 0.0));
        let length = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
        let apart: Vec<f64> = filters.apply(&power).iter().zip(&mels).map(|(a, b)| a - b).collect();
        // A tenth of a dB and less: 100 steps are not all steps.
        assert!(length(&apart) < 0.02 * length(&mels), "{}", length(&apart) / length(&mels));
        assert!(filters.invert(&[0.0; 64]).iter().all(|&power| power == 0.0));
    }
}
