//! Every model of the list: what its entry says of it holds, its gradients are those of its loss, its views agree with
//! each other, and what it is told matters.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use elbo::arena::Arena;
use elbo::backend::cpu::Cpu;
use elbo::backend::{Backend, Device, Loaded};
use elbo::cases::uniform;
use elbo::data::Dataset;
use elbo::data::table::{Columns, LABELS, PICTURES, Table};
use elbo::inference::Trained;
use elbo::kernels::clock::{Clock, Row};
use elbo::kernels::fill;
use elbo::kernels::random::host_normal;
use elbo::kernels::rows::Rows;
use elbo::layers::Mode;
use elbo::models::batch::{Augmentation, Batch, Source};
use elbo::models::draw::{Distribution, Draw};
use elbo::models::{MODELS, Model, Weight, conditional, presets, vae};
use elbo::program::Recorder;
use elbo::tensor::Tensor;
use elbo::train::metrics::monitors;
use elbo::train::pictures::one_hot;
use elbo::train::run_folder::RunFolder;
use elbo::train::settings::{Run, Settings};
use elbo::train::trainer::Trainer;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

const CPU: Device = Device::Cpu(Cpu::Accelerated);

// ---- What an entry says

#[test]
fn a_model_keeps_the_settings_that_it_was_opened_with() {
    for entry in MODELS {
        let mnist = (Settings::of_model(entry), Columns::of_pictures([1, 28, 28], 10));
        let presets = entry.presets.iter().map(|preset| (preset.settings(), preset.columns()));
        for (settings, columns) in std::iter::once(mnist).chain(presets) {
            let name = &settings.preset;
            assert_eq!(settings.model, entry.name, "{name}");
            let model = settings.outline(&columns).unwrap_or_else(|e| panic!("{name}: {e}"));
            assert_eq!(model.settings(), settings.own, "{name}");
            assert!(std::ptr::eq(model.entry(), *entry), "{name}");
            // What a model file keeps opens the same model again.
            let again = entry.outline(&model.settings(), &columns).unwrap();
            assert_eq!((again.settings(), again.describe()), (model.settings(), model.describe()), "{name}");
        }
    }
}

#[test]
fn a_settings_text_means_the_same_however_its_numbers_are_written() {
    for entry in MODELS {
        let base = Settings::of_model(entry);
        let [whole, decimal] = ["2", "2.0"].map(|n| base.with(&format!("kl_weight = {n}\nlr = {n}")).unwrap());
        assert_eq!(whole, decimal, "{}", entry.name);
        let networks = |encoder: &str| {
            let text = format!("latent = 3\nencoder = \"\"\"{encoder}\"\"\"\ndecoder = 'flatten, linear 784'");
            base.with(&text).unwrap()
        };
        assert_eq!(networks("flatten, linear 6"), networks("\n  flatten,\n  linear 6"), "{}", entry.name);
    }
}

#[test]
fn names_are_unique_and_keys_have_defaults() {
    for entry in MODELS {
        let own: Vec<&str> = entry.key_names().collect();
        let all: Vec<&str> =
            ["preset", "model"].into_iter().chain(Run::KEYS.iter().map(|key| key.name)).chain(own.clone()).collect();
        let distinct: BTreeSet<&str> = all.iter().copied().collect();
        assert_eq!(all.len(), distinct.len(), "{}: {all:?}", entry.name);
        let defaults = (entry.defaults)();
        assert!(defaults.keys().all(|key| own.contains(&key.as_str())), "{}: {defaults}", entry.name);
        (entry.check)(&defaults).unwrap();

        // Each term has its monitors, and one that is weighted a knob, which is a key.
        let terms: BTreeSet<&str> = entry.terms.iter().map(|term| term.name).collect();
        assert_eq!(terms.len(), entry.terms.len(), "{}", entry.name);
        let monitors = monitors(entry.terms);
        let model = entry.outline(&defaults, &Columns::of_pictures([1, 28, 28], 10)).unwrap();
        for term in entry.terms {
            for split in ["train", "test"] {
                assert!(monitors.contains(&format!("{split}_{}", term.name)), "{}: {monitors:?}", entry.name);
            }
            if let Weight::Knob(knob) = term.weight {
                assert!(model.knobs().iter().any(|k| k.name == knob) && own.contains(&knob), "{}: {knob}", entry.name);
            }
        }
    }
    let names: BTreeSet<&str> = MODELS.iter().map(|entry| entry.name).collect();
    let presets: BTreeSet<&str> = presets::all().map(|(_, preset)| preset.name).collect();
    assert_eq!((names.len(), presets.len()), (MODELS.len(), presets::all().count()));
    assert!(names.is_disjoint(&presets), "a run of a model's defaults would have a preset's name");
}

