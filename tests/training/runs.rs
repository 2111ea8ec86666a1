//! Small runs in folders of their own: devices, data, the settings of every model, and what a run leaves.

use std::collections::BTreeMap;
use std::fs;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::Options;
use elbo::data::table::{Columns, Kind};
use elbo::data::{Dataset, digits};
use elbo::error::Result;
use elbo::instruments::subject;
use elbo::models::vae;
use elbo::train::checkpoint::{Checkpoint, ModelCard};
use elbo::train::metrics::{EpochMetrics, Means, read_metrics};
use elbo::train::run_folder::RunFolder;
use elbo::train::settings::Settings;
use elbo::train::trainer::{Ending, Event, Trainer};

use crate::common;

pub fn cpu() -> Device {
    Device::Cpu(Cpu::Accelerated)
}

/// The best adapter, opened once so that its pipelines are built once.
pub fn gpu() -> Option<Device> {
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    GPU.get_or_init(|| common::gpu(Options::default())).clone()
}

pub fn devices() -> Vec<Device> {
    std::iter::once(cpu()).chain(gpu()).collect()
}

pub fn data(train: usize, test: usize) -> Dataset {
    Dataset {
        name: "digits".into(),
        class_names: vec![],
        vocabulary: None,
        spectrogram: None,
        train: digits::split(0, train),
        test: digits::split(1, test),
    }
}

/// 20 training pictures make batches of 7, 7 and 6; 10 test pictures of 7 and 3.
pub fn small() -> Settings {
    let preset = Settings::of_preset("mnist-mlp").unwrap();
    preset.with("hidden = [16]\nlatent = 3\nbatch_size = 7\nepochs = 2\nsamples = 4").unwrap()
}

/// [`small`] with the keys of a settings text over it.
pub fn small_with(text: &str) -> Settings {
    small().with(text).unwrap()
}

/// Convolutions with batch norm in both halves, of pictures and of vectors, and dropout, whose units a step decides.
pub fn convolutional() -> Settings {
    small_with(
        "encoder = '(conv 3 k4 s4 nobias, batchnorm, relu), dropout 0.25, maxpool k3 s2, flatten'\n\
         decoder = 'flatten, linear 49, batchnorm, silu, view 1 7 7, (conv 2 k3 p1, batchnorm, relu), \
         conv_transpose 1 k4 s4'",
    )
}

/// So small a step that the parameters stay: then the KL, which needs no noise, depends on the pictures alone.
pub fn still() -> Settings {
    small_with("lr = 1e-30")
}

pub const OTHER_MODELS: [&str; 12] = [
    "conditional",
    "denoising",
    "latent_classifier",
    "m2",
    "gumbel",
    "recommendation",
    "bayesian",
    "vq",
    "ladder",
    "vae_gan",
    "super_resolution",
    "classifier",
];

/// [`small`] for another model.
pub fn small_of(model: &str) -> Settings {
    let settings = Settings::of_model(elbo::models::find(model).unwrap());
    let settings = settings.with("batch_size = 7\nepochs = 2\nsamples = 4").unwrap();
    let sizes = match model {
        "ladder" => "hidden = [16, 8]\nlatent = [3, 2]",
        "classifier" => "body = '(conv 3 k4 s4, batchnorm, relu), dropout 0.25, flatten'",
        _ => "hidden = [16]\nlatent = 3",
    };
    with_few_codes(with_labels(settings.with(sizes).unwrap(), 10))
}

/// So many training pictures keep their label, where that is a key of the model.
pub fn with_labels(settings: Settings, count: usize) -> Settings {
    let has_key = settings.entry().unwrap().key_names().any(|key| key == "labels");
    if has_key { settings.with(&format!("labels = {count}")).unwrap() } else { settings }
}

/// Not more codes than a few pictures have vectors, where that is a key of the model.
pub fn with_few_codes(settings: Settings) -> Settings {
    let has_key = settings.entry().unwrap().key_names().any(|key| key == "codes");
    if has_key { settings.with("codes = 8").unwrap() } else { settings }
}

/// [`data`], or of a recommender so many users.
pub fn data_of(model: &str) -> Dataset {
    if model != "recommendation" {
        return data(20, 10);
    }
    let [train, test] = [20, 10].map(|count| subject::drawn(count, &Columns::of(Kind::Items(60), 0)));
    Dataset { name: "users".into(), class_names: vec![], vocabulary: None, spectrogram: None, train, test }
}

/// The reconstruction of a VAE's terms.
pub fn recon(means: &Means) -> f64 {
    means.terms[0]
}

