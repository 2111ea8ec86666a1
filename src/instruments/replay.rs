//! A model's training steps on given pictures and given noise, one at a time: to take the steps that somebody else takes
//! too, such as PyTorch.

use crate::arena::{Arena, Parameter};
use crate::backend::{Backend, Device, Loaded};
use crate::error::Result;
use crate::kernels::clock::{Clock, Row};
use crate::kernels::fill;
use crate::models::vae::Vae;
use crate::program::{Program, Recorder};
use crate::tensor::Tensor;
use crate::train::checkpoint::Checkpoint;
use crate::train::optimizer::OptimizerState;
use crate::train::programs::record_update;
use crate::train::schedule;
use crate::train::settings::{Reduction, Settings};
use crate::train::trainer;

/// A recorded training step on a device, with room for its inputs.
pub struct Replay {
    /// The memory of the model, the step and its inputs.
    pub arena: Arena,
    /// What the step trains.
    pub model: Vae,
    /// Where the step runs; it holds parameters, statistics and moments.
    pub backend: Backend,
    /// The step that is replayed.
    pub step: Program,
    /// (B,D): the pictures of the next step, values 0 to 1.
    pub x: Tensor,
    /// (B,Z): its noise.
    pub noise: Tensor,
    loaded: Loaded,
    /// (steps,4), see [`clock::tally`](crate::kernels::clock::tally).
    losses: Tensor,
    reduction: Reduction,
    taken: usize,
}

/// What a step leaves. Losses and gradients are those of the parameters before the update.
pub struct Taken {
    /// What was minimised: recon + kl_weight kl of the batch, in nats; divided by B with reduction `mean`.
    pub loss: f32,
    /// -log p(x|z), summed over the batch, in nats.
    pub recon: f32,
    /// KL(q(z|x) || p(z)), summed over the batch, in nats.
    pub kl: f32,
    /// What the optimiser got (after clipping), by name, in PyTorch's order. The statistics lie among them.
    pub gradients: Checkpoint,
    /// Parameters and statistics after the update.
    pub parameters: Checkpoint,
}

impl Replay {
    /// `steps` steps of the settings' batch size; their schedules run once over these. Parameters are zero until
    /// [`write_parameters`](Replay::write_parameters). Errors: no room on the device. Panics on networks that do not fit
    /// pictures of this (C,H,W).
    pub fn new(settings: &Settings, shape: [usize; 3], steps: usize, device: &Device) -> Result<Replay> {
        let config = trainer::config(settings, shape);
        let arena = &mut Arena::new();
        let model = Vae::new(arena, &config);
        let optimizer = OptimizerState::new(arena, settings.optimizer);
        let x = arena.tensor("x", &[settings.batch_size, config.input()]);
        let noise = arena.tensor("noise", &[settings.batch_size, config.latent]);
        let (clock, losses) = (Clock::tensor(arena, "clock", steps), arena.tensor("losses", &[steps, 4]));
        let gradients = arena.flat_gradients();
        let mut r = Recorder::new(arena);
        fill::forward(&mut r, gradients, 0.0);
        record_update(&mut r, &model, &optimizer, settings, [x, noise], [clock, losses]);
        let step = r.finish("step on given pictures and noise");

        let mut backend = device.backend();
        let loaded = backend.load(arena, &step)?;
        for statistic in arena.statistics() {
            backend.write(statistic.value, &vec![statistic.initial; statistic.value.len()]);
        }
        let rows = schedule::rows(settings, 0, steps, steps as u64).into_iter();
        let row = |[lr, kl_weight, bias_correction1, bias_correction2_sqrt]: [f32; 4]| Row {
            lr,
            kl_weight,
            bias_correction1,
            bias_correction2_sqrt,
        };
        let clock_now = Clock { seed: settings.seed, step: 0, batch: 0, epoch: 0, rows: rows.map(row).collect() };
        backend.write_words(clock, &clock_now.words());
        let (arena, reduction) = (arena.clone(), settings.reduction);
        Ok(Replay { arena, model, backend, step, x, noise, loaded, losses, reduction, taken: 0 })
    }

    /// Writes every parameter. `values` gives one's in PyTorch's order.
    pub fn write_parameters(&mut self, values: impl Fn(&Parameter) -> Vec<f32>) {
        for p in self.arena.parameters() {
            self.backend.write(p.value, &p.layout.from_file(&values(p), p.value.shape()));
        }
    }

    /// Takes the next step, on pictures (B,D) and noise (B,Z). Errors: the device was lost.
    pub fn take(&mut self, pictures: &[f32], noise: &[f32]) -> Result<Taken> {
        self.backend.write(self.x, pictures);
        self.backend.write(self.noise, noise);
        self.backend.run(&[(self.loaded, 1)])?;
        let wanted = [self.losses, self.arena.flat_gradients(), self.arena.flat_parameters()];
        let wanted: Vec<Tensor> = wanted.into_iter().chain(self.arena.flat_statistics()).collect();
        let mut read = self.backend.read(&wanted)?.into_iter();
        let [losses, gradients, parameters, statistics] = [(); 4].map(|()| read.next().unwrap_or_default());

        let &[recon, kl, kl_weight, rows] = losses[4 * self.taken..].first_chunk().expect("a row for each step");
        self.taken += 1;
        assert!(rows as usize == self.x.matrix()[0], "{rows} rows were tallied");
        let scale = match self.reduction {
            Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / rows,
        };
        let named = |flat: &[f32]| Checkpoint::of_model(&self.arena, flat, &statistics);
        let loss = scale * (recon + kl_weight * kl);
        Ok(Taken { loss, recon, kl, gradients: named(&gradients), parameters: named(&parameters) })
    }

    /// The parameters whose gradient nothing computes: biases in front of a batch norm, which takes them away again. Their
    /// gradient is zero, and what a sum would find is its rounding.
    pub fn without_gradient(&self) -> Vec<String> {
        let writes = |p: &Parameter| self.step.steps.iter().any(|step| step.writes.contains(&p.grad));
        self.arena.parameters().iter().filter(|p| !writes(p)).map(|p| p.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cpu::Cpu;
    use crate::train::presets;

    #[test]
    fn only_biases_in_front_of_batch_norm_have_no_gradient() {
        let without = |preset: &str| {
            let preset = presets::find(preset).unwrap();
            let settings = Settings { batch_size: 2, ..preset.settings() };
            let device = Device::Cpu(Cpu::Accelerated);
            Replay::new(&settings, preset.picture, 1, &device).unwrap().without_gradient()
        };
        assert!(without("mnist-mlp").is_empty());
        let expected = ["encoder.0.0", "encoder.1.0", "decoder.0.0", "decoder.1.0", "decoder.2.0"]
            .map(|layer| format!("{layer}.bias"));
        assert_eq!(without("mnist-conv"), expected);
    }
}