#[test]
fn a_model_without_a_column_that_it_takes_is_refused_by_name() {
    for entry in MODELS {
        for column in entry.takes {
            let mut columns = Columns::of_pictures([1, 28, 28], 10);
            columns.0.remove(*column).unwrap();
            let problem = Settings::of_model(entry).outline(&columns).err().expect("it lacks a column").to_string();
            assert!(problem.contains(&format!("column {column}")), "{}: {problem}", entry.name);
        }
    }
}

/// With two rows of zeros, from the initial parameters and statistics.
#[test]
fn every_view_gives_what_its_ports_say() {
    const ROWS: usize = 2;
    for (entry, preset) in presets::all() {
        let settings = preset.settings();
        let mut arena = Arena::new();
        let model = (entry.open)(&mut arena, &settings.own, &preset.columns()).unwrap();
        let clock = Clock::tensor(&mut arena, "clock", 1);
        let views = model.views();
        let names: BTreeSet<&str> = views.iter().map(|view| view.name).collect();
        assert_eq!(names.len(), views.len(), "{}", preset.name);
        let mut programs = Vec::new();
        for view in &views {
            let mut r = Recorder::new(&mut arena);
            let inputs: Vec<Tensor> =
                view.inputs.iter().map(|port| r.tensor(port.name, &[ROWS, port.kind.width()])).collect();
            let outputs = model.view(&mut r, view.name, &inputs, &mut Draw::Clock(clock));
            programs.push((r.finish(view.name), outputs));
        }
        let mut backend = CPU.backend();
        let loaded: Vec<Loaded> = programs.iter().map(|(program, _)| backend.load(&arena, program).unwrap()).collect();
        write_start(&mut backend, &arena, &*model, clock);
        for ((view, (_, outputs)), loaded) in views.iter().zip(&programs).zip(loaded) {
            let what = format!("{} of {}", view.name, preset.name);
            backend.run(&[(loaded, 1)]).unwrap();
            assert_eq!(outputs.len(), view.outputs.len(), "{what}");
            for (output, port) in outputs.iter().zip(&view.outputs) {
                assert_eq!(output.matrix(), [ROWS, port.kind.width()], "{} of {what}", port.name);
                let values = backend.read_one(*output).unwrap();
                assert_eq!(values.len(), output.len(), "{} of {what}", port.name);
                assert!(values.iter().all(|v| v.is_finite()), "{} of {what}", port.name);
            }
        }
    }
}

/// Initial parameters and statistics, and a clock whose KL weight is [`KL_WEIGHT`].
fn write_start(backend: &mut Backend, arena: &Arena, model: &dyn Model, clock: Tensor) {
    for (tensor, values) in model.initial(&mut ChaCha8Rng::seed_from_u64(5)) {
        backend.write(tensor, &values);
    }
    for statistic in arena.statistics() {
        backend.write(statistic.value, &vec![statistic.initial; statistic.value.len()]);
    }
    // Every further knob is 0.8: the temperature of relaxed samples.
    let row = Row { kl_weight: KL_WEIGHT, knobs: [0.8; 4], ..Row::default() };
    let time = Clock { seed: 3, step: 0, batch: 0, epoch: 0, rows: vec![row] };
    backend.write_words(clock, &time.words());
}

// ---- A step on given columns and noise

const KL_WEIGHT: f32 = 0.7;
const ROWS: usize = 3;
const CLASSES: usize = 4;

/// A model's training step on the reference device, with columns and noise that stay unless they are written anew.
struct Step {
    arena: Arena,
    backend: Backend,
    loaded: Loaded,
    /// By column.
    inputs: Vec<(String, Tensor)>,
    noise: Vec<(Tensor, Distribution)>,
    terms: Vec<Tensor>,
    scale: f32,
}

