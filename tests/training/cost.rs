//! What a step costs: dispatches and synchronisations of every preset.

use elbo::data::Dataset;
use elbo::data::table::{Columns, Kind};
use elbo::fusion::Fusion;
use elbo::instruments::subject;
use elbo::models::presets;

use crate::runs::{Run, devices, train_to_the_end, with_few_codes, with_labels};

/// The most steps of the sequences here.
const STEPS: usize = 8;

/// Dispatches of a training step: a limit for each preset as a device with few fused kernels runs it, and one as it is
/// run by a device that takes every fused kernel, as GPUs do, and the CPU device those that it has.
const BUDGETS: [(&str, usize, usize); 48] = [
    ("mnist-mlp", 30, 8),
    ("mnist-fused", 30, 8),
    ("mnist-2d", 30, 8),
    ("mnist-conv", 67, 67),
    ("cifar-conv", 216, 216),
    ("faces-conv", 279, 279),
    ("faces-mlp", 30, 30),
    ("audio-spec", 99, 99),
    ("mnist-iwae", 60, 60),
    ("binarized-mnist", 60, 60),
    ("table-vae", 36, 16),
    ("mnist-anomaly", 30, 8),
    ("mnist-beta-tc", 32, 24),
    ("mnist-capacity", 32, 24),
    ("mnist-vamp", 57, 45),
    ("mnist-cvae", 32, 23),
    ("mnist-cvae-256", 40, 27),
    ("mnist-cvae-conv", 73, 73),
    ("mnist-denoise", 30, 10),
    ("mnist-denoise-conv", 69, 69),
    ("audio-denoise", 101, 101),
    ("mnist-ss-z", 39, 30),
    ("mnist-m1", 49, 34),
    ("mnist-m2", 57, 51),
    ("mnist-m1m2", 63, 57),
    ("mnist-gumbel", 30, 17),
    ("mnist-gumbel-conv", 75, 75),
    ("ml-small", 31, 25),
    ("ml-small-bernoulli", 28, 20),
    ("ml20m-multvae", 31, 25),
    ("mnist-bayes", 69, 69),
    ("mnist-vq", 29, 21),
    ("mnist-vq-conv", 98, 98),
    ("mnist-fsq", 100, 100),
    ("mnist-vq-prior", 118, 118),
    ("mnist-ladder", 60, 47),
    ("mnist-vae-gan", 204, 196),
    ("digits-super", 99, 99),
    ("cifar-super", 140, 140),
    ("faces-super", 145, 145),
    ("digits-classifier", 61, 61),
    ("cifar-classifier", 102, 102),
    ("text-vae", 192, 189),
    ("text-inputless", 185, 182),
    ("chorales-vrnn", 345, 330),
    ("strokes-vrnn", 345, 330),
    ("chorales-dmm", 300, 280),
    ("series-rvae", 130, 125),
];

/// The same with sequences of a few steps: a loop over time records each of them.
fn short(mut columns: Columns) -> Columns {
    for kind in columns.0.values_mut() {
        if let Kind::Steps { longest, .. } = kind {
            *longest = STEPS;
        }
    }
    columns
}

#[test]
fn the_presets_stay_within_their_budget() {
    let presets: Vec<_> = presets::all().map(|(_, preset)| preset).collect();
    assert_eq!(BUDGETS.map(|(name, ..)| name).to_vec(), presets.iter().map(|preset| preset.name).collect::<Vec<_>>());
    // What other presets start from, trained by the first device.
    let [m1, vq] = [Run::new(), Run::new()];
    for device in devices() {
        for (preset, (name, recorded, fused)) in presets.iter().zip(BUDGETS) {
            // Two full batches and a short one.
            let settings = preset.settings().with("epochs = 2\nbatch_size = 2\nsamples = 1").unwrap();
            let settings = with_few_codes(with_labels(settings, 5));
            let settings = match name {
                "mnist-m1m2" => settings.with(&format!("features = '{}'", m1.folder.root().display())).unwrap(),
                "mnist-vq-prior" => settings.with(&format!("vq = '{}'", vq.folder.root().display())).unwrap(),
                _ => settings,
            };
            let [train, test] = [5, 1].map(|count| subject::drawn(count, &short(preset.columns())));
            let data =
                Dataset { name: "noise".into(), class_names: vec![], vocabulary: None, spectrogram: None, train, test };
            let new = Run::new();
            let run = match name {
                "mnist-m1" if !m1.folder.state().exists() => &m1,
                "mnist-vq-conv" if !vq.folder.state().exists() => &vq,
                _ => &new,
            };
            let mut trainer = run.trainer(&settings, &data, &device);
            let takes_all = Fusion::of(&device) != Fusion::None;
            let budget = if takes_all { fused } else { recorded };
            assert!(trainer.dispatches_a_step() <= budget, "{name}: {}", trainer.dispatches_a_step());
            // Pictures of 64x64 take a software adapter minutes. The tests that repeat a run of each model count its
            // synchronisations.
            if takes_all {
                train_to_the_end(&mut trainer, name).unwrap();
            }
        }
    }
}
