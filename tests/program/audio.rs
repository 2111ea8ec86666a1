//! Recordings as their user meets them: WAV files become spectrograms, a model is trained and goes on, answers every
//! command and gives sounds back; and what is refused.

use std::f64::consts::PI;
use std::fs;
use std::path::Path;

use crate::common::process::{elbo, fails, json, succeeds};
use elbo::data::audio::spectrogram::{Analyser, Analysis};
use elbo::data::audio::wav;
use hound::{SampleFormat, WavSpec, WavWriter};

/// Tones of the three classes, in Hz.
const TONES: [f64; 3] = [400.0, 1200.0, 2600.0];

/// A tone of 0.12 seconds, each a little higher and louder than the one before.
fn tone(class: usize, n: usize, rate: u32) -> Vec<f64> {
    let (hertz, loud) = (TONES[class] + 5.0 * n as f64, 0.3 + 0.02 * n as f64);
    let count = (0.12 * f64::from(rate)) as usize;
    (0..count).map(|i| loud * (2.0 * PI * hertz * i as f64 / f64::from(rate)).sin()).collect()
}

/// Writes samples of -1 to 1, the same on each channel, as whole numbers of so many bits.
fn write(path: &Path, samples: &[f64], [channels, rate, bits]: [u32; 3]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let (channels, bits_per_sample) = (channels as u16, bits as u16);
    let spec = WavSpec { channels, sample_rate: rate, bits_per_sample, sample_format: SampleFormat::Int };
    let mut writer = WavWriter::create(path, spec).unwrap();
    let full = 2f64.powi(bits as i32 - 1) - 1.0;
    for sample in samples {
        (0..channels).for_each(|_| writer.write_sample((sample * full) as i32).unwrap());
    }
    writer.finalize().unwrap();
}

/// A folder with 30 recordings to train on and 9 to test on, named after their classes.
fn desk() -> tempfile::TempDir {
    let desk = tempfile::tempdir().unwrap();
    for (split, count) in [("train", 10), ("test", 3)] {
        for class in 0..3 {
            for n in 0..count {
                let path = desk.path().join(format!("data/{split}/{class}_tone_{n}.wav"));
                write(&path, &tone(class, n, 8000), [1, 8000, 16]);
            }
        }
    }
    desk
}

/// Spectrograms of 16 x 16, and a small model on them.
const TRAIN: &str = "train --dataset audio --data data --n-fft 128 --hop-length 64 --n-mels 16 --frames 16 --hidden 32 \
                     --latent 4 --output optimal_sigma --batch-size 10 --lr 1e-2 --device cpu";

fn analysis() -> Analysis {
    Analysis { n_fft: 128, hop_length: 64, n_mels: 16, frames: 16, ..Analysis::default() }
}

/// The loudest frequency of a WAV file in Hz, by the definition of the transform, every 10 Hz.
fn loudest(path: &Path) -> f64 {
    let (samples, rate) = wav::read(path, 8000, 10.0).unwrap();
    assert_eq!(rate, 8000);
    let power = |hertz: f64| {
        let angle = |n: usize| 2.0 * PI * hertz * n as f64 / 8000.0;
        let part = |wave: fn(f64) -> f64| samples.iter().enumerate().map(|(n, x)| x * wave(angle(n))).sum::<f64>();
        part(f64::cos).powi(2) + part(f64::sin).powi(2)
    };
    let all = (1..400).map(|step| f64::from(step) * 10.0);
    all.max_by(|&a, &b| power(a).total_cmp(&power(b))).unwrap()
}

/// The width of the mel triangle around a tone, in Hz: so far a sound may be from it and look the same.
const TRIANGLE: f64 = 300.0;

#[test]
fn a_model_trains_goes_on_and_gives_sounds_back() {
    let desk = desk();
    let here = desk.path();
    let output = elbo(here, &format!("{TRAIN} --epochs 40 --out whole")).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && told.contains("data: audio:data, 30 training and 9 test recordings"), "{told}");
    assert!(told.contains("audio:data: 8000 Hz, 0.12 seconds of each"), "{told}");

    // Two parts of a run are the whole of it, whatever lies in the folder of its settings.
    succeeds(here, &format!("{TRAIN} --epochs 20 --out parts"));
    succeeds(here, "train --resume parts --epochs 40");
    let parameters = |run: &str| fs::read(here.join(run).join("model.safetensors")).unwrap();
    assert!(parameters("whole") == parameters("parts"));

    let report = json(here, "eval whole --nearest-neighbour --device cpu --json");
    assert_eq!(report["nearest_neighbour_accuracy"], 1.0, "{report}");
    let [rms, mean] = ["rms", "mean_absolute"].map(|key| report["level_error_db"][key].as_f64().unwrap());
    assert!(mean > 0.0 && mean < rms && rms < 10.0, "{report}");
    assert!(succeeds(here, "eval whole --device cpu").contains("level error"));

    // Sounds have the tones of what they are of.
    succeeds(here, "reconstruct whole --device cpu --count 9 --sound sounds");
    for n in 0..9 {
        for name in ["original", "reconstruction"] {
            let found = loudest(&here.join(format!("sounds/{n:03}_{name}.wav")));
            assert!((found - TONES[n / 3]).abs() < TRIANGLE, "{n} {name}: {found} Hz");
        }
    }
    succeeds(here, "sample whole --device cpu --rows 1 --columns 3 --sound drawn");
    assert_eq!(fs::read_dir(here.join("drawn")).unwrap().count(), 3);

    // Recordings of one's own, of another form: stereo of 24 bits at another rate.
    write(&here.join("low.wav"), &tone(0, 1, 44_100), [2, 44_100, 24]);
    write(&here.join("high.wav"), &tone(2, 1, 8000), [1, 8000, 32]);
    succeeds(here, "interpolate whole low.wav high.wav --steps 3 --method linear --device cpu --sound way");
    let ends = ["way/000.wav", "way/002.wav"].map(|name| loudest(&here.join(name)));
    assert!((ends[0] - TONES[0]).abs() < TRIANGLE && (ends[1] - TONES[2]).abs() < TRIANGLE, "{ends:?}");
    succeeds(here, "reconstruct whole low.wav high.wav --device cpu");
    let near = json(here, "nearest whole high.wav --count 3 --device cpu --json");
    let labels = near["nearest"].as_array().unwrap().iter().map(|row| row["recording"].as_str().unwrap());
    assert!(labels.clone().count() == 3 && labels.clone().all(|label| label.contains("label 2")), "{near}");
    succeeds(here, "encode whole --data low.wav --device cpu --out z.npy");
    assert!(succeeds(here, "score whole low.wav --by error --device cpu").contains("low.wav"));
}