impl Step {
    fn new(settings: &Settings, shape: [usize; 3]) -> Step {
        let columns = Columns::of_pictures(shape, CLASSES);
        let entry = settings.entry().unwrap();
        let mut arena = Arena::new();
        let model = (entry.open)(&mut arena, &settings.own, &columns).unwrap();
        let clock = Clock::tensor(&mut arena, "clock", 1);
        let input = |name: &&str| (name.to_string(), arena.tensor(*name, &[ROWS, columns.0[*name].width()]));
        let inputs: Vec<(String, Tensor)> = entry.takes.iter().map(input).collect();
        let scale = settings.reduction.scale(ROWS);
        let batch = Batch {
            rows: ROWS,
            clock,
            mode: Mode::Train { clock },
            weight: Rows::Scale(scale),
            order: None,
            columns: inputs.iter().map(|(name, tensor)| (name.clone(), Source::Given(*tensor))).collect(),
            augmentation: Augmentation::default(),
        };
        let gradients = arena.flat_gradients();
        let mut r = Recorder::new(&mut arena);
        fill::forward(&mut r, gradients, 0.0);
        let mut draw = Draw::Given(Vec::new());
        let terms = model.step(&mut r, &batch, &mut draw);
        let program = r.finish("step");
        let Draw::Given(noise) = draw else { unreachable!("it was given") };
        assert_eq!(terms.len(), entry.terms.len());

        let mut backend = Device::Cpu(Cpu::Reference).backend();
        let loaded = backend.load(&arena, &program).unwrap();
        write_start(&mut backend, &arena, &*model, clock);
        let mut step = Step { arena, backend, loaded, inputs, noise, terms, scale };
        step.write(PICTURES, &uniform(1, ROWS * shape.iter().product::<usize>(), 0.0, 1.0));
        if entry.takes.contains(&LABELS) {
            step.write(LABELS, &one_hot([2, 0, 3], CLASSES));
        }
        for (site, (tensor, distribution)) in step.noise.clone().into_iter().enumerate() {
            let values = match distribution {
                Distribution::Normal => host_normal(7, site as u32, tensor.len()),
                Distribution::Uniform => uniform(8 + site as u64, tensor.len(), 0.0, 1.0),
            };
            step.backend.write(tensor, &values);
        }
        step
    }

    fn write(&mut self, column: &str, values: &[f32]) {
        let (_, tensor) = self.inputs.iter().find(|(name, _)| name == column).expect("the model takes it");
        self.backend.write(*tensor, values);
    }

    /// The loss as it is minimised, summed in f64, from the two terms of a VAE.
    fn loss(&mut self) -> f64 {
        self.backend.run(&[(self.loaded, 1)]).unwrap();
        let terms = self.backend.read(&self.terms).unwrap();
        let [recon, kl] = [0, 1].map(|i| terms[i].iter().map(|&v| f64::from(v)).sum::<f64>());
        f64::from(self.scale) * (recon + f64::from(KL_WEIGHT) * kl)
    }
}

// ---- Gradients

/// Half the width of a central difference.
const SHIFT: f32 = 1.0 / 64.0;
/// Of the largest gradient of the model. The difference has an error of SHIFT^2/6 of the third derivative, 4e-5 of it,
/// and the rounding of f32 between kernels: losses of 20 nats and more are off by some 1e-6 each, over a width of 1/32.
const TOLERANCE: f64 = 1e-3;

