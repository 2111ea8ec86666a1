//! Every model of the list: what its entry says of it holds, its gradients are those of its loss, its views agree with
//! each other, and what it is told matters.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicBool;

use elbo::arena::Arena;
use elbo::backend::cpu::Cpu;
use elbo::backend::{Backend, Device, Loaded};
use elbo::cases::uniform;
use elbo::data::Dataset;
use elbo::data::table::{Columns, Kind, LABELS, PICTURES, TEXT, Table};
use elbo::inference::Trained;
use elbo::kernels::clock::{Clock, Row};
use elbo::kernels::fill;
use elbo::kernels::gaussian_kl::divergence;
use elbo::kernels::random::host_normal;
use elbo::kernels::rows::Rows;
use elbo::layers::Mode;
use elbo::models::batch::{Augmentation, Batch, Source};
use elbo::models::draw::{Distribution, Draw};
use elbo::models::{Entry, MODELS, Model, Term, Weight, conditional, m2, presets};
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

/// The columns that a model is made for: MNIST's with labels, or those of its first preset.
fn columns_for(entry: &Entry) -> Columns {
    let mnist = Columns::of_pictures([1, 28, 28], 10);
    let other = entry.presets.first().map(|preset| preset.columns());
    other.filter(|columns| columns.picture(PICTURES).is_err()).unwrap_or(mnist)
}

/// Whether its networks are those of pictures: hidden sizes, or listed layer by layer.
fn has_listed_networks(entry: &Entry) -> bool {
    entry.key_names().any(|key| key == "encoder")
}

fn takes_pictures(entry: &Entry) -> bool {
    entry.outline(&(entry.defaults)(), &Columns::of_pictures([1, 28, 28], 10)).is_ok()
}

// ---- What an entry says

