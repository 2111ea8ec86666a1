//! The ten training steps of a golden file, taken on a device: the same weights, batches and noise.

use clap::ValueEnum;
use elbo::arena::Arena;
use elbo::backend::{Backend, Device, Loaded};
use elbo::check::close::Tolerance;
use elbo::kernels::clock::{self, Clock, Row};
use elbo::kernels::fill;
use elbo::models::likelihood::Likelihood;
use elbo::models::vae::{Head, Objective, Vae};
use elbo::program::Recorder;
use elbo::tensor::Tensor;
use elbo::train::checkpoint::Checkpoint;
use elbo::train::optimizer::OptimizerState;
use elbo::train::settings::{Reduction, Settings};
use elbo::train::{presets, schedule, trainer};

use super::golden::{Golden, check, initial_by_formula};

const LOSS: Tolerance = Tolerance::Because(1e-6, "sums of 333 terms and more, each in its own order");
const KL: Tolerance = Tolerance::Because(1e-5, "15 terms and more whose parts of size 1 cancel, e^logvar to 3 ulp");

/// A recorded run, on a device and before its first step.
pub struct Trajectory {
    pub golden: Golden,
    pub settings: Settings,
    pub steps: usize,
    pub batch: usize,
    pub arena: Arena,
    pub model: Vae,
    pub backend: Backend,
    /// (B,D)
    pub x: Tensor,
    /// (B,Z)
    pub noise: Tensor,
    program: Loaded,
    losses: Tensor,
    scale: f32,
}

/// What a step leaves, by name, in PyTorch's shapes and order.
pub struct After {
    pub gradients: Checkpoint,
    /// Statistics as well.
    pub parameters: Checkpoint,
}

/// The settings that a golden file's metadata names; a key that does not apply there keeps the preset's value.
pub fn settings(golden: &Golden) -> Settings {
    fn choice<T: ValueEnum>(text: &str) -> T {
        T::from_str(text, false).unwrap()
    }
    let text = |key: &str| golden.file.metadata[key].as_str();
    let number = |key: &str, default: f64| golden.text(key).map_or(default, |t| t.parse().unwrap());
    let numbers = |t: &str| -> Vec<f64> { t.split(',').map(|n| n.parse().unwrap()).collect() };
    let preset = presets::find(presets::DEFAULT).unwrap().settings();
    Settings {
        hidden: golden.sizes("hidden").unwrap_or(preset.hidden),
        encoder: golden.text("encoder").map(|t| t.parse().unwrap()),
        decoder: golden.text("decoder").map(|t| t.parse().unwrap()),
        latent: golden.size("latent"),
        // Listed networks leave mean and logvar themselves.
        head: golden.text("head").map_or(Head::Direct, choice),
        activation: golden.text("activation").map_or(preset.activation, choice),
        output: if text("output") == "bce" { Likelihood::Bernoulli } else { choice(text("output")) },
        sigma: number("sigma", preset.sigma),
        reduction: choice(text("reduction")),
        kl_weight: number("kl_weight", f64::NAN),
        optimizer: choice(text("optimizer")),
        lr: number("lr", f64::NAN),
        betas: golden.text("betas").map_or(preset.betas, |t| numbers(t).try_into().unwrap()),
        eps: number("eps", preset.eps),
        momentum: number("momentum", preset.momentum),
        weight_decay: number("weight_decay", f64::NAN),
        clip_norm: golden.text("clip_norm").map(|t| t.parse().unwrap()),
        batch_size: golden.size("batch"),
        ..preset
    }
}

