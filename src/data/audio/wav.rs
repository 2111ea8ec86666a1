//! WAV files: the samples of one, mixed down to one channel, and one written.

use std::io::{BufReader, Cursor, Read};
use std::path::Path;

use hound::{SampleFormat, WavReader, WavSpec, WavWriter};

use super::resample::resample;
use crate::error::{Error, Result};
use crate::files::{open_regular, write_atomic};

/// Rates that are read, in samples a second. Others stand in damaged headers.
const RATES: std::ops::RangeInclusive<u32> = 1_000..=768_000;
/// Seconds that are read behind the last one asked for, so that a resampled end hears what follows.
const BEHIND: f64 = 0.05;

/// The first `seconds` of a recording at `rate` samples a second: values of -1 to 1, the mean of its channels; and the
/// rate that the file has. A shorter recording has fewer samples.
///
/// # Errors
/// A file that is no WAV file of whole numbers of 8, 16, 24 or 32 bits or of floats of 32 bits; one that is empty, cut
/// off, of a rate out of range, or that holds NaN or infinity.
pub fn read(path: &Path, rate: u32, seconds: f64) -> Result<(Vec<f64>, u32)> {
    let (file, size) = open_regular(path)?;
    if size == 0 {
        return Err(Error::file(path, "is empty, and no WAV file"));
    }
    let unread = |e: hound::Error| Error::file(path, format!("is no WAV file that can be read: {}", reason(&e)));
    let mut reader = WavReader::new(BufReader::new(file)).map_err(unread)?;
    let WavSpec { channels, sample_rate, bits_per_sample: bits, sample_format } = reader.spec();
    if !RATES.contains(&sample_rate) || channels == 0 {
        let [low, high] = [RATES.start(), RATES.end()];
        let problem = format!(
            "has {channels} channels at {sample_rate} samples a second, but must have one or more at {low} to {high}"
        );
        return Err(Error::file(path, problem));
    }
    if reader.duration() == 0 {
        return Err(Error::file(path, "is a WAV file without samples"));
    }
    if u64::from(reader.len()) * u64::from(bits.div_ceil(8)) > size {
        return Err(Error::file(path, format!("is cut off: its header says {} samples", reader.duration())));
    }
    let wanted = ((seconds + BEHIND) * f64::from(sample_rate)).ceil() as usize * usize::from(channels);
    let all = match sample_format {
        SampleFormat::Float => floats(&mut reader, wanted),
        SampleFormat::Int => integers(&mut reader, wanted, bits),
    };
    let all = all.map_err(unread)?;
    if let Some(at) = all.iter().position(|value| !value.is_finite()) {
        return Err(Error::file(path, format!("sample {} is {}", at / usize::from(channels), all[at])));
    }
    let mixed: Vec<f64> =
        all.chunks_exact(usize::from(channels)).map(|frame| frame.iter().sum::<f64>() / f64::from(channels)).collect();
    let mut samples = if sample_rate == rate { mixed } else { resample(&mixed, sample_rate, rate) };
    samples.truncate((seconds * f64::from(rate)).round() as usize);
    Ok((samples, sample_rate))
}

/// Whole numbers of so many bits as values of -1 to 1.
fn integers<R: Read>(reader: &mut WavReader<R>, wanted: usize, bits: u16) -> hound::Result<Vec<f64>> {
    let full = 2f64.powi(i32::from(bits) - 1);
    reader.samples::<i32>().take(wanted).map(|sample| Ok(f64::from(sample?) / full)).collect()
}

fn floats<R: Read>(reader: &mut WavReader<R>, wanted: usize) -> hound::Result<Vec<f64>> {
    reader.samples::<f32>().take(wanted).map(|sample| Ok(f64::from(sample?))).collect()
}

/// What hound says, as the end of a line.
fn reason(error: &hound::Error) -> String {
    match error {
        hound::Error::FormatError(text) => text.to_string(),
        hound::Error::Unsupported => "its samples are of a kind that is not read".into(),
        other => other.to_string().trim_end_matches('.').into(),
    }
}