#[test]
fn a_model_keeps_the_settings_that_it_was_opened_with() {
    for entry in MODELS {
        let default = (Settings::of_model(entry), columns_for(entry));
        let presets = entry.presets.iter().map(|preset| (preset.settings(), preset.columns()));
        for (settings, columns) in std::iter::once(default).chain(presets) {
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
        let weight = entry.key_names().find(|key| ["kl_weight", "commitment"].contains(key)).unwrap();
        let [whole, decimal] = ["2", "2.0"].map(|n| base.with(&format!("{weight} = {n}\nlr = {n}")).unwrap());
        assert_eq!(whole, decimal, "{}", entry.name);
        if !has_listed_networks(entry) {
            continue;
        }
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
        let all = (entry.terms)(&(entry.defaults)());
        let terms: BTreeSet<&str> = all.iter().map(|term| term.name).collect();
        assert_eq!(terms.len(), all.len(), "{}", entry.name);
        let monitors = monitors(all);
        let model = entry.outline(&defaults, &columns_for(entry)).unwrap();
        for term in all {
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
            let mut columns = columns_for(entry);
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
    terms: Vec<(Term, Tensor)>,
    scale: f32,
}

impl Step {
    fn new(settings: &Settings, shape: [usize; 3]) -> Step {
        Step::of(settings, Kind::Picture(shape))
    }

    fn of(settings: &Settings, x: Kind) -> Step {
        let columns = Columns::of(x, CLASSES);
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
            longest: columns.tokens(TEXT).map_or(0, |[_, longest]| longest),
        };
        let gradients = arena.flat_gradients();
        let mut r = Recorder::new(&mut arena);
        fill::forward(&mut r, gradients, 0.0);
        let mut draw = Draw::Given(Vec::new());
        let terms = model.step(&mut r, &batch, &mut draw);
        let program = r.finish("step");
        let Draw::Given(noise) = draw else { unreachable!("it was given") };
        assert_eq!(terms.len(), model.terms().len());
        let terms = model.terms().iter().copied().zip(terms).collect();

        let mut backend = Device::Cpu(Cpu::Reference).backend();
        let loaded = backend.load(&arena, &program).unwrap();
        write_start(&mut backend, &arena, &*model, clock);
        let mut step = Step { arena, backend, loaded, inputs, noise, terms, scale };
        let lowest = if matches!(x, Kind::Vector(_)) { -2.0 } else { 0.0 };
        let mut values = uniform(1, ROWS * x.width(), lowest, 1.0);
        if let Kind::Items(_) = x {
            values.iter_mut().for_each(|value| *value = f32::from(*value < 0.4));
        }
        step.write(PICTURES, &values);
        if entry.takes.contains(&LABELS) {
            // Of a class that there is not: a row of zeros, as an example without a label has.
            let second = if settings.labels().is_some() { CLASSES } else { 0 };
            step.write(LABELS, &one_hot([2, second, 3], CLASSES));
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

    /// The step's terms, as they are after it was run.
    fn run(&mut self) -> Vec<Vec<f32>> {
        self.backend.run(&[(self.loaded, 1)]).unwrap();
        let tensors: Vec<Tensor> = self.terms.iter().map(|&(_, tensor)| tensor).collect();
        self.backend.read(&tensors).unwrap()
    }

    /// The loss as it is minimised, summed in f64.
    fn loss(&mut self) -> f64 {
        let parts = self.run();
        let sums = parts.iter().map(|parts| parts.iter().map(|&v| f64::from(v)).sum::<f64>());
        let weights = self.terms.iter().map(|(term, _)| term.weight.of(f64::from(KL_WEIGHT)));
        f64::from(self.scale) * sums.zip(weights).map(|(sum, weight)| weight * sum).sum::<f64>()
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
    check_gradients_of(what, Step::new(settings, shape), |_| true);
}

/// The same of the parameters of these names.
fn check_gradients_of(what: &str, mut step: Step, of: impl Fn(&str) -> bool) {
    step.loss();
    let parameters = step.arena.parameters().to_vec();
    let gradients: Vec<Vec<f32>> = parameters.iter().map(|p| step.backend.read_one(p.grad).unwrap()).collect();
    let largest = gradients.iter().flatten().fold(0.0f64, |most, &g| most.max(f64::from(g).abs()));
    for (p, gradient) in parameters.iter().zip(&gradients).filter(|(p, _)| of(&p.name)) {
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

/// Two levels.
const LADDER: &str = "hidden = [5, 4]\nlatent = [3, 2]\nactivation = 'tanh'";

fn of_model(name: &str, text: &str) -> Settings {
    Settings::of_model(elbo::models::find(name).unwrap()).with(text).unwrap()
}

#[test]
fn a_vaes_gradients_are_those_of_its_loss() {
    for (what, text) in [("connected", CONNECTED), ("listed", LISTED)] {
        check_gradients(what, &of_model("vae", text), [1, 4, 4]);
    }
}

/// A capacity above the KL, the KL in parts, and a prior whose pseudo-inputs go through the encoder, too.
#[test]
fn the_gradients_of_a_vae_with_another_kl_are_those_of_its_loss() {
    for form in ["capacity = 0.8", "tc_weight = 3.0\nexamples = 50", "prior = 'vamp'\ncomponents = 4"] {
        for (kind, networks) in [("connected", CONNECTED), ("listed", LISTED)] {
            // A batch norm of pseudo-inputs is refused.
            let networks = match form.contains("vamp") {
                true => networks.replace("(conv 3 k3 s1 p1, batchnorm, silu)", "conv 3 k3 s1 p1, silu"),
                false => networks.to_string(),
            };
            let settings = of_model("vae", &networks).with(form).unwrap();
            check_gradients(&format!("{form}, {kind}"), &settings, [1, 4, 4]);
            let mean = settings.with("reduction = 'mean'").unwrap();
            check_gradients(&format!("{form}, {kind}, mean"), &mean, [1, 4, 4]);
        }
    }
}

/// Shifts the three parts, each by a constant, and not what is learned of them.
#[test]
fn the_number_of_examples_changes_no_gradient() {
    let run = |examples: usize| {
        let settings = of_model("vae", CONNECTED).with(&format!("tc_weight = 3.0\nexamples = {examples}")).unwrap();
        let mut step = Step::new(&settings, [1, 4, 4]);
        let sums: Vec<f32> = step.run().iter().map(|rows| rows.iter().sum()).collect();
        let gradients = step.arena.flat_gradients();
        (sums, step.backend.read_one(gradients).unwrap())
    };
    let ((few, of_few), (many, of_many)) = (run(3), run(3000));
    assert_eq!(of_few, of_many);
    // log 1000 a row for each of the two dimensions and of q(z).
    let shift = ROWS as f32 * 1000f32.ln();
    for (part, shifts) in [(1, 1.0), (2, 1.0), (3, -2.0)] {
        let apart = many[part] - few[part] - shifts * shift;
        assert!(apart.abs() < 1e-3, "{part}: {few:?}, {many:?}");
    }
}

#[test]
fn a_vae_of_vectors_has_the_gradients_of_its_loss() {
    let listed = "head = 'direct'\nlatent = 2\nencoder = 'linear 6, tanh, linear 4'\ndecoder = 'flatten, linear 7'";
    for (what, text) in [
        ("connected", format!("{CONNECTED}\noutput = 'gaussian'\nsigma = 0.7")),
        ("listed", format!("{listed}\noutput = 'gaussian'\nsigma = 0.9")),
    ] {
        check_gradients_of(what, Step::of(&of_model("vae", &text), Kind::Vector(7)), |_| true);
    }
    let pixels = of_model("vae", CONNECTED).outline(&Columns::of(Kind::Vector(7), 0)).err().unwrap().to_string();
    assert!(pixels.contains("output is \"bernoulli\"") && pixels.contains("vectors of 7"), "{pixels}");
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

#[test]
fn a_bayesian_models_gradients_are_those_of_its_loss() {
    for (inferred, more) in [("decoder", ""), ("both", "hidden = [6, 5]\nreduction = 'mean'\nexamples = 7")] {
        let text = format!("{CONNECTED}\ninferred = '{inferred}'\ninitial_logvar = -3.0\nprior_sigma = 0.5");
        let settings = of_model("bayesian", &text).with(more).unwrap();
        check_gradients(inferred, &settings, [1, 4, 4]);
    }
}

#[test]
fn a_ladders_gradients_are_those_of_its_loss() {
    let three = "hidden = [6, 5, 4]\nlatent = [3, 2, 2]\nreduction = 'mean'\noutput = 'gaussian'\nsigma = 0.7";
    for (what, more) in [("two levels", ""), ("three levels, mean", three)] {
        check_gradients(what, &of_model("ladder", LADDER).with(more).unwrap(), [1, 4, 4]);
    }
    check_gradients_of("vectors", Step::of(&of_model("ladder", LADDER).with(three).unwrap(), Kind::Vector(7)), |_| {
        true
    });
}

/// Where every z is the mean of its q, the KL of a level is that of its share of the latent point to N(0,1).
#[test]
fn a_ladders_latent_point_is_the_noise_of_its_levels() {
    let settings = of_model("ladder", LADDER);
    let mut step = Step::new(&settings, [1, 4, 4]);
    let shapes: Vec<&[usize]> = step.noise.iter().map(|(tensor, _)| tensor.shape()).collect();
    assert_eq!(shapes, [[ROWS, 2], [ROWS, 3]], "the top level is drawn first");
    for (tensor, _) in step.noise.clone() {
        step.backend.write(tensor, &vec![0.0; tensor.len()]);
    }
    let x = uniform(1, ROWS * 16, 0.0, 1.0);
    let [mean, logvar] = viewed(&settings, [1, 4, 4], "encode", &[&x]).try_into().unwrap();
    let parts = step.run();
    for (kl, dimensions) in parts[1..].iter().zip([0..3, 3..5]) {
        for (row, kl) in kl.iter().enumerate() {
            let of = |j: usize| divergence(f64::from(mean[row * 5 + j]), f64::from(logvar[row * 5 + j]));
            let expected: f64 = dimensions.clone().map(of).sum();
            assert!((f64::from(*kl) - expected).abs() < 1e-5, "row {row}, {dimensions:?}: {kl} {expected}");
        }
    }
    let [recon] = viewed(&settings, [1, 4, 4], "likelihood", &[&x, &mean]).try_into().unwrap();
    for (a, b) in recon.iter().zip(&parts[0]) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    assert!(of_model("ladder", "latent = [4, 3, 2]\nhidden = [4, 3, 2]").terms().unwrap().len() == 4);
    for (text, word) in [
        ("latent = [3]", "latent is 3, but must be the sizes of 2 to 5 levels"),
        ("latent = []", "latent is empty"),
        ("latent = [3, 0]", "latent is 0"),
        ("hidden = [5]", "hidden is 5, but must be a size a level, and latent has 2"),
        ("free_bits = 0.1", "free_bits is 0.1"),
    ] {
        let problem = settings.with(text).unwrap_err().to_string();
        assert!(problem.starts_with(word) && !problem.contains('\n'), "{problem}");
    }
}

/// Each of the three has the gradient of its own loss, whatever else passes through it.
#[test]
fn each_network_of_a_vae_gan_has_the_gradient_of_its_own_loss() {
    let owner = |name: &str| match name.split('.').next() {
        Some("discriminator") => "discriminator",
        Some("decoder" | "fc3" | "fc4") => "decoder",
        _ => "encoder",
    };
    // gamma is the knob of the KL, so that the decoder's loss can be written with the weights that there are.
    let gamma = Weight::Knob("kl_weight");
    let losses = [
        ("encoder", vec![("recon", Weight::One), ("kl", Weight::Knob("kl_weight"))]),
        ("decoder", vec![("recon", gamma), ("gen", Weight::One)]),
        ("discriminator", vec![("dis_real", Weight::One), ("dis_fake", Weight::One)]),
    ];
    let connected = format!("{CONNECTED}\ndiscriminator_hidden = [5]\ndiscriminator_head = [3]\nreduction = 'mean'");
    let listed = "discriminator = 'conv 3 k3 s1 p1, silu, conv 2 k2 s2, tanh'\ngenerator = 'minimax'";
    for (what, text) in [("connected", connected), ("listed", format!("{LISTED}\n{listed}"))] {
        let settings = of_model("vae_gan", &text).with(&format!("gamma = {KL_WEIGHT:?}")).unwrap();
        for (network, terms) in &losses {
            let mut step = Step::new(&settings, [1, 4, 4]);
            for (term, _) in &mut step.terms {
                let weight = terms.iter().find(|(name, _)| *name == term.name);
                term.weight = weight.map_or(Weight::Zero, |(_, weight)| *weight);
            }
            check_gradients_of(&format!("{network}, {what}"), step, |name| owner(name) == *network);
        }
    }
}

/// With several samples a picture the loss is the bound, of which no sample's share is left out. The encoder's
/// doubly reparameterised gradient is that of the loss only in the mean: the decoder's is looked at.
#[test]
fn the_gradients_of_a_bound_of_several_samples_are_those_of_the_loss() {
    for model in ["vae", "conditional", "denoising"] {
        for (networks, reduction, estimator) in
            [(CONNECTED, "sum", "iwae"), (CONNECTED, "mean", "dreg"), (LISTED, "mean", "iwae")]
        {
            let text = format!("{networks}\nimportance = 3\nestimator = '{estimator}'\nreduction = '{reduction}'");
            let settings = of_model(model, &text);
            let decoder =
                |name: &str| name.starts_with("decoder") || name.starts_with("fc3") || name.starts_with("fc4");
            let looked_at = |name: &str| estimator == "iwae" || decoder(name);
            check_gradients_of(&format!("{estimator} of a {model}"), Step::new(&settings, [1, 4, 4]), looked_at);
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

/// Of the decoder. The encoder's gradient passes the codes as if they were not there, and theirs knows nothing of what
/// the decoder makes of them: parity with PyTorch's autograd holds these.
#[test]
fn the_gradients_of_a_decoder_of_codes_are_those_of_its_loss() {
    for (networks, decoder) in [(CONNECTED, ["fc3.", "fc4."]), (LISTED, ["decoder."; 2])] {
        let text = "code_dim = 2\ncodes = 5\ncodebook = 'gradient'\ncommitment = 0.7";
        let settings = of_model("vq", networks).with(text).unwrap();
        let is_decoder = |name: &str| decoder.iter().any(|stem| name.starts_with(stem));
        check_gradients_of(networks, Step::new(&settings, [1, 4, 4]), is_decoder);
    }
}

/// By averages the codes are no parameter: a step moves them, and they start on vectors of its batch.
#[test]
fn a_step_moves_the_codes_by_averages_and_without_a_gradient() {
    let settings = of_model("vq", CONNECTED).with("code_dim = 2\ncodes = 5").unwrap();
    let mut step = Step::new(&settings, [1, 4, 4]);
    assert!(step.arena.parameters().iter().all(|p| !p.name.starts_with("codebook")));
    let codes = step.arena.statistics().iter().find(|s| s.name == "codebook.weight").unwrap().value;
    assert!(step.backend.read_one(codes).unwrap().iter().all(|&v| v == 0.0));
    let [first, second] = [0, 1].map(|_| {
        let terms = step.run();
        (terms, step.backend.read_one(codes).unwrap())
    });
    let distinct: BTreeSet<Vec<u32>> =
        first.1.chunks(2).map(|code| code.iter().map(|v| v.to_bits()).collect()).collect();
    assert_eq!(distinct.len(), 5, "{:?}", first.1);
    // All vectors had the same code, then several, and nearer ones. Terms: recon, codebook, commit, perplexity, used.
    let sum = |values: &[f32]| values.iter().sum::<f32>();
    assert_eq!((first.0[1].as_slice(), first.0[3][0], first.0[4][0]), (&[0.0; ROWS][..], ROWS as f32, ROWS as f32));
    assert!(sum(&second.0[2]) < 0.5 * sum(&first.0[2]) && second.0[4][0] > ROWS as f32, "{:?} {:?}", first.0, second.0);
}

/// A prior over the codes of a small VQ-VAE, whose constants are drawn: no file is read.
fn prior_step(reduction: &str) -> Step {
    let text = "encoder = 'conv 3 k2 s2'\ndecoder = 'conv_transpose 1 k2 s2'\nhead = 'direct'\nlatent = 4\n\
                code_dim = 3\ncodes = 5\nwidth = 4\nblocks = 1\nwindow = 3";
    let settings = of_model("pixelcnn", text).with(&format!("reduction = '{reduction}'")).unwrap();
    let mut step = Step::new(&settings, [1, 4, 4]);
    let constants: Vec<Tensor> = step.arena.statistics().iter().map(|s| s.value).collect();
    for (i, constant) in constants.into_iter().enumerate() {
        step.backend.write(constant, &uniform(40 + i as u64, constant.len(), -0.6, 0.6));
    }
    step
}

/// Of the last layer, behind which nothing has a corner; parity with PyTorch holds the others.
#[test]
fn the_gradients_of_a_prior_are_those_of_its_loss() {
    for reduction in ["sum", "mean"] {
        check_gradients_of(reduction, prior_step(reduction), |name| name.starts_with("network.5."));
    }
}

#[test]
fn what_a_prior_does_not_see_has_no_gradient() {
    let mut step = prior_step("sum");
    step.loss();
    for (name, middle) in [("network.0.weight", 0), ("network.1.body.3.weight", 1)] {
        let p = step.arena.parameters().iter().find(|p| p.name == name).unwrap().clone();
        let &[_, 3, 3, inputs] = p.value.shape() else { panic!("{:?}", p.value) };
        let gradient = step.backend.read_one(p.grad).unwrap();
        // The places of a 3x3 window, in the order of reading; the middle is the fourth.
        let at =
            |place: usize| gradient.iter().enumerate().filter(move |(i, _)| i / inputs % 9 == place).map(|(_, &g)| g);
        for place in 0..9 {
            assert_eq!(at(place).all(|g| g == 0.0), place >= 4 + middle, "{name} at {place}");
        }
    }
    let names: Vec<&str> = step.arena.parameters().iter().map(|p| p.name.as_str()).collect();
    assert!(names.iter().all(|name| name.starts_with("network.")), "the VQ-VAE is trained: {names:?}");
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

#[test]
fn a_recommenders_gradients_are_those_of_its_loss() {
    let small = "hidden = [6]\nlatent = 2\nkl_weight = 0.7";
    for text in
        ["", "hidden = [6, 5]\nreduction = 'mean'", "likelihood = 'bernoulli'\nnormalise = false\ndropout = 0.0"]
    {
        let settings = of_model("recommendation", small).with(text).unwrap();
        check_gradients_of(text, Step::of(&settings, Kind::Items(11)), |_| true);
    }
}

/// What the encoder sees does not grow with the number of a user's items, and those that are dropped are not seen.
#[test]
fn a_recommender_sees_users_at_one_length_and_without_what_is_dropped() {
    let small = of_model("recommendation", "hidden = [6]\nlatent = 2");
    let mut step = Step::of(&small, Kind::Items(11));
    let [(dropped, distribution), (noise, _)] = step.noise[..] else { panic!("a mask and z are drawn") };
    assert_eq!(
        (dropped.shape(), distribution, noise.shape()),
        (&[ROWS, 11][..], Distribution::Uniform, &[ROWS, 2][..])
    );
    let mut kl_of = |x: &[f32], mask: &[f32]| {
        step.write(PICTURES, x);
        step.backend.write(dropped, mask);
        step.loss();
        step.run().remove(1)
    };
    let x = |value: f32| (0..ROWS * 11).map(|i| if i % 3 == 0 { value } else { 0.0 }).collect::<Vec<f32>>();
    let (kept, first_dropped) = (vec![1.0; ROWS * 11], (0..ROWS * 11).map(|i| if i % 11 == 0 { 0.0 } else { 1.0 }));
    let whole = kl_of(&x(1.0), &kept);
    assert_eq!(whole, kl_of(&x(4.0), &kept));
    assert_ne!(whole, kl_of(&x(1.0), &first_dropped.collect::<Vec<f32>>()));
    let problem = small.with("normalise = false").unwrap_err().to_string();
    assert!(problem.contains("dropout is 0.5, but must be 0 where normalise is false"), "{problem}");
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
        let [recon, kl] = step.run().try_into().unwrap();
        step.backend.write(corruption, &drawn_noise);
        let [noisy_recon, noisy_kl] = step.run().try_into().unwrap();
        assert_eq!(recon, noisy_recon, "{noise}");
        assert_ne!(kl, noisy_kl, "{noise}");
    }
}

#[test]
fn a_latent_classifiers_gradients_are_those_of_its_loss() {
    for (what, text) in [
        ("some labels", format!("{CONNECTED}\nlabels = 2\nclassifier = [3]")),
        ("all labels, mean", format!("{CONNECTED}\nreduction = 'mean'\nalpha = 3.0")),
        ("listed", format!("{LISTED}\nlabels = 2")),
    ] {
        check_gradients(what, &of_model("latent_classifier", &text), [1, 4, 4]);
    }
}

#[test]
fn gradients_of_m2_are_those_of_its_loss() {
    // The constants are zeros, and so are the means of the features: the noise is what is modelled.
    let features =
        "feature_hidden = [6, 5]\nfeature_latent = 3\nfeature_noise = true\noutput = 'gaussian'\nsigma = 0.6";
    for (what, text, shape) in [
        ("some labels", format!("{CONNECTED}\nlabels = 2"), [1, 4, 4]),
        ("all labels, mean", format!("{CONNECTED}\nreduction = 'mean'\nclassifier = [3]"), [1, 4, 4]),
        ("mean", format!("{CONNECTED}\nlabels = 2\nreduction = 'mean'\nhead = 'fused'"), [1, 4, 4]),
        ("label planes", format!("{LISTED}\nlabels = 2"), [1, 4, 4]),
        ("features", format!("{CONNECTED}\nlabels = 2\nclassifier = [3]\n{features}"), [3, 2, 3]),
    ] {
        check_gradients(what, &of_model("m2", &text), shape);
    }
}

/// With `detach` encoder and decoder learn what a VAE learns, to the bit, and the classifier what it learns anyway.
#[test]
fn a_detached_classifier_teaches_the_vae_nothing() {
    let gradients = |model: &str, text: &str| {
        let mut step = Step::new(&of_model(model, &format!("{CONNECTED}\n{text}")), [1, 4, 4]);
        step.loss();
        let gradient = |p: &elbo::arena::Parameter| (p.name.clone(), step.backend.read_one(p.grad).unwrap());
        step.arena.parameters().iter().map(gradient).collect::<Vec<_>>()
    };
    let vae = gradients("vae", "");
    let [detached, joined] =
        ["true", "false"].map(|detach| gradients("latent_classifier", &format!("labels = 2\ndetach = {detach}")));
    assert_eq!(detached[..vae.len()], vae);
    assert_eq!(detached[vae.len()..], joined[vae.len()..]);
    assert!(joined[0].1 != vae[0].1 && detached.len() > vae.len());
}

/// U(x) is the sum over y of q(y|x) L(x,y), each of them from a step that is told y, and what q(y|x) costs.
#[test]
fn a_label_that_is_summed_out_is_the_sum_of_all_that_are_told() {
    let settings = of_model(m2::ENTRY.name, &format!("{CONNECTED}\nclassifier = [3]\nlabels = 2"));
    let mut step = Step::new(&settings, [1, 4, 4]);
    let [x, none] = [uniform(1, ROWS * 16, 0.0, 1.0), vec![0.0; ROWS * CLASSES]];
    // recon + kl + kl_y of each row.
    let mut bounds = |labels: &[f32]| {
        step.write(LABELS, labels);
        let parts = step.run();
        let row = |r: usize| {
            let sum = |term: usize, width: usize| {
                parts[term][r * width..][..width].iter().map(|&v| f64::from(v)).sum::<f64>()
            };
            sum(0, CLASSES) + sum(1, CLASSES) + sum(2, 1)
        };
        [0, 1, 2].map(row)
    };
    let summed = bounds(&none);
    let told: Vec<[f64; ROWS]> = (0..CLASSES).map(|k| bounds(&one_hot([k; ROWS], CLASSES))).collect();
    let pi = viewed(&settings, [1, 4, 4], "classify", &[&x]).remove(0);
    for (r, &bound) in summed.iter().enumerate() {
        let part = |k: usize| {
            let pi = f64::from(pi[r * CLASSES + k]);
            pi * (told[k][r] + pi.ln())
        };
        let expected: f64 = (0..CLASSES).map(part).sum();
        assert!((bound - expected).abs() < 1e-5 * expected, "row {r}: {bound}, {expected}");
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

/// The mixture's density by hand, and its samples, from what the encoder makes of the pseudo-inputs.
#[test]
fn a_learned_prior_is_the_mean_of_q_over_its_pseudo_inputs() {
    for networks in [CONNECTED.to_string(), LISTED.replace("batchnorm", "groupnorm 1")] {
        let settings = of_model("vae", &networks).with(&format!("prior = 'vamp'\ncomponents = {ROWS}")).unwrap();
        let view = |name: &str, inputs: &[&[f32]]| viewed(&settings, [1, 4, 4], name, inputs);
        let all = one_hot(0..ROWS, ROWS);
        let [u] = view("pseudo_inputs", &[&all]).try_into().unwrap();
        assert!(u.iter().all(|u| (0.0..1.0).contains(u)));
        let [mean, logvar] = view("encode", &[&u]).try_into().unwrap();
        let z = host_normal(2, 0, ROWS * 2);
        let [drawn] = view("prior", &[&z, &all]).try_into().unwrap();
        for (i, &drawn) in drawn.iter().enumerate() {
            assert!((drawn - (mean[i] + (0.5 * logvar[i]).exp() * z[i])).abs() < 1e-6);
        }
        let [log_p] = view("log_prior", &[&z]).try_into().unwrap();
        for (z, &log_p) in z.chunks(2).zip(&log_p) {
            let density = |k: usize| {
                let of = |j: usize| {
                    let [z, mean, logvar] = [z[j], mean[2 * k + j], logvar[2 * k + j]].map(f64::from);
                    -0.5 * (std::f64::consts::TAU.ln() + logvar + (z - mean).powi(2) / logvar.exp())
                };
                (of(0) + of(1)).exp()
            };
            let expected = ((0..ROWS).map(density).sum::<f64>() / ROWS as f64).ln();
            assert!((f64::from(log_p) - expected).abs() < 1e-5, "{log_p} {expected}");
        }
    }
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

/// A reconstruction is the picture of the mean, and likelihood and score are -log p of it.
#[test]
fn views_agree_with_each_other() {
    let (x, label) = (uniform(1, ROWS * 16, 0.0, 1.0), one_hot([2, 0, 3], CLASSES));
    // Others: `a_discrete_reconstruction_is_the_picture_of_its_code`.
    let has_mean = |entry: &&&Entry| takes_pictures(entry) && !["gumbel", "vq", "pixelcnn"].contains(&entry.name);
    for entry in MODELS.iter().filter(has_mean) {
        for networks in [CONNECTED, LISTED] {
            if networks == LISTED && !has_listed_networks(entry) {
                continue;
            }
            let settings = of_model(entry.name, if entry.name == "ladder" { LADDER } else { networks });
            let views = settings.outline(&Columns::of_pictures([1, 4, 4], CLASSES)).unwrap().views();
            let view = |name: &str, input: &[f32]| {
                let found = views.iter().find(|view| view.name == name).expect("the model has it");
                viewed(&settings, [1, 4, 4], name, &[input, &label][..found.inputs.len()])
            };
            let [mean, logvar] = view("encode", &x).try_into().unwrap();
            let [decoded] = view("decode", &mean).try_into().unwrap();
            // What is noisy is taken as it is.
            let name = if entry.name == "denoising" { "denoise" } else { "reconstruct" };
            assert_eq!(view(name, &x), std::slice::from_ref(&decoded), "{}", entry.name);
            let inputs = [&x[..], &mean, &label];
            let Some(likelihood) = views.iter().find(|view| view.name == "likelihood") else { continue };
            let given = &inputs[..likelihood.inputs.len()];
            let [recon] = viewed(&settings, [1, 4, 4], "likelihood", given).try_into().unwrap();
            if views.iter().any(|view| view.name == "score") {
                let [scored, scored_mean, scored_logvar] = view("score", &x).try_into().unwrap();
                assert_eq!([&scored, &scored_mean, &scored_logvar], [&recon, &mean, &logvar]);
            }
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

/// Where nothing is uncertain draws agree, and a weight that is uncertain shows.
#[test]
fn disagreement_is_the_spread_of_the_weights() {
    let x = uniform(1, ROWS * 16, 0.0, 1.0);
    let spread = |logvar: f64| {
        let settings = of_model("bayesian", &format!("{CONNECTED}\ninitial_logvar = {logvar:.1}"));
        let [mean, deviation] = viewed(&settings, [1, 4, 4], "disagreement", &[&x]).try_into().unwrap();
        let [plain] = viewed(&settings, [1, 4, 4], "reconstruct", &[&x]).try_into().unwrap();
        let apart = mean.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        (apart, deviation.iter().sum::<f32>() / deviation.len() as f32)
    };
    let [(apart, none), (_, some), (_, more)] = [-30.0, -6.0, -2.0].map(spread);
    assert!(apart < 1e-5 && none < 1e-5, "{apart} {none}");
    assert!(some > 1e-3 && more > 3.0 * some, "{some} {more}");
}

/// To the bit: a place's logits do not depend on its own code nor on later ones, and some do on each earlier one.
#[test]
fn a_prior_sees_only_what_comes_before() {
    let mut arena = Arena::new();
    let settings = of_model("pixelcnn", "latent = 9\ncodes = 5\ncode_dim = 3\nhidden = [5]\nwidth = 6\nblocks = 2")
        .with("window = 5\nencoder = 'conv 3 k4 s4'\ndecoder = 'conv_transpose 1 k4 s4'\nhead = 'direct'");
    let settings = settings.unwrap();
    let model =
        (settings.entry().unwrap().open)(&mut arena, &settings.own, &Columns::of_pictures([1, 12, 12], 0)).unwrap();
    let clock = Clock::tensor(&mut arena, "clock", 1);
    let mut r = Recorder::new(&mut arena);
    let ids = r.tensor("codes", &[ROWS, 9]);
    let [logits] = model.view(&mut r, "next", &[ids], &mut Draw::Clock(clock)).try_into().unwrap();
    let program = r.finish("next");
    for device in [CPU, Device::Cpu(Cpu::Reference)] {
        let mut backend = device.backend();
        let loaded = backend.load(&arena, &program).unwrap();
        write_start(&mut backend, &arena, &*model, clock);
        arena.statistics().iter().for_each(|s| backend.write(s.value, &uniform(7, s.value.len(), -0.6, 0.6)));
        let mut logits_of = |codes: &[f32]| {
            backend.write(ids, codes);
            backend.run(&[(loaded, 1)]).unwrap();
            backend.read_one(logits).unwrap()
        };
        let codes: Vec<f32> = (0..ROWS * 9).map(|i| (i * 7 % 5) as f32).collect();
        let before = logits_of(&codes);
        for place in 0..9 {
            let mut other = codes.clone();
            other[9 + place] = (other[9 + place] + 1.0) % 5.0;
            let after = logits_of(&other);
            let differs = |at: &usize| before[at * 5..][..5] != after[at * 5..][..5];
            let changed: Vec<usize> = (0..ROWS * 9).filter(differs).collect();
            assert!(changed.iter().all(|&at| (9 + place + 1..18).contains(&at)), "{place}: {changed:?}");
            assert!(place == 8 || changed.contains(&(9 + place + 1)), "{place}: {changed:?}");
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

        let settings = of_model("vq", networks).with("code_dim = 2\ncodes = 5\ncodebook = 'gradient'").unwrap();
        let view = |name: &str, input: &[f32]| viewed(&settings, [1, 4, 4], name, &[input]);
        let [codes] = view("encode", &x).try_into().unwrap();
        assert!(codes.iter().all(|&code| code.fract() == 0.0 && (0.0..5.0).contains(&code)), "{codes:?}");
        assert_eq!(view("reconstruct", &x), view("decode", &codes));
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
    let data = Dataset { name: "shades".into(), class_names: vec![], vocabulary: None, train, test };
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