/// Every parameter's gradient against the central difference of the loss.
fn check_gradients(what: &str, settings: &Settings, shape: [usize; 3]) {
    let mut step = Step::new(settings, shape);
    step.loss();
    let parameters = step.arena.parameters().to_vec();
    let gradients: Vec<Vec<f32>> = parameters.iter().map(|p| step.backend.read_one(p.grad).unwrap()).collect();
    let largest = gradients.iter().flatten().fold(0.0f64, |most, &g| most.max(f64::from(g).abs()));
    for (p, gradient) in parameters.iter().zip(&gradients) {
        let values = step.backend.read_one(p.value).unwrap();
        let mut moved = values.clone();
        for (i, &gradient) in gradient.iter().enumerate() {
            let mut at = |shift: f32| {
                moved[i] = values[i] + shift;
                step.backend.write(p.value, &moved);
                step.loss()
            };
            let width = f64::from(values[i] + SHIFT) - f64::from(values[i] - SHIFT);
            let difference = (at(SHIFT) - at(-SHIFT)) / width;
            moved[i] = values[i];
            let apart = (difference - f64::from(gradient)).abs();
            let place = format!("{what}: {}[{i}]", p.name);
            assert!(
                apart <= TOLERANCE * largest,
                "{place} is {gradient}, the difference {difference}; up to {largest}"
            );
        }
        step.backend.write(p.value, &values);
        // A bias in front of a batch norm has none.
        let is_still = p.name.ends_with(".0.0.bias");
        assert_eq!(gradient.iter().all(|&g| g == 0.0), is_still, "{what}: {}", p.name);
    }
}

/// Nonlinearities without corners, where a difference would have to be on one side of them.
const CONNECTED: &str = "hidden = [5]\nlatent = 2\nactivation = 'tanh'";
/// The encoder sees the label as planes beside the picture, where it is told one.
const LISTED: &str = "head = 'direct'\nlatent = 2\n\
    encoder = '(conv 3 k3 s1 p1, batchnorm, silu), conv 2 k2 s2, tanh, flatten, linear 4'\n\
    decoder = 'flatten, linear 8, silu, view 2 2 2, conv_transpose 1 k2 s2'";

fn of_model(name: &str, text: &str) -> Settings {
    Settings::of_model(elbo::models::find(name).unwrap()).with(text).unwrap()
}

#[test]
fn a_vaes_gradients_are_those_of_its_loss() {
    for (what, text) in [("connected", CONNECTED), ("listed", LISTED)] {
        check_gradients(what, &of_model("vae", text), [1, 4, 4]);
    }
}

#[test]
fn a_conditional_models_gradients_are_those_of_its_loss() {
    let connected = of_model("conditional", CONNECTED);
    let variant = |text: &str| connected.with(text).unwrap();
    for (what, settings, shape) in [
        ("split heads", connected.clone(), [1, 4, 4]),
        ("one head, two layers, mean", variant("head = 'fused'\nhidden = [6, 5]\nreduction = 'mean'"), [1, 4, 4]),
        ("colours, Gaussian", variant("output = 'gaussian'\nsigma = 0.6"), [3, 2, 3]),
        ("label planes", of_model("conditional", LISTED), [1, 4, 4]),
    ] {
        check_gradients(what, &settings, shape);
    }
}

#[test]
fn a_denoising_models_gradients_are_those_of_its_loss() {
    for (kind, networks) in [("connected", CONNECTED), ("listed", LISTED)] {
        for noise in ["gaussian:0.4", "salt_and_pepper:0.3", "mask:0.4"] {
            let settings = of_model("denoising", networks).with(&format!("noise = '{noise}'")).unwrap();
            check_gradients(&format!("{noise}, {kind}"), &settings, [1, 4, 4]);
        }
    }
}

/// Of the relaxed sample's. Straight through, the gradient is not that of the loss, which moves in steps: parity with
/// PyTorch's autograd holds it.
#[test]
fn a_gumbel_models_gradients_are_those_of_its_loss() {
    // A temperature below 1 bends more than the other models do, so the networks are small and the classes few.
    for (what, text) in [("connected", CONNECTED), ("listed", LISTED)] {
        check_gradients(what, &of_model("gumbel", text).with("categories = 2").unwrap(), [1, 4, 4]);
    }
}

/// The lesson of estimator argmax: the decoder learns, and the encoder's gradient is 0 to the bit.
#[test]
fn no_gradient_passes_an_argmax() {
    for (networks, of_encoder) in [(CONNECTED, &["fc1.", "fc2."][..]), (LISTED, &["encoder."][..])] {
        let settings = of_model("gumbel", networks).with("categories = 2\nestimator = 'argmax'").unwrap();
        let mut step = Step::new(&settings, [1, 4, 4]);
        step.loss();
        for p in step.arena.parameters() {
            let is_zero = step.backend.read_one(p.grad).unwrap().iter().all(|&g| g == 0.0);
            assert_eq!(is_zero, of_encoder.iter().any(|stem| p.name.starts_with(stem)), "{}", p.name);
        }
    }
}

