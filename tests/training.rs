//! Training as a whole, on the CPU device and on the best adapter: what a run computes, that it repeats itself bit by
//! bit, goes on where it stopped, and stops when it should. Small models on a few of the built-in digits.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::backend::gpu::Options;
use elbo::data::table::{Columns, Kind};
use elbo::data::{Dataset, digits};
use elbo::error::{Error, Result};
use elbo::fusion::Fusion;
use elbo::inference::Trained;
use elbo::instruments::subject;
use elbo::models::parts::bound::BOUND;
use elbo::models::parts::divergence::{HELD, PARTED};
use elbo::models::parts::likelihood::Likelihood;
use elbo::models::parts::prior::SAMPLED;
use elbo::models::{presets, vae};
use elbo::train::checkpoint::{Checkpoint, ModelCard};
use elbo::train::evaluation::Latent;
use elbo::train::metrics::{EpochMetrics, Means, read_metrics};
use elbo::train::programs::Programs;
use elbo::train::run_folder::RunFolder;
use elbo::train::settings::Settings;
use elbo::train::trainer::{Ending, Event, Trainer};

// ---- Devices, data, settings

fn cpu() -> Device {
    Device::Cpu(Cpu::Accelerated)
}

/// The best adapter, opened once so that its pipelines are built once.
fn gpu() -> Option<Device> {
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    GPU.get_or_init(|| common::gpu(Options::default())).clone()
}

fn devices() -> Vec<Device> {
    std::iter::once(cpu()).chain(gpu()).collect()
}

fn data(train: usize, test: usize) -> Dataset {
    Dataset {
        name: "digits".into(),
        class_names: vec![],
        vocabulary: None,
        train: digits::split(0, train),
        test: digits::split(1, test),
    }
}

/// 20 training pictures make batches of 7, 7 and 6; 10 test pictures of 7 and 3.
fn small() -> Settings {
    let preset = Settings::of_preset("mnist-mlp").unwrap();
    preset.with("hidden = [16]\nlatent = 3\nbatch_size = 7\nepochs = 2\nsamples = 4").unwrap()
}

/// [`small`] with the keys of a settings text over it.
fn small_with(text: &str) -> Settings {
    small().with(text).unwrap()
}

/// The reconstruction of a VAE's terms.
fn recon(means: &Means) -> f64 {
    means.terms[0]
}

/// Its KL.
fn kl(means: &Means) -> f64 {
    means.terms[1]
}

// ---- Runs

/// A folder of its own for one run, removed at the end.
struct Run {
    folder: RunFolder,
    _temporary: tempfile::TempDir,
}

impl Run {
    fn new() -> Run {
        let temporary = tempfile::tempdir().unwrap();
        Run { folder: RunFolder::create(temporary.path().join("run")).unwrap(), _temporary: temporary }
    }

    fn trainer(&self, settings: &Settings, data: &Dataset, device: &Device) -> Trainer {
        // A folder without a state is a new run.
        Trainer::new(settings.clone(), data.clone(), device, self.folder.clone(), true).unwrap()
    }

    fn train(&self, settings: &Settings, data: &Dataset, device: &Device) -> Result<Ending> {
        self.trainer(settings, data, device).train(&AtomicBool::new(false), &mut |_| ())
    }

    /// Trains until `batches` of the epoch under way have been handed to the device, then asks it to stop.
    fn interrupt(&self, settings: &Settings, data: &Dataset, device: &Device, batches: usize) {
        let stop = AtomicBool::new(false);
        let ending = self.trainer(settings, data, device).train(&stop, &mut |event| {
            if matches!(event, Event::Batches { done, .. } if done >= batches) {
                stop.store(true, Ordering::Relaxed);
            }
        });
        assert_eq!(ending.unwrap(), Ending::Interrupted);
    }

    fn metrics(&self) -> Vec<EpochMetrics> {
        let path = self.folder.model();
        let card = Checkpoint::read(&path).and_then(|file| file.card(&path));
        let terms_of = |card: ModelCard| (elbo::models::find(&card.model).unwrap().terms)(&card.settings);
        let terms = card.map_or((vae::ENTRY.terms)(&toml::Table::new()), terms_of);
        let rows = read_metrics(&self.folder.metrics(), terms).unwrap();
        // The only column that differs between equal runs.
        rows.into_iter().map(|row| EpochMetrics { seconds: 0.0, ..row }).collect()
    }

    /// Parameters, moments and losses, bit by bit, with the progress.
    fn state(&self) -> (BTreeMap<String, Vec<u32>>, String) {
        let state = Checkpoint::read(&self.folder.state()).unwrap();
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
        let tensors = state.tensors.into_iter().map(|(name, (_, values))| (name, bits(values))).collect();
        (tensors, state.metadata.into_values().collect())
    }

    fn parameters(&self) -> Vec<f32> {
        Checkpoint::read(&self.folder.model()).unwrap().tensors.into_values().flat_map(|(_, values)| values).collect()
    }

    /// (recon, kl, kl_weight, rows) of each batch of the last epoch.
    fn losses(&self) -> Vec<[f32; 4]> {
        let (_, losses) = Checkpoint::read(&self.folder.state()).unwrap().tensors.remove("losses").unwrap();
        losses.chunks(4).map(|row| row.try_into().unwrap()).collect()
    }
}

/// A run of these settings from the start to the end.
fn trained(settings: &Settings, data: &Dataset, device: &Device) -> Run {
    let run = Run::new();
    run.train(settings, data, device).unwrap();
    run
}