/// Writes samples of one channel, -1 to 1, as a WAV file of 16 bits at `rate` samples a second. Louder ones are made
/// quieter together, so that none is cut. Errors: those of [`write_atomic`].
pub fn write(path: &Path, samples: &[f64], rate: u32) -> Result<()> {
    let loudest = samples.iter().fold(1f64, |loudest, sample| loudest.max(sample.abs()));
    let spec = WavSpec { channels: 1, sample_rate: rate, bits_per_sample: 16, sample_format: SampleFormat::Int };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = WavWriter::new(&mut bytes, spec).expect("memory takes a header");
    for sample in samples {
        let level = (sample / loudest * 32767.0).round() as i16;
        writer.write_sample(level).expect("memory takes every sample");
    }
    writer.finalize().expect("memory takes the sizes");
    write_atomic(path, &bytes.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes `values` of -1 to 1 on each of the channels in the given form.
    fn file(folder: &Path, name: &str, spec: WavSpec, values: &[f64]) -> std::path::PathBuf {
        let path = folder.join(name);
        let mut writer = WavWriter::create(&path, spec).unwrap();
        for value in values {
            match spec.sample_format {
                SampleFormat::Float => writer.write_sample(*value as f32).unwrap(),
                SampleFormat::Int => {
                    let full = 2f64.powi(i32::from(spec.bits_per_sample) - 1);
                    writer.write_sample((value * (full - 1.0)).round() as i32).unwrap();
                }
            }
        }
        writer.finalize().unwrap();
        path
    }

    fn spec(channels: u16, bits: u16, sample_format: SampleFormat) -> WavSpec {
        WavSpec { channels, sample_rate: 8000, bits_per_sample: bits, sample_format }
    }

    #[test]
    fn all_kinds_of_samples_come_back() {
        let folder = tempfile::tempdir().unwrap();
        let values: Vec<f64> = (0..100).map(|n| (f64::from(n) * 0.3).sin() * 0.9).collect();
        for (bits, format, step) in [
            (8, SampleFormat::Int, 2.0 / 256.0),
            (16, SampleFormat::Int, 2.0 / 65536.0),
            (24, SampleFormat::Int, 2.0 / 16777216.0),
            (32, SampleFormat::Int, 1e-9),
            (32, SampleFormat::Float, 1e-7),
        ] {
            let path = file(folder.path(), &format!("{bits}{format:?}.wav"), spec(1, bits, format), &values);
            let (read, _) = read(&path, 8000, 1.0).unwrap();
            assert_eq!(read.len(), values.len());
            let apart = read.iter().zip(&values).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            // Half a step by rounding, and up to one more: 1 is written as 127 of 128.
            assert!(apart <= 1.5 * step, "{bits} {format:?}: {apart}");
        }
    }

    #[test]
    fn stereo_is_mixed_down_and_the_beginning_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        let values = [0.5, -0.25, 0.5, 0.25, -0.5, -0.5];
        let path = file(folder.path(), "stereo.wav", spec(2, 16, SampleFormat::Int), &values);
        let (mixed, _) = read(&path, 8000, 1.0).unwrap();
        assert!(mixed.iter().zip([0.125, 0.375, -0.5]).all(|(a, b)| (a - b).abs() < 1e-4), "{mixed:?}");
        assert_eq!(read(&path, 8000, 2.0 / 8000.0).unwrap().0, mixed[..2]);
        let (twice, rate) = read(&path, 16_000, 1.0).unwrap();
        assert_eq!((twice.len(), rate), (6, 8000));
    }

    #[test]
    fn what_is_written_is_read_and_too_loud_a_sound_is_made_quieter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/out.wav");
        write(&path, &[0.0, 0.5, -2.0, 1.0], 8000).unwrap();
        let (read, _) = read(&path, 8000, 1.0).unwrap();
        assert!(read.iter().zip([0.0, 0.25, -1.0, 0.5]).all(|(a, b)| (a - b).abs() < 1e-4), "{read:?}");
    }

    #[test]
    fn what_is_no_recording_is_refused_in_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let refused = |path: &Path, words: &[&str]| {
            let message = read(path, 8000, 1.0).unwrap_err().to_string();
            assert!(words.iter().all(|word| message.contains(word)) && !message.contains('\n'), "{message}");
        };
        refused(&put("empty.wav", b""), &["empty.wav", "is empty"]);
        refused(&put("text.wav", b"This is a text and not a recording at all."), &["text.wav", "no WAV file"]);
        let whole = file(folder.path(), "x.wav", spec(1, 16, SampleFormat::Int), &[0.5; 50]);
        let bytes = std::fs::read(&whole).unwrap();
        refused(&put("cut.wav", &bytes[..60]), &["cut.wav", "is cut off", "50 samples"]);
        refused(&put("head.wav", &bytes[..20]), &["head.wav", "enough bytes"]);
        refused(&file(folder.path(), "none.wav", spec(1, 16, SampleFormat::Int), &[]), &["without samples"]);
        refused(
            &file(folder.path(), "nan.wav", spec(1, 32, SampleFormat::Float), &[0.0, f64::NAN]),
            &["sample 1 is NaN"],
        );
        let slow = WavSpec { sample_rate: 10, ..spec(1, 16, SampleFormat::Int) };
        refused(&file(folder.path(), "slow.wav", slow, &[0.5; 9]), &["10 samples a second", "1000 to 768000"]);
    }
}