/// The loss is of the clean picture: the corrupted one moves it through z alone, and is drawn before z is.
#[test]
fn a_denoising_model_is_judged_by_the_clean_picture() {
    for noise in ["gaussian:0.4", "salt_and_pepper:0.3", "mask:0.4"] {
        let text = format!("{CONNECTED}\nnoise = '{noise}'");
        let mut step = Step::new(&of_model("denoising", &text), [1, 4, 4]);
        let [(corruption, _), (latent, distribution)] = step.noise[..] else { panic!("two noises are drawn") };
        assert_eq!((corruption.shape(), latent.shape()), (&[ROWS, 16][..], &[ROWS, 2][..]));
        assert_eq!(distribution, Distribution::Normal);
        let noisy = step.loss();
        let drawn_noise = step.backend.read_one(corruption).unwrap();
        // Noise that leaves the picture as it is: 0 of a normal; a half of a uniform between the two cuts.
        let none = if noise.starts_with("gaussian") { 0.0 } else { 0.5 };
        step.backend.write(corruption, &vec![none; corruption.len()]);
        let clean = step.loss();
        assert_ne!(noisy, clean, "{noise}");
        // Then it is the VAE's, to the bit, from the same parameters, pictures and z.
        let mut vae = Step::new(&of_model("vae", CONNECTED), [1, 4, 4]);
        let drawn = step.backend.read_one(latent).unwrap();
        vae.backend.write(vae.noise[0].0, &drawn);
        assert_eq!(clean, vae.loss(), "{noise}");
        // A decoder that does not look at z has the same reconstruction of every corruption, and q does not.
        let weight = step.arena.parameters().iter().find(|p| p.name == "fc4.weight").unwrap().value;
        step.backend.write(weight, &vec![0.0; weight.len()]);
        step.loss();
        let [recon, kl] = step.backend.read(&step.terms).unwrap().try_into().unwrap();
        step.backend.write(corruption, &drawn_noise);
        step.loss();
        let [noisy_recon, noisy_kl] = step.backend.read(&step.terms).unwrap().try_into().unwrap();
        assert_eq!(recon, noisy_recon, "{noise}");
        assert_ne!(kl, noisy_kl, "{noise}");
    }
}

// ---- Views

/// A view's outputs for rows of inputs, from the initial parameters.
fn viewed(settings: &Settings, shape: [usize; 3], name: &str, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
    let mut arena = Arena::new();
    let columns = Columns::of_pictures(shape, CLASSES);
    let model = (settings.entry().unwrap().open)(&mut arena, &settings.own, &columns).unwrap();
    let clock = Clock::tensor(&mut arena, "clock", 1);
    let ports = model.find_view(name).unwrap().inputs;
    let mut r = Recorder::new(&mut arena);
    let given: Vec<Tensor> = ports.iter().map(|port| r.tensor(port.name, &[ROWS, port.kind.width()])).collect();
    let outputs = model.view(&mut r, name, &given, &mut Draw::Clock(clock));
    let program = r.finish(name);
    let mut backend = Device::Cpu(Cpu::Reference).backend();
    let loaded = backend.load(&arena, &program).unwrap();
    write_start(&mut backend, &arena, &*model, clock);
    given.iter().zip(inputs).for_each(|(&tensor, values)| backend.write(tensor, values));
    backend.run(&[(loaded, 1)]).unwrap();
    backend.read(&outputs).unwrap()
}

/// Encoder and decoder are told the label, each row its own.
#[test]
fn another_label_gives_another_q_and_another_picture() {
    let (x, z) = (uniform(1, ROWS * 16, 0.0, 1.0), host_normal(2, 0, ROWS * 2));
    let [labels, others] = [[2, 0, 3], [2, 1, 3]].map(|labels| one_hot(labels, CLASSES));
    for networks in [CONNECTED, LISTED] {
        let settings = of_model("conditional", networks);
        for (view, input) in [("encode", &x), ("decode", &z)] {
            let [told, other] = [&labels, &others].map(|label| viewed(&settings, [1, 4, 4], view, &[input, label]));
            for (a, b) in told.iter().zip(&other) {
                let width = a.len() / ROWS;
                let differs: Vec<bool> = a.chunks(width).zip(b.chunks(width)).map(|(a, b)| a != b).collect();
                assert_eq!(differs, [false, true, false], "{view}");
            }
        }
    }
}