fn assert_same(a: &Run, b: &Run, what: &str) {
    assert_eq!(a.metrics(), b.metrics(), "{what}");
    assert!(a.state() == b.state(), "{what}: the states differ");
    for file in [RunFolder::model, RunFolder::best] {
        let [x, y] = [a, b].map(|run| fs::read(file(&run.folder)).unwrap());
        assert!(x == y, "{what}: {} differs", file(&a.folder).file_name().unwrap().display());
    }
}

#[track_caller]
fn assert_near(a: f64, b: f64, relative: f64) {
    assert!((a - b).abs() <= relative * a.abs().max(b.abs()), "{a} and {b} differ by more than {relative}");
}

// ---- Repeating and going on

#[test]
fn a_seed_decides_every_bit() {
    let data = data(20, 10);
    for device in devices() {
        let what = device.description();
        let first = trained(&small(), &data, &device);
        assert_same(&first, &trained(&small(), &data, &device), &what);
        let other = trained(&small_with("seed = 2"), &data, &device);
        assert_ne!(first.parameters(), other.parameters(), "{what}");
    }
}

#[test]
fn two_epochs_and_two_more_are_four() {
    let data = data(20, 10);
    let adam = small();
    let sgd = small_with("optimizer = 'sgd'\nlr = 1e-4\nmomentum = 0.9\nclip_norm = 50.0");
    for device in devices() {
        for settings in [&adam, &sgd] {
            let four = settings.with("epochs = 4").unwrap();
            let run = trained(settings, &data, &device);
            assert_eq!(run.train(&four, &data, &device).unwrap(), Ending::Finished);
            assert_same(&run, &trained(&four, &data, &device), &device.description());
            assert_eq!(run.metrics().iter().map(|m| m.epoch).collect::<Vec<_>>(), [1, 2, 3, 4]);
        }
    }
}

/// The draw of the pixels is the step's, as the noise is, and the bound is one term.
#[test]
fn several_samples_of_drawn_pixels_go_on_too() {
    let data = data(20, 10);
    let two = small_with("importance = 3\nestimator = 'dreg'\nbinarise = 'dynamic'");
    let four = two.with("epochs = 4").unwrap();
    for device in devices() {
        let [run, whole] = [&two, &four].map(|settings| trained(settings, &data, &device));
        assert_eq!(run.train(&four, &data, &device).unwrap(), Ending::Finished);
        assert!(run.state() == whole.state(), "{}", device.description());
        let rows = read_metrics(&run.folder.metrics(), &[BOUND]).unwrap();
        assert!(rows.len() == 4 && rows.iter().all(|row| row.train.terms == [row.train.loss]));
        let grey = trained(&four.with("binarise = 'none'").unwrap(), &data, &device);
        assert_ne!(run.parameters(), grey.parameters());
    }
}

/// A capacity, the parts of the KL, a learned prior: each with its terms, and with all of it in the files.
#[test]
fn other_forms_of_the_kl_go_on_too() {
    let data = data(20, 10);
    for (form, terms, word) in [
        ("capacity = 4.0\ncapacity_schedule = 'linear:2'\nkl_weight = 10.0", HELD, "capacity_gap"),
        ("tc_weight = 4.0", PARTED, "total_correlation"),
        ("prior = 'vamp'\ncomponents = 3", SAMPLED, "kl"),
    ] {
        let two = small_with(form);
        let four = two.with("epochs = 4").unwrap();
        for device in devices() {
            let [run, whole] = [&two, &four].map(|settings| trained(settings, &data, &device));
            assert_eq!(run.train(&four, &data, &device).unwrap(), Ending::Finished);
            assert!(run.state() == whole.state(), "{form} on {}", device.description());
            let rows = read_metrics(&run.folder.metrics(), terms).unwrap();
            assert!(rows.len() == 4 && terms.iter().any(|term| term.name == word), "{form}");
            // What a run reports of its test set is -ELBO to whoever opens the model, up to the weights.
            let model = Trained::open(run.folder.root(), &device).unwrap();
            let evaluated = model.evaluate(&data.test, Latent::Sampled, 1, 7).unwrap();
            assert!((evaluated.loss - evaluated.sum(terms)).abs() < 1e-3, "{form}: {evaluated:?}");
        }
    }
}

/// The training loss is what is minimised: recon + kl_weight |KL - C|, the KL beside it as it is.
#[test]
fn a_capacity_counts_in_the_place_of_the_kl() {
    let settings = small_with("capacity = 4.0\nkl_weight = 10.0\nbatch_size = 20\nepochs = 1");
    let run = trained(&settings, &data(20, 10), &cpu());
    let row = read_metrics(&run.folder.metrics(), HELD).unwrap().remove(0);
    for means in [&row.train, &row.test] {
        let [recon, kl, gap] = means.terms[..] else { panic!("three terms") };
        assert!((gap - (kl - 4.0).abs()).abs() < 1e-5 && gap > 1.0, "{means:?}");
        assert!((means.loss - (recon + 10.0 * gap)).abs() < 1e-3, "{means:?}");
    }
}

