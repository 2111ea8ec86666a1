//! A model's training step and its views on given columns and noise, and the small settings that are asked.

use elbo::arena::Arena;
use elbo::backend::cpu::Cpu;
use elbo::backend::{Backend, Device, Loaded};
use elbo::cases::uniform;
use elbo::data::table::{Columns, Kind, LABELS};
use elbo::kernels::clock::{Clock, Row};
use elbo::kernels::fill;
use elbo::kernels::random::host_normal;
use elbo::kernels::rows::Rows;
use elbo::layers::Mode;
use elbo::models::batch::{Augmentation, Batch, Source};
use elbo::models::draw::{Distribution, Draw};
use elbo::models::{Entry, Model, Term};
use elbo::program::Recorder;
use elbo::tensor::Tensor;
use elbo::train::pictures::one_hot;
use elbo::train::settings::Settings;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

pub const CPU: Device = Device::Cpu(Cpu::Accelerated);

pub const KL_WEIGHT: f32 = 0.7;
pub const ROWS: usize = 3;
pub const CLASSES: usize = 4;

/// Nonlinearities without corners, where a difference would have to be on one side of them.
pub const CONNECTED: &str = "hidden = [5]\nlatent = 2\nactivation = 'tanh'";
/// The encoder sees the label as planes beside the picture, where it is told one.
pub const LISTED: &str = "head = 'direct'\nlatent = 2\n\
    encoder = '(conv 3 k3 s1 p1, batchnorm, silu), conv 2 k2 s2, tanh, flatten, linear 4'\n\
    decoder = 'flatten, linear 8, silu, view 2 2 2, conv_transpose 1 k2 s2'";

/// Two levels.
pub const LADDER: &str = "hidden = [5, 4]\nlatent = [3, 2]\nactivation = 'tanh'";

pub fn of_model(name: &str, text: &str) -> Settings {
    Settings::of_model(elbo::models::find(name).unwrap()).with(text).unwrap()
}

/// A model's training step on the reference device, with columns and noise that stay unless they are written anew.
pub struct Step {
    pub arena: Arena,
    pub backend: Backend,
    loaded: Loaded,
    /// By column.
    pub inputs: Vec<(String, Tensor)>,
    pub noise: Vec<(Tensor, Distribution)>,
    pub terms: Vec<(Term, Tensor)>,
    scale: f32,
}

impl Step {
    pub fn new(settings: &Settings, shape: [usize; 3]) -> Step {
        Step::of(settings, Kind::Picture(shape))
    }

    pub fn of(settings: &Settings, x: Kind) -> Step {
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
            longest: columns.longest(),
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
        if let Kind::Steps { channels, longest } = x {
            // Each row a step shorter than the one before; a pen, or any last number, is 0 or 1.
            for (row, numbers) in values.chunks_mut(channels * longest).enumerate() {
                numbers.iter_mut().skip(channels - 1).step_by(channels).for_each(|x| *x = x.round());
                numbers[(longest - row) * channels..].fill(f32::NAN);
            }
        }
        step.write(columns.modelled_name(), &values);
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

    pub fn write(&mut self, column: &str, values: &[f32]) {
        let (_, tensor) = self.inputs.iter().find(|(name, _)| name == column).expect("the model takes it");
        self.backend.write(*tensor, values);
    }

    /// The step's terms, as they are after it was run.
    pub fn run(&mut self) -> Vec<Vec<f32>> {
        self.backend.run(&[(self.loaded, 1)]).unwrap();
        let tensors: Vec<Tensor> = self.terms.iter().map(|&(_, tensor)| tensor).collect();
        self.backend.read(&tensors).unwrap()
    }

    /// The loss as it is minimised, summed in f64.
    pub fn loss(&mut self) -> f64 {
        let parts = self.run();
        let sums = parts.iter().map(|parts| parts.iter().map(|&v| f64::from(v)).sum::<f64>());
        let weights = self.terms.iter().map(|(term, _)| term.weight.of(f64::from(KL_WEIGHT)));
        f64::from(self.scale) * sums.zip(weights).map(|(sum, weight)| weight * sum).sum::<f64>()
    }
}

/// A prior over the codes of a small VQ-VAE, whose constants are drawn: no file is read.
pub fn prior_step(reduction: &str) -> Step {
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

/// A view's outputs for rows of inputs, from the initial parameters.
pub fn viewed(settings: &Settings, shape: [usize; 3], name: &str, inputs: &[&[f32]]) -> Vec<Vec<f32>> {
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

/// Initial parameters and statistics, and a clock whose KL weight is [`KL_WEIGHT`].
pub fn write_start(backend: &mut Backend, arena: &Arena, model: &dyn Model, clock: Tensor) {
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

/// Whether its networks are those of pictures: hidden sizes, or listed layer by layer.
pub fn has_listed_networks(entry: &Entry) -> bool {
    entry.key_names().any(|key| key == "encoder")
}