/// A reconstruction is the picture of the mean, and a score -log p of it.
#[test]
fn views_agree_with_each_other() {
    let (x, label) = (uniform(1, ROWS * 16, 0.0, 1.0), one_hot([2, 0, 3], CLASSES));
    for entry in MODELS {
        for networks in [CONNECTED, LISTED] {
            let settings = of_model(entry.name, networks);
            let is_told = entry.takes.contains(&LABELS);
            // Others: `a_discrete_reconstruction_is_the_picture_of_its_code`.
            if !entry.terms.contains(&vae::KL) {
                continue;
            }
            let view = |name: &str, input: &[f32]| {
                let inputs = [input, &label];
                viewed(&settings, [1, 4, 4], name, if is_told { &inputs } else { &inputs[..1] })
            };
            let [mean, logvar] = view("encode", &x).try_into().unwrap();
            let [decoded] = view("decode", &mean).try_into().unwrap();
            // What is noisy is taken as it is.
            let name = if entry.name == "denoising" { "denoise" } else { "reconstruct" };
            assert_eq!(view(name, &x), std::slice::from_ref(&decoded), "{}", entry.name);
            if !is_told {
                continue;
            }
            let [recon, scored_mean, scored_logvar] = view("score", &x).try_into().unwrap();
            assert_eq!([scored_mean, scored_logvar], [mean, logvar]);
            for ((row, x), p) in recon.iter().zip(x.chunks(16)).zip(decoded.chunks(16)) {
                let nats = |(&x, &p): (&f32, &f32)| {
                    let [x, p] = [x, p].map(f64::from);
                    -(x * p.ln() + (1.0 - x) * (1.0 - p).ln())
                };
                let expected: f64 = x.iter().zip(p).map(nats).sum();
                // 16 pixels of about half a nat, from probabilities in f32.
                assert!((f64::from(*row) - expected).abs() < 1e-5, "{row} {expected}");
            }
        }
    }
}

/// Of the latent point that the picture's encoding says: the one-hot vectors of the largest logits.
#[test]
fn a_discrete_reconstruction_is_the_picture_of_its_code() {
    let x = uniform(1, ROWS * 16, 0.0, 1.0);
    for networks in [CONNECTED, LISTED] {
        let settings = of_model("gumbel", networks).with("categories = 2").unwrap();
        let view = |name: &str, input: &[f32]| viewed(&settings, [1, 4, 4], name, &[input]);
        let [logits] = view("encode", &x).try_into().unwrap();
        let z: Vec<f32> = logits.chunks(2).flat_map(|l| if l[1] > l[0] { [0.0, 1.0] } else { [1.0, 0.0] }).collect();
        assert_eq!(view("reconstruct", &x), view("decode", &z));
    }
}

// ---- Labels

#[test]
fn another_label_gives_another_loss() {
    for networks in [CONNECTED, LISTED] {
        let mut step = Step::new(&of_model("conditional", networks), [1, 4, 4]);
        let right = step.loss();
        assert_eq!(step.loss(), right, "it repeats itself");
        let mut seen = vec![right];
        for labels in [[0, 3, 2], [3, 2, 0], [1, 1, 1]] {
            step.write(LABELS, &one_hot(labels, CLASSES));
            let loss = step.loss();
            assert!(seen.iter().all(|other| (other - loss).abs() > 1e-4 * loss), "{labels:?}: {loss} in {seen:?}");
            seen.push(loss);
        }
        step.write(LABELS, &one_hot([2, 0, 3], CLASSES));
        assert_eq!(step.loss(), right);
        // Rows in another order, all of them, are the same batch.
        let turned = |values: Vec<f32>| {
            let width = values.len() / ROWS;
            [&values[width..], &values[..width]].concat()
        };
        let tensors = step.inputs.iter().map(|&(_, tensor)| tensor).chain(step.noise.iter().map(|&(tensor, _)| tensor));
        for tensor in tensors.collect::<Vec<_>>() {
            let values = step.backend.read_one(tensor).unwrap();
            step.backend.write(tensor, &turned(values));
        }
        // But for the order of sums over the batch, in a batch norm or of the KL.
        let loss = step.loss();
        assert!((loss - right).abs() < 1e-5 * right, "{loss} {right}");
    }
}