/// N is written down for whoever goes on with the run, and changes what is reported alone.
#[test]
fn the_parts_of_a_kl_know_the_number_of_examples() {
    let data = data(20, 10);
    let [counted, one] = ["tc_weight = 4.0\nexamples = 20", "tc_weight = 4.0\nexamples = 1"].map(|text| {
        let run = trained(&small_with(text), &data, &cpu());
        let rows = read_metrics(&run.folder.metrics(), PARTED).unwrap();
        (run.parameters(), rows[1].train.terms.clone())
    });
    assert!(counted.0 == one.0);
    let sum = |terms: &[f64]| terms[1..].iter().sum::<f64>();
    assert!((sum(&counted.1) - sum(&one.1)).abs() < 1e-3, "{counted:?} {one:?}");
    assert!((counted.1[1] - one.1[1] - 20f64.ln()).abs() < 1e-3, "{counted:?} {one:?}");
}

#[test]
fn an_interrupted_epoch_goes_on_where_it_stopped() {
    let data = data(20, 10);
    for device in devices() {
        let whole = trained(&small(), &data, &device);
        // After the order alone, and after the first batch.
        for batches in [0, 1] {
            let run = Run::new();
            run.interrupt(&small(), &data, &device, batches);
            let (_, progress) = run.state();
            assert!(
                progress.contains("epoch = 0\n") && progress.contains(&format!("batch = {batches}\n")),
                "{progress}"
            );
            assert_eq!(run.metrics(), []);
            assert_eq!(run.train(&small(), &data, &device).unwrap(), Ending::Finished);
            assert_same(&run, &whole, &device.description());
        }
    }
}

#[test]
fn a_run_stopped_between_two_epochs_goes_on_too() {
    let data = data(20, 10);
    let whole = trained(&small(), &data, &cpu());
    let run = Run::new();
    let stop = AtomicBool::new(false);
    let mut trainer = run.trainer(&small(), &data, &cpu());
    let ending = trainer.train(&stop, &mut |event| {
        if matches!(event, Event::Epoch { .. }) {
            stop.store(true, Ordering::Relaxed);
        }
    });
    assert_eq!((ending.unwrap(), trainer.epochs_done()), (Ending::Interrupted, 1));
    run.train(&small(), &data, &cpu()).unwrap();
    assert_same(&run, &whole, "cpu");
}

#[test]
fn a_run_stopped_while_it_is_evaluated_has_only_that_left_to_do() {
    let data = data(20, 10);
    for (device, settings) in devices().into_iter().flat_map(|d| [(d.clone(), small()), (d, convolutional())]) {
        let whole = trained(&settings, &data, &device);
        let run = Run::new();
        let stop = AtomicBool::new(false);
        let mut trainer = run.trainer(&settings, &data, &device);
        let ending = trainer.train(&stop, &mut |event| {
            if matches!(event, Event::Evaluation) {
                stop.store(true, Ordering::Relaxed);
            }
        });
        assert_eq!((ending.unwrap(), trainer.epochs_done()), (Ending::Interrupted, 0));
        let batches = 20_usize.div_ceil(settings.batch_size);
        let (_, progress) = run.state();
        assert!(progress.contains("epoch = 0\n") && progress.contains(&format!("batch = {batches}\n")), "{progress}");
        assert_eq!(run.metrics(), []);
        drop(trainer);
        let mut trainer = run.trainer(&settings, &data, &device);
        let mut trained_batches = 0;
        let ending = trainer.train(&AtomicBool::new(false), &mut |event| {
            if let Event::Batches { epoch: 1, done, .. } = event {
                trained_batches = done - batches;
            }
        });
        assert_eq!((ending.unwrap(), trained_batches), (Ending::Finished, 0));
        assert_same(&run, &whole, &device.description());
    }
}

#[test]
fn a_run_stopped_after_its_last_epoch_is_finished() {
    let run = Run::new();
    let data = data(20, 10);
    let stop = AtomicBool::new(false);
    let mut trainer = run.trainer(&small(), &data, &cpu());
    let ending = trainer.train(&stop, &mut |event| {
        if let Event::Epoch { metrics, .. } = event {
            stop.store(metrics.epoch == small().epochs, Ordering::Relaxed);
        }
    });
    assert_eq!(ending.unwrap(), Ending::Finished);
}

#[test]
fn an_epoch_whose_state_was_not_saved_is_trained_again() {
    let data = data(20, 10);
    let run = trained(&small_with("epochs = 1"), &data, &cpu());
    let state = fs::read(run.folder.state()).unwrap();
    run.train(&small(), &data, &cpu()).unwrap();
    // As if killed after the metrics and the models of epoch 2 were written, and before its state was.
    fs::write(run.folder.state(), state).unwrap();
    run.train(&small(), &data, &cpu()).unwrap();
    assert_same(&run, &trained(&small(), &data, &cpu()), "cpu");
}

#[test]
fn the_state_of_another_model_is_refused_and_stays() {
    let data = data(20, 10);
    let run = trained(&small_with("epochs = 1"), &data, &cpu());
    let state = fs::read(run.folder.state()).unwrap();
    let refused = |settings: Settings| {
        match Trainer::new(settings, data.clone(), &cpu(), run.folder.clone(), true) {
            Err(Error::File { path, problem }) => assert!(path == run.folder.state(), "{}: {problem}", path.display()),
            Err(other) => panic!("expected a file error, got {other}"),
            Ok(_) => panic!("the state was taken"),
        }
        assert!(fs::read(run.folder.state()).unwrap() == state);
    };
    refused(small_with("latent = 4"));
    refused(small_with("optimizer = 'sgd'"));
    refused(small_with("batch_size = 5"));
}

// ---- Statistics beside the parameters