/// Its KL.
pub fn kl(means: &Means) -> f64 {
    means.terms[1]
}

/// A folder of its own for one run, removed at the end.
pub struct Run {
    pub folder: RunFolder,
    _temporary: tempfile::TempDir,
}

impl Run {
    pub fn new() -> Run {
        let temporary = tempfile::tempdir().unwrap();
        Run { folder: RunFolder::create(temporary.path().join("run")).unwrap(), _temporary: temporary }
    }

    pub fn trainer(&self, settings: &Settings, data: &Dataset, device: &Device) -> Trainer {
        // A folder without a state is a new run.
        Trainer::new(settings.clone(), data.clone(), device, self.folder.clone(), true).unwrap()
    }

    pub fn train(&self, settings: &Settings, data: &Dataset, device: &Device) -> Result<Ending> {
        let what = format!("{} on {}", settings.model, device.description());
        train_to_the_end(&mut self.trainer(settings, data, device), &what)
    }

    /// Trains until `batches` of the epoch under way have been handed to the device, then asks it to stop.
    pub fn interrupt(&self, settings: &Settings, data: &Dataset, device: &Device, batches: usize) {
        let stop = AtomicBool::new(false);
        let ending = self.trainer(settings, data, device).train(&stop, &mut |event| {
            if matches!(event, Event::Batches { done, .. } if done >= batches) {
                stop.store(true, Ordering::Relaxed);
            }
        });
        assert_eq!(ending.unwrap(), Ending::Interrupted);
    }

    pub fn metrics(&self) -> Vec<EpochMetrics> {
        let path = self.folder.model();
        let card = Checkpoint::read(&path).and_then(|file| file.card(&path));
        let terms_of = |card: ModelCard| (elbo::models::find(&card.model).unwrap().terms)(&card.settings);
        let terms = card.map_or((vae::ENTRY.terms)(&toml::Table::new()), terms_of);
        let rows = read_metrics(&self.folder.metrics(), terms).unwrap();
        // The only column that differs between equal runs.
        rows.into_iter().map(|row| EpochMetrics { seconds: 0.0, ..row }).collect()
    }

    /// Parameters, moments and losses, bit by bit, with the progress.
    pub fn state(&self) -> (BTreeMap<String, Vec<u32>>, String) {
        let state = Checkpoint::read(&self.folder.state()).unwrap();
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
        let tensors = state.tensors.into_iter().map(|(name, (_, values))| (name, bits(values))).collect();
        (tensors, state.metadata.into_values().collect())
    }

    pub fn parameters(&self) -> Vec<f32> {
        Checkpoint::read(&self.folder.model()).unwrap().tensors.into_values().flat_map(|(_, values)| values).collect()
    }

    /// (recon, kl, kl_weight, rows) of each batch of the last epoch.
    pub fn losses(&self) -> Vec<[f32; 4]> {
        let (_, losses) = Checkpoint::read(&self.folder.state()).unwrap().tensors.remove("losses").unwrap();
        losses.chunks(4).map(|row| row.try_into().unwrap()).collect()
    }
}

/// Trains what is left of a run. An epoch may wait for the device twice; an error reads more, to name a tensor.
pub fn train_to_the_end(trainer: &mut Trainer, what: &str) -> Result<Ending> {
    let before = trainer.epochs_done();
    let ending = trainer.train(&AtomicBool::new(false), &mut |_| ())?;
    let (synchronisations, epochs) = (trainer.counters().synchronisations, trainer.epochs_done() - before);
    assert!(synchronisations <= 2 * epochs as u64, "{what}: {synchronisations} synchronisations in {epochs} epochs");
    Ok(ending)
}

/// A run of these settings from the start to the end.
pub fn trained(settings: &Settings, data: &Dataset, device: &Device) -> Run {
    let run = Run::new();
    run.train(settings, data, device).unwrap();
    run
}

pub fn assert_same(a: &Run, b: &Run, what: &str) {
    assert_eq!(a.metrics(), b.metrics(), "{what}");
    assert!(a.state() == b.state(), "{what}: the states differ");
    for file in [RunFolder::model, RunFolder::best] {
        let [x, y] = [a, b].map(|run| fs::read(file(&run.folder)).unwrap());
        assert!(x == y, "{what}: {} differs", file(&a.folder).file_name().unwrap().display());
    }
}

#[track_caller]
pub fn assert_near(a: f64, b: f64, relative: f64) {
    assert!((a - b).abs() <= relative * a.abs().max(b.abs()), "{a} and {b} differ by more than {relative}");
}