/// Pictures of one grey level each, which the label alone decides: (N,1,6,5), labels go round.
fn shades(count: usize, levels: [u8; 3]) -> Table {
    let labels: Vec<u8> = (0..count).map(|i| (i % 3) as u8).collect();
    let pixels = labels.iter().flat_map(|&label| [levels[usize::from(label)]; 30]).collect();
    Table::of_pictures([1, 6, 5], pixels, Some((labels, 3)))
}

/// A model of these settings, trained on [`shades`].
fn trained(settings: &Settings, levels: [u8; 3]) -> Trained {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::create(folder.path().join("run")).unwrap();
    let (train, test) = (shades(64, levels), shades(9, levels));
    let data = Dataset { name: "shades".into(), class_names: vec![], train, test };
    let mut trainer = Trainer::new(settings.clone(), data, &CPU, run.clone(), false).unwrap();
    trainer.train(&AtomicBool::new(false), &mut |_| ()).unwrap();
    Trained::open(run.root(), &CPU).unwrap()
}

/// Where z says nothing, the label is all there is to go by: it must be that of the picture in every batch, whatever
/// the order, the shorter last batch included.
#[test]
fn a_conditional_model_draws_what_is_asked_for() {
    let levels = [20, 128, 230];
    let text = "hidden = [12]\nlatent = 2\nkl_weight = 100.0\nbatch_size = 10\nepochs = 30\nlr = 1e-2\nsamples = 0";
    let mut model = trained(&of_model(conditional::ENTRY.name, text), levels);
    assert_eq!(model.classes("decode").unwrap(), Some(3));
    // Each label twice, with two different z.
    let z = host_normal(4, 0, 6 * 2);
    let pictures = model.decode(&z, Some(&[0, 1, 2, 2, 1, 0])).unwrap();
    for (picture, label) in pictures.chunks(30).zip([0, 1, 2, 2, 1, 0]) {
        let (mean, want) = (picture.iter().sum::<f32>() / 30.0, f32::from(levels[label]) / 255.0);
        assert!((mean - want).abs() < 0.08, "label {label}: {mean}, its pictures have {want}");
    }
    // The loss of the pictures with their labels is lower than with those of others.
    let test = shades(9, levels);
    let loss = |split: &Table| model.evaluate(split, elbo::train::evaluation::Latent::Mean, 1, 4).unwrap().loss;
    let other = test.labels().unwrap().iter().map(|label| (label + 1) % 3).collect();
    assert!(loss(&test) + 1.0 < loss(&test.clone().with_labels(other, 3)));
}

/// From black and white pictures with noise on them to cleaner ones.
#[test]
fn a_denoising_model_takes_noise_away() {
    let text =
        "hidden = [12]\nlatent = 2\nbatch_size = 10\nepochs = 60\nlr = 1e-2\nsamples = 0\nnoise = 'gaussian:0.5'";
    let mut model = trained(&of_model("denoising", text), [0, 0, 255]);
    let clean = shades(9, [0, 0, 255]).values(0..9);
    let apart =
        |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a - b).abs()).sum::<f64>() / a.len() as f64;
    let [noisy, reconstruction] = model.view("reconstruct", &[("x", &clean)], 3).unwrap().try_into().unwrap();
    // 0.5 E|n| of a normal n, half of it cut off: 0.2.
    let noise = apart(&noisy, &clean);
    assert!((0.15..0.25).contains(&noise), "{noise}");
    assert!(apart(&reconstruction, &clean) < noise / 3.0, "{} of {noise}", apart(&reconstruction, &clean));
    // What is noisy already is taken as it is, to the bit.
    assert_eq!(model.view("denoise", &[("x", &noisy)], 9).unwrap(), [reconstruction]);
    let other = model.view("reconstruct", &[("x", &clean)], 4).unwrap();
    assert_ne!(other[0], noisy);
}