/// Convolutions with batch norm in both halves, of pictures and of vectors, and dropout, whose units a step decides.
fn convolutional() -> Settings {
    small_with(
        "encoder = '(conv 3 k4 s4 nobias, batchnorm, relu), dropout 0.25, maxpool k3 s2, flatten'\n\
         decoder = 'flatten, linear 49, batchnorm, silu, view 1 7 7, (conv 2 k3 p1, batchnorm, relu), \
         conv_transpose 1 k4 s4'",
    )
}

const BATCH_NORMS: [&str; 3] = ["encoder.0.1", "decoder.2", "decoder.5.1"];

/// Running mean, running variance and number of batches of a batch norm, from the state.
fn statistics(run: &Run, layer: &str) -> [Vec<f32>; 3] {
    let mut state = Checkpoint::read(&run.folder.state()).unwrap();
    let kinds = ["running_mean", "running_var", "num_batches_tracked"];
    kinds.map(|kind| state.tensors.remove(&format!("{layer}.{kind}")).unwrap().1)
}

#[test]
fn a_convolutional_run_repeats_and_goes_on_bit_by_bit() {
    let data = data(20, 10);
    for device in devices() {
        let what = device.description();
        let whole = trained(&convolutional(), &data, &device);
        assert_same(&whole, &trained(&convolutional(), &data, &device), &what);
        let other = trained(&convolutional().with("seed = 2").unwrap(), &data, &device);
        assert_ne!(whole.parameters(), other.parameters(), "{what}");
        // Two epochs of three batches.
        for layer in BATCH_NORMS {
            let [mean, var, count] = statistics(&whole, layer);
            assert!(mean.iter().all(|&m| m != 0.0) && var.iter().all(|&v| v > 0.0 && v != 1.0), "{what}, {layer}");
            assert_eq!(count, [6.0], "{what}, {layer}");
        }

        let parts = trained(&convolutional().with("epochs = 1").unwrap(), &data, &device);
        let halfway = BATCH_NORMS.map(|layer| statistics(&parts, layer));
        assert!(halfway.iter().all(|[_, _, count]| *count == [3.0]), "{what}: {halfway:?}");
        assert_eq!(parts.train(&convolutional(), &data, &device).unwrap(), Ending::Finished);
        assert_same(&parts, &whole, &what);
        for (layer, before) in BATCH_NORMS.into_iter().zip(&halfway) {
            assert_ne!(statistics(&parts, layer)[..2], before[..2], "{what}: {layer} stood still");
        }

        // After the order alone, and after the first batch.
        for batches in [0, 1] {
            let run = Run::new();
            run.interrupt(&convolutional(), &data, &device, batches);
            for layer in BATCH_NORMS {
                assert_eq!(statistics(&run, layer)[2], [batches as f32], "{what}, {layer}");
            }
            assert_eq!(run.train(&convolutional(), &data, &device).unwrap(), Ending::Finished);
            assert_same(&run, &whole, &what);
        }
    }
}

#[test]
fn evaluation_uses_the_running_statistics_and_leaves_them() {
    for device in devices() {
        let what = device.description();
        // What is tested on between two epochs must not show in the model.
        let runs = [10, 3].map(|test| trained(&convolutional(), &data(20, test), &device));
        let [tensors, others] = runs.each_ref().map(|run| Checkpoint::read(&run.folder.model()).unwrap().tensors);
        assert!(tensors == others, "{what}");
        assert_ne!(runs[0].metrics()[1].test.loss, runs[1].metrics()[1].test.loss, "{what}");
        // With a batch's own statistics a loss would depend on the batch.
        let path = runs[0].folder.model();
        let model = Trained::open(&path, &device).unwrap();
        let before = fs::read(&path).unwrap();
        let test = data(20, 10).test;
        let loss = |batch| model.evaluate(&test, Latent::Mean, 1, batch).unwrap().loss;
        assert_near(loss(10), loss(3), 1e-6);
        assert_near(loss(10), loss(1), 1e-6);
        assert_eq!(loss(10), loss(10), "{what}");
        assert!(fs::read(&path).unwrap() == before);
    }
}

#[test]
fn a_state_without_its_statistics_is_refused() {
    let data = data(20, 10);
    let run = trained(&convolutional().with("epochs = 1").unwrap(), &data, &cpu());
    let whole = Checkpoint::read(&run.folder.state()).unwrap();
    for kind in ["running_mean", "running_var", "num_batches_tracked"] {
        let name = format!("decoder.2.{kind}");
        let mut state = whole.clone();
        state.tensors.remove(&name).unwrap();
        state.write(&run.folder.state()).unwrap();
        match Trainer::new(convolutional(), data.clone(), &cpu(), run.folder.clone(), true) {
            Err(Error::File { problem, .. }) => assert!(problem.contains(&name), "{problem}"),
            other => panic!("expected a file error, got {:?}", other.map(|_| ())),
        }
    }
}

// ---- Labels, and noise on the pictures

/// [`small`] for another model.
fn small_of(model: &str) -> Settings {
    let settings = Settings::of_model(elbo::models::find(model).unwrap());
    let settings = settings.with("batch_size = 7\nepochs = 2\nsamples = 4").unwrap();
    let sizes = match model {
        "ladder" => "hidden = [16, 8]\nlatent = [3, 2]",
        _ => "hidden = [16]\nlatent = 3",
    };
    with_few_codes(with_labels(settings.with(sizes).unwrap(), 10))
}

