//! The end of a training step: clipping and the parameter update, as the settings choose them.

use crate::arena::Arena;
use crate::kernels::adam::{self, Adam};
use crate::kernels::{clip, sgd};
use crate::program::Recorder;
use crate::tensor::Tensor;
use crate::train::settings::{Optimizer, Settings};

/// The optimiser's memory: for Adam the moments, for SGD the velocity, flat like the parameters.
pub struct OptimizerState {
    parameters: Tensor,
    gradients: Tensor,
    /// Name in checkpoints, tensor.
    pub moments: Vec<(&'static str, Tensor)>,
}

impl OptimizerState {
    /// Call after every parameter is declared.
    pub fn new(arena: &mut Arena, optimizer: Optimizer) -> OptimizerState {
        let (parameters, gradients) = (arena.flat_parameters(), arena.flat_gradients());
        let names: &[&'static str] = match optimizer {
            Optimizer::Adam | Optimizer::AdamW => &["exp_avg", "exp_avg_sq"],
            Optimizer::Sgd => &["momentum_buffer"],
        };
        let moments = names.iter().map(|&name| (name, arena.tensor(name, parameters.shape()))).collect();
        OptimizerState { parameters, gradients, moments }
    }

    /// Records clipping, if asked for, and the update.
    pub fn step(&self, r: &mut Recorder, settings: &Settings, clock: Tensor) {
        r.scope("optimizer");
        if let Some(norm) = settings.clip_norm {
            clip::forward(r, self.gradients, norm as f32);
        }
        let moment = |i: usize| self.moments[i].1;
        match settings.optimizer {
            Optimizer::Adam | Optimizer::AdamW => {
                let adam = Adam {
                    betas: settings.betas.map(|b| b as f32),
                    eps: settings.eps as f32,
                    weight_decay: settings.weight_decay as f32,
                    decoupled: settings.optimizer == Optimizer::AdamW,
                };
                adam::forward(r, adam, self.gradients, clock, [self.parameters, moment(0), moment(1)]);
            }
            Optimizer::Sgd => {
                let (momentum, decay) = (settings.momentum as f32, settings.weight_decay as f32);
                sgd::forward(r, momentum, decay, [self.gradients, clock], [self.parameters, moment(0)]);
            }
        }
    }
}