impl Trajectory {
    pub fn new(name: &str, device: &Device) -> Trajectory {
        let golden = Golden::read(name);
        let settings = settings(&golden);
        let [batch, steps] = ["batch", "steps"].map(|key| golden.size(key));
        let shape = match golden.sizes("shape") {
            Some(shape) => shape.try_into().expect("(C,H,W)"),
            None => [1, 1, golden.size("input")],
        };
        let config = trainer::config(&settings, shape);
        config.check().unwrap();

        let mut arena = Arena::new();
        let model = Vae::new(&mut arena, &config);
        let optimizer = OptimizerState::new(&mut arena, settings.optimizer);
        let (x, noise) = (arena.tensor("x", &[batch, config.input()]), arena.tensor("noise", &[batch, config.latent]));
        let (clock, losses) = (Clock::tensor(&mut arena, "clock", steps), arena.tensor("losses", &[steps, 4]));
        let gradients = arena.flat_gradients();
        let scale = match settings.reduction {
            Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / batch as f32,
        };
        let mut r = Recorder::new(&mut arena);
        fill::forward(&mut r, gradients, 0.0);
        let terms = model.step(&mut r, x, noise, clock, Objective { scale, free_bits: 0.0 });
        optimizer.step(&mut r, &settings, clock);
        clock::tally(&mut r, terms.recon, terms.kl, clock, losses);
        clock::tick(&mut r, clock);
        let program = r.finish(name);

        let mut backend = device.backend();
        let program = backend.load(&arena, &program).unwrap();
        let formula = (golden.text("init") == Some("formula")).then(|| initial_by_formula(&arena));
        for p in arena.parameters() {
            let shape = p.layout.file_shape(p.value.shape());
            let values = match &formula {
                Some(values) => &values[&p.name],
                None => golden.tensor(&format!("init.{}", p.name), &shape),
            };
            backend.write(p.value, &p.layout.from_file(values, p.value.shape()));
        }
        for s in arena.statistics() {
            backend.write(s.value, &vec![s.initial; s.value.len()]);
        }
        let rows = schedule::rows(&settings, 0, steps, steps as u64).into_iter();
        let row = |[lr, kl_weight, bias_correction1, bias_correction2_sqrt]: [f32; 4]| Row {
            lr,
            kl_weight,
            bias_correction1,
            bias_correction2_sqrt,
        };
        backend.write_words(clock, &Clock { rows: rows.map(row).collect(), ..Clock::unit() }.words());
        Trajectory { golden, settings, steps, batch, arena, model, backend, x, noise, program, losses, scale }
    }

    /// Puts the pictures and the noise of step `s` on the device.
    pub fn write_batch(&mut self, s: usize) {
        for (name, tensor) in [("x", self.x), ("eps", self.noise)] {
            let (shape, values) = self.golden.any(name);
            assert_eq!(
                (shape[0], shape[1], values.len()),
                (self.steps, self.batch, self.steps * tensor.len()),
                "{name}"
            );
            self.backend.write(tensor, &values[s * tensor.len()..][..tensor.len()]);
        }
    }

    /// Takes step `s` and compares its losses.
    pub fn step(&mut self, s: usize, failures: &mut Vec<String>) -> After {
        self.write_batch(s);
        self.backend.run(&[(self.program, 1)]).unwrap();
        let wanted = [self.losses, self.arena.flat_gradients(), self.arena.flat_parameters()];
        let wanted: Vec<Tensor> = wanted.into_iter().chain(self.arena.flat_statistics()).collect();
        let mut read = self.backend.read(&wanted).unwrap().into_iter();
        let [losses, gradients, parameters, statistics] = [(); 4].map(|()| read.next().unwrap_or_default());

        let [recon, kl, kl_weight, rows] = *losses[4 * s..].first_chunk().unwrap();
        let loss = self.scale * (recon + kl_weight * kl);
        assert_eq!(rows, self.batch as f32);
        for (what, got, tolerance) in [("recon", recon, LOSS), ("kl", kl, KL), ("loss", loss, LOSS)] {
            let want = self.golden.tensor(what, &[self.steps])[s];
            check(format!("step {s} {what}"), &[got], &[want], tolerance, failures);
        }
        let named = |flat: &[f32]| Checkpoint::of_model(&self.arena, flat, &statistics);
        After { gradients: named(&gradients), parameters: named(&parameters) }
    }
}