/// So many training pictures keep their label, where that is a key of the model.
fn with_labels(settings: Settings, count: usize) -> Settings {
    let has_key = settings.entry().unwrap().key_names().any(|key| key == "labels");
    if has_key { settings.with(&format!("labels = {count}")).unwrap() } else { settings }
}

/// Not more codes than a few pictures have vectors, where that is a key of the model.
fn with_few_codes(settings: Settings) -> Settings {
    let has_key = settings.entry().unwrap().key_names().any(|key| key == "codes");
    if has_key { settings.with("codes = 8").unwrap() } else { settings }
}

/// [`data`], or of a recommender so many users.
fn data_of(model: &str) -> Dataset {
    if model != "recommendation" {
        return data(20, 10);
    }
    let [train, test] = [20, 10].map(|count| subject::drawn(count, &Columns::of(Kind::Items(60), 0)));
    Dataset { name: "users".into(), class_names: vec![], vocabulary: None, train, test }
}

const OTHER_MODELS: [&str; 10] = [
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
];

#[test]
fn runs_of_every_model_repeat_and_go_on_bit_by_bit() {
    for (model, device) in OTHER_MODELS.into_iter().flat_map(|m| devices().into_iter().map(move |d| (m, d))) {
        let what = format!("{model} on {}", device.description());
        check_repeats_and_goes_on(&what, &small_of(model), &data_of(model), &device);
    }
}

fn check_repeats_and_goes_on(what: &str, settings: &Settings, data: &Dataset, device: &Device) {
    let whole = trained(settings, data, device);
    assert_same(&whole, &trained(settings, data, device), what);
    let other = trained(&settings.with("seed = 2").unwrap(), data, device);
    assert_ne!(whole.parameters(), other.parameters(), "{what}");
    let parts = trained(&settings.with("epochs = 1").unwrap(), data, device);
    assert_eq!(parts.train(settings, data, device).unwrap(), Ending::Finished);
    assert_same(&parts, &whole, what);
    let run = Run::new();
    run.interrupt(settings, data, device, 1);
    assert_eq!(run.train(settings, data, device).unwrap(), Ending::Finished);
    assert_same(&run, &whole, what);
}

/// Of convolutions, which files order otherwise than the device, with the VQ-VAE as constants.
#[test]
fn a_prior_over_codes_repeats_and_goes_on_bit_by_bit() {
    let networks = "head = 'direct'\nlatent = 9\ncode_dim = 4\ncodes = 6\n\
                    encoder = 'conv 8 k4 s4, batchnorm, relu, conv 4 k2 s2 p0'\n\
                    decoder = 'conv_transpose 8 k2 s2, relu, upsample 2, conv_transpose 1 k8 s2 p1'";
    let data = data(20, 10);
    for device in devices() {
        let vq = trained(&small_of("vq").with(networks).unwrap(), &data, &device);
        let of_prior = format!("vq = '{}'\nwidth = 8\nblocks = 1", vq.folder.root().display());
        let settings = small_of("pixelcnn").with(networks).unwrap().with(&of_prior).unwrap();
        check_repeats_and_goes_on(&format!("a prior on {}", device.description()), &settings, &data, &device);
        let other = settings.with("codes = 7").unwrap();
        let trainer = Trainer::new(other, data.clone(), &device, Run::new().folder.clone(), false);
        let problem = trainer.err().expect("another VQ-VAE is named").to_string();
        assert!(problem.contains("of 6 codes") && problem.contains("not what these settings say"), "{problem}");
    }
}

// ---- What is trained and measured

#[test]
fn both_devices_compute_the_same_run() {
    let Some(gpu) = gpu() else { return };
    let deep = small_with(
        "hidden = [16, 12]\nhead = 'fused'\noutput = 'gaussian'\nsigma = 0.5\nactivation = 'silu'\n\
         optimizer = 'adamw'\nweight_decay = 0.01",
    );
    let of = |output| small_with(&format!("output = '{output}'\nsigma = 0.2"));
    let others = ["optimal_sigma", "laplace", "continuous_bernoulli", "discretised_logistic"];
    let models = OTHER_MODELS.map(|model| (small_of(model), data_of(model)));
    let vaes = [small(), deep, convolutional()].into_iter().chain(others.map(of));
    for (settings, data) in vaes.map(|settings| (settings, data(20, 10))).chain(models) {
        let [on_cpu, on_gpu] = [cpu(), gpu.clone()].map(|device| trained(&settings, &data, &device));
        // Six steps of Adam: rounding differs, the numbers of an epoch hardly.
        for (a, b) in on_cpu.metrics().iter().zip(on_gpu.metrics()) {
            for (a, b) in [(&a.train, &b.train), (&a.test, &b.test)] {
                assert_near(a.loss, b.loss, 1e-4);
                assert_near(kl(a), kl(b), 1e-3);
            }
        }
    }
}

#[test]
fn every_output_is_learnt() {
    let data = data(200, 20);
    for output in Likelihood::ALL {
        let mut settings = small_with("sigma = 0.2\nbatch_size = 20\nlr = 3e-3\nepochs = 4\nhidden = [32]");
        settings.own.insert("output".into(), toml::Value::try_from(output).unwrap());
        let losses: Vec<f64> = trained(&settings, &data, &cpu()).metrics().iter().map(|m| m.test.loss).collect();
        // By a hundredth of a nat a pixel at the least, whose number is 784.
        assert!(losses[3] < losses[0] - 7.84 && losses[3].is_finite(), "{output:?}: {losses:?}");
    }
}

