//! The short-time Fourier transform and its inverse in the sense of least squares. A sound x of any length becomes T
//! spectra, one every `hop_length` samples:
//!
//! X_t[k] = sum_n w[n] x[t hop + n - N/2] e^(-2 pi i k n / N),   k = 0 .. N/2
//!
//! with the periodic Hann window w of N = `n_fft` samples and silence around the sound: `torch.stft(center=True,
//! pad_mode="constant")`.

use std::f64::consts::PI;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{ComplexToReal, RealFftPlanner, RealToComplex};

/// Below this the windows say nothing of a sample.
const LEAST: f64 = 1e-10;

/// A transform of one window and hop.
pub struct Stft {
    /// w, (N)
    window: Vec<f64>,
    hop: usize,
    forward: Arc<dyn RealToComplex<f64>>,
    inverse: Arc<dyn ComplexToReal<f64>>,
}

impl Stft {
    /// Of windows of `n_fft` samples, an even number, every `hop` samples.
    pub fn new(n_fft: usize, hop: usize) -> Stft {
        assert!(n_fft >= 2 && n_fft.is_multiple_of(2) && hop > 0, "windows of {n_fft} samples every {hop}");
        let mut planner = RealFftPlanner::new();
        let window = (0..n_fft).map(|n| (PI * n as f64 / n_fft as f64).sin().powi(2)).collect();
        let (forward, inverse) = (planner.plan_fft_forward(n_fft), planner.plan_fft_inverse(n_fft));
        Stft { window, hop, forward, inverse }
    }

    /// N/2 + 1, the frequencies of a spectrum: k sample_rate / N Hz.
    pub fn bins(&self) -> usize {
        self.window.len() / 2 + 1
    }

    // ANCHOR: forward
    /// The first `frames` spectra of a sound, (T,N/2+1).
    pub fn forward(&self, samples: &[f64], frames: usize) -> Vec<Complex<f64>> {
        let (n_fft, bins) = (self.window.len(), self.bins());
        let mut spectra = vec![Complex::default(); frames * bins];
        let mut windowed = vec![0.0; n_fft];
        for (t, spectrum) in spectra.chunks_exact_mut(bins).enumerate() {
            for (n, value) in windowed.iter_mut().enumerate() {
                let at = (t * self.hop + n).checked_sub(n_fft / 2);
                *value = self.window[n] * at.and_then(|at| samples.get(at)).copied().unwrap_or(0.0);
            }
            self.forward.process(&mut windowed, spectrum).expect("the buffers have the plan's lengths");
        }
        spectra
    }
    // ANCHOR_END: forward

    /// The sound of (T-1) `hop` samples whose spectra are nearest to these, (T,N/2+1), in the sum of squares (Griffin &
    /// Lim 1984, equation 6): x = sum_t w_t y_t / sum_t w_t^2, of the sounds y_t of each spectrum.
    pub fn inverse(&self, spectra: &[Complex<f64>]) -> Vec<f64> {
        let (n_fft, bins) = (self.window.len(), self.bins());
        let frames = spectra.len() / bins;
        assert!(frames > 0 && spectra.len() == frames * bins, "{} numbers are no spectra of {bins}", spectra.len());
        let length = (frames - 1) * self.hop;
        let (mut sums, mut weights) = (vec![0.0; length], vec![0.0; length]);
        let (mut spectrum, mut sound) = (vec![Complex::default(); bins], vec![0.0; n_fft]);
        for t in 0..frames {
            spectrum.copy_from_slice(&spectra[t * bins..][..bins]);
            // Those of a real sound have no imaginary part.
            spectrum[0].im = 0.0;
            spectrum[bins - 1].im = 0.0;
            self.inverse.process(&mut spectrum, &mut sound).expect("the buffers have the plan's lengths");
            for (n, &w) in self.window.iter().enumerate() {
                if let Some(at) = (t * self.hop + n).checked_sub(n_fft / 2).filter(|&at| at < length) {
                    sums[at] += w * sound[n] / n_fft as f64;
                    weights[at] += w * w;
                }
            }
        }
        sums.iter().zip(weights).map(|(sum, weight)| if weight > LEAST { sum / weight } else { 0.0 }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(count: usize) -> Vec<f64> {
        (0..count).map(|n| (n as f64 * 0.37).sin() + 0.3 * ((n * n) as f64 * 0.011).cos()).collect()
    }

    #[test]
    fn spectra_are_those_of_the_definition() {
        for (n_fft, hop, count) in [(16, 4, 53), (30, 7, 41), (2, 1, 5)] {
            let (stft, x, frames) = (Stft::new(n_fft, hop), sound(count), 9);
            let spectra = stft.forward(&x, frames);
            assert_eq!(spectra.len(), frames * (n_fft / 2 + 1));
            for t in 0..frames {
                for k in 0..=n_fft / 2 {
                    let mut sum = Complex::new(0.0, 0.0);
                    for n in 0..n_fft {
                        let at = (t * hop + n) as i64 - (n_fft / 2) as i64;
                        let value = if (0..count as i64).contains(&at) { x[at as usize] } else { 0.0 };
                        let hann = 0.5 - 0.5 * (2.0 * PI * n as f64 / n_fft as f64).cos();
                        sum += Complex::from_polar(hann * value, -2.0 * PI * (k * n) as f64 / n_fft as f64);
                    }
                    let apart = (sum - spectra[t * (n_fft / 2 + 1) + k]).norm();
                    assert!(apart < 1e-12, "{n_fft}, frame {t}, bin {k}: {apart}");
                }
            }
        }
    }

    #[test]
    fn a_sound_comes_back_from_its_spectra() {
        for (n_fft, hop, frames) in [(16, 4, 12), (16, 8, 5), (30, 11, 9)] {
            let (stft, x) = (Stft::new(n_fft, hop), sound((frames - 1) * hop));
            let back = stft.inverse(&stft.forward(&x, frames));
            assert_eq!(back.len(), x.len());
            assert!(back.iter().zip(&x).all(|(a, b)| (a - b).abs() < 1e-12), "{n_fft} {hop}");
        }
    }
}
