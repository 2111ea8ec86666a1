//! Runs and checkpoints of the program before models had a list of their own still open, go on and mean the same.
//! fixtures/before_the_models/README.md says how they were made.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::data::Fingerprint;
use elbo::data::digits;
use elbo::inference::Trained;
use elbo::train::checkpoint::Checkpoint;
use elbo::train::given::Given;
use elbo::train::metrics::read_metrics;
use elbo::train::run_folder::{RunFolder, RunRecord};
use elbo::train::settings::Settings;
use elbo::train::trainer::{Ending, Trainer};

const DEVICE: Device = Device::Cpu(Cpu::Accelerated);

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/before_the_models").join(name)
}

/// A copy that can be trained on.
fn copy(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join(name);
    fs::create_dir(&root).unwrap();
    for file in ["run.toml", "metrics.csv", "model.safetensors", "state.safetensors"] {
        fs::copy(fixture(name).join(file), root.join(file)).unwrap();
    }
    (folder, root)
}

fn data(settings: &Settings) -> elbo::data::Dataset {
    digits::dataset([settings.train_limit, settings.test_limit])
}

#[test]
fn an_old_run_goes_on_as_the_old_program_went_on() {
    for name in ["mlp", "conv"] {
        let (_folder, root) = copy(name);
        let folder = RunFolder::resume(&root).unwrap();
        let record = RunRecord::read(&folder).unwrap();
        assert_eq!((record.settings.model.as_str(), record.settings.preset.as_str()), ("vae", "vae"));
        let settings = Settings::resume(record.settings, &Given::from_text("epochs = 3").unwrap()).unwrap();
        let data = data(&settings);
        record.pictures.unwrap().check(&Fingerprint::of(&data), "digits").unwrap();
        let mut trainer = Trainer::new(settings.clone(), data, &DEVICE, folder.clone(), true).unwrap();
        assert_eq!(trainer.epochs_done(), 2);
        assert_eq!(trainer.train(&AtomicBool::new(false), &mut |_| ()).unwrap(), Ending::Finished);

        let terms = settings.terms().unwrap();
        let [old, new] = [fixture(name), root].map(|root| read_metrics(&root.join("metrics.csv"), terms).unwrap());
        assert_eq!((&new[..2], new.len()), (&old[..], 3));
        let after = Checkpoint::read(&folder.model()).unwrap();
        let expected = Checkpoint::read(&fixture(name).join("after_3.safetensors")).unwrap();
        assert!(after.tensors.keys().eq(expected.tensors.keys()), "{name}: PyTorch's names");
        for ((tensor, (shape, values)), (wanted_shape, wanted)) in after.tensors.iter().zip(expected.tensors.values()) {
            assert_eq!(shape, wanted_shape, "{name}: {tensor}");
            // Equal on the machine that made it; sums of another width of vectors round elsewhere.
            let apart = values.iter().zip(wanted).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(apart < 1e-5, "{name}: {tensor} is {apart} apart");
        }
    }
}

#[test]
fn an_old_checkpoint_opens_and_has_the_loss_it_had() {
    for (name, described) in [("mlp", "784-4-2"), ("conv", "1x28x28-listed-2")] {
        let record = RunRecord::read(&RunFolder::open(fixture(name)).unwrap()).unwrap();
        let terms = record.settings.terms().unwrap();
        let old = read_metrics(&fixture(name).join("metrics.csv"), terms).unwrap();
        let mut model = Trained::open(&fixture(name), &DEVICE).unwrap();
        assert_eq!((model.described.as_str(), model.card.epoch, model.latent().unwrap()), (described, 2, 2));
        let test = data(&record.settings).test;
        let [mean, _] = model.encode_split(&test).unwrap();
        assert_eq!(model.decode(&mean, None).unwrap().len(), 784 * test.count);
        // The trainer's noise moves on from epoch to epoch, so the losses are near and not equal.
        let means = model.evaluate(&test, elbo::train::evaluation::Latent::Sampled, 1, 16).unwrap();
        let [before, now] = [&old[1].test, &means].map(|means| means.terms[0] + means.terms[1]);
        assert!((before - now).abs() < 0.02 * before, "{name}: {before} {now}");
    }
}