#[test]
fn every_picture_counts_once_whatever_the_batch() {
    let data = data(20, 10);
    let still = still().with("epochs = 1").unwrap();
    for device in devices() {
        let of = |batch_size| {
            let run = trained(&still.with(&format!("batch_size = {batch_size}")).unwrap(), &data, &device);
            let rows = run.losses().iter().map(|row| row[3] as usize).collect::<Vec<_>>();
            (run.metrics().remove(0), rows)
        };
        let (whole, rows) = of(20);
        assert_eq!(rows, [20]);
        for (batch, expected) in [(7, vec![7, 7, 6]), (19, vec![19, 1]), (4, vec![4; 5])] {
            let (parts, rows) = of(batch);
            assert_eq!(rows, expected);
            assert_near(kl(&whole.train), kl(&parts.train), 1e-5);
            assert_near(kl(&whole.test), kl(&parts.test), 1e-5);
            // Each batch size has noise of its own.
            assert_near(recon(&whole.train), recon(&parts.train), 0.01);
            assert_near(recon(&whole.test), recon(&parts.test), 0.01);
        }
    }
}

#[test]
fn the_shorter_last_batch_is_trained_on() {
    let data = data(20, 10);
    let settings = small_with("epochs = 1\noptimizer = 'sgd'\nlr = 1e-4");
    for device in devices() {
        let mut moved = Vec::new();
        let mut before = Vec::new();
        // The state after each batch: on the CPU device a run can stop after any of them.
        for batches in if matches!(device, Device::Cpu(_)) { 0..3 } else { 0..2 } {
            let run = Run::new();
            run.interrupt(&settings, &data, &device, batches);
            moved.push(run.parameters() != before);
            before = run.parameters();
        }
        moved.push(trained(&settings, &data, &device).parameters() != before);
        assert!(moved.iter().all(|&m| m), "{}: {moved:?}", device.description());
    }
}

#[test]
fn a_loss_is_reconstruction_and_weighted_kl() {
    let data = data(20, 10);
    let settings = small_with("kl_weight = 0.5\nkl_schedule = 'linear:2'");
    for device in devices() {
        let run = trained(&settings, &data, &device);
        let losses = run.losses();
        // Steps 3 to 5 of a ramp over 6.
        let weights: Vec<f32> = losses.iter().map(|row| row[2]).collect();
        assert_eq!(weights, [3.0, 4.0, 5.0].map(|s| (0.5 * s / 6.0) as f32));
        let last = run.metrics().remove(1);
        let sum: f64 = losses.iter().map(|&[recon, kl, weight, _]| (recon + weight * kl) as f64).sum();
        assert_near(last.train.loss, sum / 20.0, 1e-6);
        // The test set is judged with the whole weight.
        assert_near(last.test.loss, recon(&last.test) + 0.5 * kl(&last.test), 1e-6);
    }
}

#[test]
fn the_kl_weight_decides_between_picture_and_prior() {
    let data = data(200, 20);
    let with = |kl_weight: f64| {
        let size = "hidden = [32]\nlatent = 4\nbatch_size = 20\nlr = 3e-3\nepochs = 6";
        let run = trained(&small_with(&format!("{size}\nkl_weight = {kl_weight:?}")), &data, &cpu());
        run.metrics().iter().map(|m| kl(&m.train)).collect::<Vec<_>>()
    };
    let free = with(0.0);
    assert!(free[5] > 10.0 * free[0], "{free:?}");
    let bound = with(1000.0);
    assert!(bound[5] < 0.01, "{bound:?}");
    let usual = with(1.0);
    assert!(usual[5] > 0.1 && usual[5] < 0.5 * free[5], "{usual:?}");
}

#[test]
fn free_bits_are_free() {
    let data = data(20, 10);
    for device in devices() {
        let of = |kl_weight: f64, free_bits: f64| {
            // Free bits are not fused, so neither is what they are compared with.
            let loss = format!("kl_weight = {kl_weight:?}\nfree_bits = {free_bits:?}");
            let settings = small_with(&format!("{loss}\nlr = 1e-2\nno_fuse = true"));
            trained(&settings, &data, &device).parameters()
        };
        // All of the KL free is a KL without weight, to the bit.
        assert!(of(1.0, 1e6) == of(0.0, 0.0), "{}", device.description());
        assert!(of(1.0, 1e6) != of(1.0, 0.0), "{}", device.description());
        assert!(of(1.0, 1e-30) == of(1.0, 0.0), "{}", device.description());
    }
}

// ---- Augmentation

/// So small a step that the parameters stay: then the KL, which needs no noise, depends on the pictures alone.
fn still() -> Settings {
    small_with("lr = 1e-30")
}

#[test]
fn training_pictures_are_shifted_and_mirrored_as_the_seed_says() {
    let data = data(20, 10);
    for device in devices() {
        let what = device.description();
        let plain = trained(&still(), &data, &device).metrics();
        let mut seen = vec![kl(&plain[0].train)];
        for (flip, shift) in [(true, 0), (false, 2), (true, 2)] {
            let settings = still().with(&format!("flip = {flip}\nshift = {shift}")).unwrap();
            let run = trained(&settings, &data, &device);
            assert_same(&run, &trained(&settings, &data, &device), &what);
            let [first, second] = [0, 1].map(|epoch| kl(&run.metrics()[epoch].train));
            // Each epoch draws anew; the same pictures in another order differ in the last digits only.
            assert!((first - second).abs() > 1e-4 * first, "{what}, {flip} {shift}: {first} {second}");
            for other in &seen {
                assert!((first - other).abs() > 1e-4 * first, "{what}, {flip} {shift}: {first} {other}");
            }
            seen.push(first);
            // The test pictures stay as they are.
            assert_eq!(kl(&run.metrics()[0].test), kl(&plain[0].test), "{what}");
        }
    }
}