#[test]
fn a_denoising_model_gives_clean_sounds() {
    let desk = desk();
    let here = desk.path();
    let train = TRAIN.replace("train ", "train --model denoising --set noise=gaussian:0.2 ");
    succeeds(here, &format!("{train} --epochs 20 --out run"));
    let report = json(here, "denoise run --device cpu --count 3 --sound clean --json");
    assert!(report["psnr"].as_f64() > report["psnr_noisy"].as_f64(), "{report}");
    for name in ["noisy", "denoised", "clean"] {
        assert!(here.join(format!("clean/002_{name}.wav")).is_file(), "{name}");
    }
    succeeds(here, "denoise run --as-is --data data/test/0_tone_0.wav --device cpu --sound own");
    assert!(here.join("own/000_denoised.wav").is_file());
}

/// All forms of one recording are the same picture, but for rounding.
#[test]
fn every_form_of_a_recording_is_the_same_picture() {
    let desk = tempfile::tempdir().unwrap();
    let analysis = analysis();
    let analyser = Analyser::new(&analysis);
    let levels = |name: &str, form: [u32; 3]| {
        let path = desk.path().join(name);
        write(&path, &tone(1, 0, form[1]), form);
        analyser.levels(&wav::read(&path, 8000, analysis.seconds()).unwrap().0)
    };
    let usual = levels("usual.wav", [1, 8000, 16]);
    let peak = usual.iter().copied().fold(f32::MIN, f32::max);
    for form in [[1, 8000, 24], [1, 8000, 32], [2, 8000, 16], [1, 44_100, 16], [2, 16_000, 24]] {
        let other = levels("other.wav", form);
        // The sound itself, 20 dB below its peak and above: below lie the clicks of its two ends, whose highest
        // frequencies a filter takes away.
        let apart = usual.iter().zip(&other).filter(|(level, _)| **level > peak - 20.0).map(|(a, b)| (a - b).abs());
        let apart = apart.fold(0.0, f32::max);
        assert!(apart < if form[1] == 8000 { 0.01 } else { 0.5 }, "{form:?}: {apart} dB");
    }
}

#[test]
fn what_cannot_be_heard_is_refused_in_one_line() {
    let desk = desk();
    let here = desk.path();
    let train = "train --device cpu --dataset audio";
    fails(here, train, &["--dataset audio needs its", "--data"]);
    fails(here, &format!("{train} --data nowhere"), &["nowhere", "is not there"]);
    fails(here, "train --device cpu --data data", &["holds recordings (test/0_tone_0.wav): add --dataset audio"]);
    fails(here, &format!("{train} --data data/test/0_tone_0.wav"), &["is a single recording"]);
    fails(here, &format!("{train} --data data --n-mels 128"), &["--n-mels is 128", "--n-fft 256"]);
    fails(here, &format!("{train} --data data --crop 8"), &["--crop is for --dataset folder"]);
    fails(here, "train --device cpu --dataset digits --top-db 60", &["--top-db is of the data set audio"]);
    fails(here, "train mnist-mlp --device cpu --dataset folder --data data", &["add --dataset audio"]);
    for (name, bytes) in [("empty", &b""[..]), ("text", b"no recording, but words, and enough of them")] {
        let folder = here.join(name);
        fs::create_dir(&folder).unwrap();
        fs::copy(here.join("data/train/0_tone_0.wav"), folder.join("a.wav")).unwrap();
        fs::write(folder.join("b.wav"), bytes).unwrap();
        fails(here, &format!("{train} --data {name}"), &["b.wav", "no WAV file"]);
    }
    write(&here.join("silent/a.wav"), &[0.0; 99], [1, 8000, 16]);
    write(&here.join("silent/b.wav"), &[0.0; 99], [1, 8000, 16]);
    fails(here, &format!("{train} --data silent"), &["its recordings are all silent"]);

    // A model of pictures has no sounds.
    succeeds(here, "train --device cpu --dataset digits --train-limit 40 --test-limit 9 --hidden 8 --epochs 1 --out d");
    fails(here, "sample d --device cpu --sound x", &["it has no sounds"]);
    fails(here, "reconstruct d data/test/0_tone_0.wav --device cpu", &["SENTENCE is for sentences"]);
    fails(here, "eval d --device cpu --dataset digits --nearest-neighbour --data nowhere", &["nowhere"]);
}
