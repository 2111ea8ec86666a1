//! A sound for spectra of which only the magnitudes are known (Griffin & Lim 1984). Not every array of complex numbers
//! is the transform of a sound. Two projections in turn: to the transforms of sounds, by the inverse and forward again,
//! and to what has the wanted magnitudes, whose phases are kept. The distance of the two falls with each turn. Momentum
//! goes beyond each first projection (Perraudin, Balazs & Sondergaard 2013) and ends lower.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use realfft::num_complex::Complex;

use super::stft::Stft;

/// Turns where nobody asks for others.
pub const TURNS: usize = 60;
/// Perraudin's alpha, librosa's and torchaudio's default.
pub const MOMENTUM: f64 = 0.99;

/// A sound of (T-1) hops whose spectra have nearly these magnitudes, (T,N/2+1), after so many turns. The phases begin
/// at random, drawn by the seed.
pub fn griffin_lim(stft: &Stft, magnitudes: &[f64], turns: usize, momentum: f64, seed: u64) -> Vec<f64> {
    let frames = magnitudes.len() / stft.bins();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let phase = |magnitude: &f64| Complex::from_polar(*magnitude, std::f64::consts::TAU * rng.random::<f64>());
    let mut spectra: Vec<Complex<f64>> = magnitudes.iter().map(phase).collect();
    let mut before = vec![Complex::default(); spectra.len()];
    // ANCHOR: turn
    for _ in 0..turns {
        let sound = stft.inverse(&spectra);
        let projected = stft.forward(&sound, frames);
        for ((spectrum, projected), (before, magnitude)) in
            spectra.iter_mut().zip(&projected).zip(before.iter_mut().zip(magnitudes))
        {
            let beyond = projected + momentum * (projected - *before);
            let norm = beyond.norm();
            *spectrum = if norm > 0.0 { beyond * (magnitude / norm) } else { Complex::new(*magnitude, 0.0) };
            *before = *projected;
        }
    }
    // ANCHOR_END: turn
    stft.inverse(&spectra)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How far the magnitudes of a sound's spectra are from the wanted, as a share of these.
    fn error(stft: &Stft, magnitudes: &[f64], sound: &[f64]) -> f64 {
        let found = stft.forward(sound, magnitudes.len() / stft.bins());
        let apart: f64 = found.iter().zip(magnitudes).map(|(found, wanted)| (found.norm() - wanted).powi(2)).sum();
        (apart / magnitudes.iter().map(|wanted| wanted * wanted).sum::<f64>()).sqrt()
    }

    #[test]
    fn the_spectral_error_falls() {
        let stft = Stft::new(64, 16);
        let chirp: Vec<f64> = (0..39 * 16).map(|n| (f64::from(n) * (0.2 + f64::from(n) * 1e-3)).sin()).collect();
        let magnitudes: Vec<f64> = stft.forward(&chirp, 40).iter().map(|spectrum| spectrum.norm()).collect();
        let after = |turns, momentum| error(&stft, &magnitudes, &griffin_lim(&stft, &magnitudes, turns, momentum, 1));
        let plain = [0, 5, 20, 60].map(|turns| after(turns, 0.0));
        assert!(plain.is_sorted_by(|a, b| b < a), "{plain:?}");
        let fast = after(60, MOMENTUM);
        assert!(plain[0] > 0.4 && fast < plain[3] && fast < 0.15, "{plain:?} {fast}");
        assert_eq!(griffin_lim(&stft, &magnitudes, 3, 0.0, 1), griffin_lim(&stft, &magnitudes, 3, 0.0, 1));
    }

    #[test]
    fn silence_stays_silent() {
        let stft = Stft::new(16, 4);
        assert_eq!(griffin_lim(&stft, &[0.0; 9 * 5], 3, MOMENTUM, 1), vec![0.0; 16]);
    }
}