#[test]
fn an_augmented_run_goes_on_where_it_stopped() {
    let data = data(20, 10);
    let settings = small_with("flip = true\nshift = 3");
    for device in devices() {
        let run = Run::new();
        run.interrupt(&settings, &data, &device, 1);
        assert_eq!(run.train(&settings, &data, &device).unwrap(), Ending::Finished);
        assert_same(&run, &trained(&settings, &data, &device), &device.description());
    }
}

#[test]
fn the_augmented_picture_is_also_the_one_to_reconstruct() {
    let data = data(20, 10);
    let step = |settings: &Settings| {
        Programs::new(&mut cpu().backend(), settings, data.clone()).unwrap().steps[0].steps.clone()
    };
    let steps = step(&small_with("flip = true"));
    let augment = steps.iter().find(|step| step.kernel.name == "augment.forward").unwrap();
    let readers = |tensor| steps.iter().filter(move |step| step.reads.contains(&tensor)).map(|step| step.kernel.name);
    assert_eq!(readers(augment.reads[0]).collect::<Vec<_>>(), ["augment.forward"]);
    assert!(readers(augment.writes[0]).any(|kernel| kernel.contains("bce")));
    // Asked for nothing, a step has not one dispatch more.
    assert_eq!(step(&small()).len() + 1, steps.len());
}

#[test]
fn a_shift_out_of_sight_is_refused() {
    let new = |shift| {
        let settings = small_with(&format!("shift = {shift}"));
        Trainer::new(settings, data(20, 10), &cpu(), Run::new().folder, false).map(|_| ())
    };
    assert!(new(27).is_ok());
    assert!(matches!(new(28), Err(Error::Usage(message)) if message.starts_with("--shift 28 moves pictures of 28x28")));
}

// ---- Large data sets

#[test]
fn a_data_set_in_several_buffers_trains_to_the_same_bits() {
    let data = data(20, 10);
    for device in devices() {
        let whole = trained(&small(), &data, &device);
        assert_eq!(whole.trainer(&small(), &data, &device).data_parts(), [1, 1]);
        // Three pictures to a buffer; a picture alone, though the buffer is too small for it.
        for (largest, parts) in [(3 * 784 + 783, [7, 4]), (1, [20, 10])] {
            let run = Run::new();
            let folder = run.folder.clone();
            let mut trainer =
                Trainer::with_largest_part(small(), data.clone(), &device, folder, false, largest).unwrap();
            assert_eq!(trainer.data_parts(), parts);
            trainer.train(&AtomicBool::new(false), &mut |_| ()).unwrap();
            assert_same(&run, &whole, &device.description());
        }
    }
}

// ---- Schedules

#[test]
fn the_learning_rate_reaches_each_step() {
    let data = data(20, 10);
    let plain = small_with("optimizer = 'sgd'\nlr = 1e-4\nbatch_size = 10\nepochs = 1");
    for device in devices() {
        let start = Run::new();
        start.interrupt(&plain, &data, &device, 0);
        let start = start.parameters();
        let step =
            |from: &[f32], to: &[f32]| -> Vec<f64> { to.iter().zip(from).map(|(b, a)| (b - a) as f64).collect() };
        // Of two vectors along one line, how long the first is in units of the second.
        let ratio = |a: &[f64], b: &[f64]| {
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            dot(a, b) / dot(b, b)
        };
        let two_steps = |settings: &Settings| {
            let run = Run::new();
            run.interrupt(settings, &data, &device, 1);
            let middle = run.parameters();
            run.train(settings, &data, &device).unwrap();
            (step(&start, &middle), step(&middle, &run.parameters()))
        };
        let (first, second) = two_steps(&plain);
        // Linear from 1 to 0 over the two steps: 1, 1/2.
        let (a, b) = two_steps(&plain.with("lr_schedule = 'linear'").unwrap());
        assert_eq!(a, first);
        assert_near(ratio(&b, &second), 0.5, 1e-2);
        // Warm-up over four steps: 1/4 first.
        let (a, _) = two_steps(&plain.with("warmup_epochs = 2.0").unwrap());
        assert_near(ratio(&a, &first), 0.25, 1e-2);
    }
}

// ---- Stopping

#[test]
fn patience_ends_a_run() {
    let data = data(20, 10);
    // No epoch is better by a million nats, so the first stays the reference.
    let settings = small_with("epochs = 9\npatience = 2\nmin_delta = 1e6");
    let run = Run::new();
    assert_eq!(run.train(&settings, &data, &cpu()).unwrap(), Ending::Stopped);
    assert_eq!(run.metrics().len(), 3);
}

