//! Another sampling rate, by a windowed sinc: y_m = sum_n x_n h(m / to - n / from).

use std::f64::consts::PI;

/// Zeros of the sinc on either side of its middle.
const ZEROS: f64 = 16.0;
/// The cut-off as a share of half the lower rate: what lies above would come back as a wrong tone.
const ROLLOFF: f64 = 0.99;

/// Samples at `from` a second as samples at `to` a second, ceil(N to / from) of them. h is a low-pass filter, the sinc
/// of the cut-off under a Hann window; before the first and behind the last sample there is silence.
pub fn resample(samples: &[f64], from: u32, to: u32) -> Vec<f64> {
    let (source, target) = (f64::from(from), f64::from(to));
    // Zeros of the sinc lie 1 / width seconds apart.
    let width = ROLLOFF * source.min(target);
    let reach = ZEROS / width;
    let count = (samples.len() as u64 * u64::from(to)).div_ceil(u64::from(from));
    let filter = |time: f64| {
        let at = time * width;
        let sinc = if at == 0.0 { 1.0 } else { (PI * at).sin() / (PI * at) };
        width / source * sinc * (PI * at / (2.0 * ZEROS)).cos().powi(2)
    };
    let sample = |m: u64| {
        let time = m as f64 / target;
        let first = ((time - reach) * source).ceil().max(0.0) as usize;
        let end = (((time + reach) * source).floor() as usize + 1).min(samples.len());
        (first..end).map(|n| samples[n] * filter(time - n as f64 / source)).sum()
    };
    (0..count).map(sample).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hertz: f64, rate: u32, count: usize) -> Vec<f64> {
        (0..count).map(|n| (2.0 * PI * hertz * n as f64 / f64::from(rate)).sin()).collect()
    }

    /// A tone below both halves stays the same tone, whichever rate is the higher. The ends hear silence beside them.
    #[test]
    fn a_tone_keeps_its_frequency() {
        for (from, to) in [(44_100, 8_000), (8_000, 16_000), (11_025, 8_000)] {
            let made = resample(&tone(440.0, from, from as usize / 4), from, to);
            let wanted = tone(440.0, to, made.len());
            assert_eq!(made.len(), (to as usize * (from as usize / 4)).div_ceil(from as usize));
            let middle = 200..made.len() - 200;
            let apart = middle.map(|m| (made[m] - wanted[m]).abs()).fold(0.0, f64::max);
            // What a window of 16 zeros lets through.
            assert!(apart < 2e-3, "{from} to {to}: {apart}");
        }
    }

    #[test]
    fn a_tone_above_half_the_new_rate_is_taken_away() {
        let made = resample(&tone(6_000.0, 44_100, 11_025), 44_100, 8_000);
        let loudest = made[200..made.len() - 200].iter().fold(0.0, |most: f64, sample| most.max(sample.abs()));
        assert!(loudest < 2e-3, "{loudest}");
    }
}
