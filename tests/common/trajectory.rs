//! The ten training steps of a golden file, taken on a device: the same weights, batches and noise.

use clap::ValueEnum;
use elbo::backend::Device;
use elbo::check::close::Tolerance;
use elbo::instruments::replay::{Replay, Taken};
use elbo::models::likelihood::Likelihood;
use elbo::models::vae::Head;
use elbo::train::settings::Settings;
use elbo::train::{presets, trainer};

use super::golden::{Golden, check, initial_by_formula};

const LOSS: Tolerance = Tolerance::Because(1e-6, "sums of 333 terms and more, each in its own order");
const KL: Tolerance = Tolerance::Because(1e-5, "15 terms and more whose parts of size 1 cancel, e^logvar to 3 ulp");

/// A recorded run, on a device and before its first step.
pub struct Trajectory {
    pub golden: Golden,
    pub settings: Settings,
    pub steps: usize,
    pub batch: usize,
    pub replay: Replay,
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
        trainer::config(&settings, shape).check().unwrap();
        let mut replay = Replay::new(&settings, shape, steps, device).unwrap();
        let formula = (golden.text("init") == Some("formula")).then(|| initial_by_formula(&replay.arena));
        replay.write_parameters(|p| match &formula {
            Some(values) => values[&p.name].clone(),
            None => golden.tensor(&format!("init.{}", p.name), &p.layout.file_shape(p.value.shape())).to_vec(),
        });
        Trajectory { golden, settings, steps, batch, replay }
    }

    /// The pictures and the noise of step `s`.
    pub fn batch(&self, s: usize) -> [Vec<f32>; 2] {
        [("x", self.replay.x), ("eps", self.replay.noise)].map(|(name, tensor)| {
            let (shape, values) = self.golden.any(name);
            assert_eq!(
                (shape[0], shape[1], values.len()),
                (self.steps, self.batch, self.steps * tensor.len()),
                "{name}"
            );
            values[s * tensor.len()..][..tensor.len()].to_vec()
        })
    }

    /// Takes step `s`, the next one, and compares its losses.
    pub fn step(&mut self, s: usize, failures: &mut Vec<String>) -> Taken {
        let [x, noise] = self.batch(s);
        let taken = self.replay.take(&x, &noise).unwrap();
        for (what, got, tolerance) in [("recon", taken.recon, LOSS), ("kl", taken.kl, KL), ("loss", taken.loss, LOSS)] {
            let want = self.golden.tensor(what, &[self.steps])[s];
            check(format!("step {s} {what}"), &[got], &[want], tolerance, failures);
        }
        taken
    }
}