#[test]
fn the_best_epoch_is_kept_beside_the_last() {
    let data = data(20, 10);
    // Without a weight the KL grows, so that an early epoch stays the best by it.
    let settings = small_with("kl_weight = 0.0\nmonitor = 'test_kl'\nepochs = 4\nlr = 1e-2");
    let run = trained(&settings, &data, &cpu());
    let best = run.metrics().into_iter().min_by(|a, b| kl(&a.test).total_cmp(&kl(&b.test))).unwrap().epoch;
    assert!(best < 4, "{:?}", run.metrics());
    let epoch_of = |path: PathBuf| Checkpoint::read(&path).unwrap().card(&path).unwrap().epoch;
    assert_eq!((epoch_of(run.folder.best()), epoch_of(run.folder.model())), (best, 4));
    let shorter = trained(&settings.with(&format!("epochs = {best}")).unwrap(), &data, &cpu());
    assert!(fs::read(run.folder.best()).unwrap() == fs::read(shorter.folder.model()).unwrap());
}

#[test]
fn a_run_that_diverges_names_step_and_tensor_and_keeps_its_files() {
    let data = data(20, 10);
    for device in devices() {
        let diverges = |run: &Run, settings: &Settings| match run.train(settings, &data, &device) {
            Err(Error::Diverged(message)) => {
                assert!(message.contains("First offending tensor: ") && !message.contains("not found"), "{message}");
                message
            }
            other => panic!("expected divergence, got {other:?}"),
        };
        let run = Run::new();
        let message = diverges(&run, &small_with("lr = 1e30"));
        assert!(message.contains("step 2 (epoch 1, batch 2)") && message.contains("Nothing was saved"), "{message}");
        // The first step leaves parameters of 1e30, with which the second one's encoder overflows.
        let recorded = message.contains("fc21.y") && message.contains("matmul.forward");
        let fused = message.contains("latent.q") && message.contains("fused_latent.forward");
        assert!(recorded || fused, "{message}");
        assert!(!run.folder.state().exists() && !run.folder.model().exists());

        let run = trained(&small_with("epochs = 1"), &data, &device);
        let files = [run.folder.state(), run.folder.model(), run.folder.best(), run.folder.metrics()];
        let before = files.clone().map(|path| fs::read(path).unwrap());
        let message = diverges(&run, &small_with("lr = 1e30"));
        assert!(message.contains("step 5 (epoch 2, batch 2)") && message.contains("of epoch 1 are"), "{message}");
        assert!(files.map(|path| fs::read(path).unwrap()) == before);
        // And so the run can still go on.
        run.train(&small(), &data, &device).unwrap();
        assert_same(&run, &trained(&small(), &data, &device), &device.description());
    }
}

#[test]
fn a_batch_larger_than_the_data_is_refused() {
    let run = Run::new();
    let settings = small_with("batch_size = 21");
    match Trainer::new(settings, data(20, 10), &cpu(), run.folder.clone(), false) {
        Err(Error::Usage(message)) => assert!(message.contains("21") && message.contains("20 training"), "{message}"),
        other => panic!("expected a usage error, got {:?}", other.map(|_| ())),
    }
    // A test set smaller than the batch is one short batch.
    trained(&small_with("batch_size = 20\nepochs = 1"), &data(20, 3), &cpu());
}

// ---- What it costs

/// Dispatches of a training step: a limit for each preset as a device with few fused kernels runs it, and one as it is
/// run by a device that takes every fused kernel, as GPUs do, and the CPU device those that it has.
const BUDGETS: [(&str, usize, usize); 34] = [
    ("mnist-mlp", 30, 8),
    ("mnist-fused", 30, 8),
    ("mnist-2d", 30, 8),
    ("mnist-conv", 67, 67),
    ("cifar-conv", 216, 216),
    ("faces-conv", 279, 279),
    ("faces-mlp", 30, 30),
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
    ("mnist-vq-prior", 118, 118),
    ("mnist-ladder", 60, 47),
    ("mnist-vae-gan", 204, 196),
];

#[test]
fn the_presets_stay_within_their_budget() {
    let presets: Vec<_> = presets::all().map(|(_, preset)| preset).collect();
    assert_eq!(BUDGETS.map(|(name, ..)| name).to_vec(), presets.iter().map(|preset| preset.name).collect::<Vec<_>>());
    for device in devices() {
        let [m1, vq] = [Run::new(), Run::new()];
        for (preset, (name, recorded, fused)) in presets.iter().zip(BUDGETS) {
            // Two full batches and a short one.
            let settings = preset.settings().with("epochs = 2\nbatch_size = 2\nsamples = 1").unwrap();
            let settings = with_few_codes(with_labels(settings, 5));
            let settings = match name {
                "mnist-m1m2" => settings.with(&format!("features = '{}'", m1.folder.root().display())).unwrap(),
                "mnist-vq-prior" => settings.with(&format!("vq = '{}'", vq.folder.root().display())).unwrap(),
                _ => settings,
            };
            let [train, test] = [5, 1].map(|count| subject::drawn(count, &preset.columns()));
            let data = Dataset { name: "noise".into(), class_names: vec![], vocabulary: None, train, test };
            let new = Run::new();
            let run = match name {
                "mnist-m1" => &m1,
                "mnist-vq-conv" => &vq,
                _ => &new,
            };
            let mut trainer = run.trainer(&settings, &data, &device);
            let takes_all = Fusion::of(&device) != Fusion::None;
            let budget = if takes_all { fused } else { recorded };
            assert!(trainer.dispatches_a_step() <= budget, "{name}: {}", trainer.dispatches_a_step());
            trainer.train(&AtomicBool::new(false), &mut |_| ()).unwrap();
            let synchronisations = trainer.counters().synchronisations;
            assert!(synchronisations <= 4, "{name}: {synchronisations} in two epochs");
        }
    }
}
