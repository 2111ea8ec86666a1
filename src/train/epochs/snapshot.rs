//! Everything that training changes, on the host.

use std::path::Path;

use crate::arena::Arena;
use crate::error::{Error, Result};
use crate::train::checkpoint::Checkpoint;
use crate::train::init::Init;
use crate::train::programs::{Programs, initial};
use crate::train::settings::Settings;

/// Parameters, statistics, moments, and the losses of the epoch up to a batch.
pub(super) struct Snapshot {
    pub parameters: Vec<f32>,
    pub statistics: Vec<f32>,
    pub moments: Vec<Vec<f32>>,
    pub losses: Vec<f32>,
    pub batch: usize,
}

fn empty_statistics(arena: &Arena) -> Vec<f32> {
    vec![0.0; arena.flat_statistics().map_or(0, |flat| flat.len())]
}

/// The flat parameters and statistics that the checkpoint, the file `path`, holds. By name and shape: the flat lengths
/// of two models can be equal, because parameters are padded. Errors: those of [`Checkpoint::for_each_of_model`].
fn of_model(checkpoint: &Checkpoint, programs: &Programs, path: &Path) -> Result<[Vec<f32>; 2]> {
    let mut parameters = vec![0.0; programs.arena.flat_parameters().len()];
    let mut statistics = empty_statistics(&programs.arena);
    checkpoint.for_each_of_model(&programs.arena, path, |tensor, values| {
        let is_parameter = tensor.buffer == programs.arena.flat_parameters().buffer;
        let flat = if is_parameter { &mut parameters } else { &mut statistics };
        flat[tensor.offset..][..values.len()].copy_from_slice(&values);
    })?;
    Ok([parameters, statistics])
}

impl Snapshot {
    /// The flat values of the model, its parameters and its statistics.
    pub fn model(&self) -> [&[f32]; 2] {
        [&self.parameters, &self.statistics]
    }

    /// Drawn, or the parameters and statistics of the file that the settings start from. Errors: those of that file and
    /// of the model's [constants](crate::models::Model::constants).
    pub fn initial(programs: &Programs, settings: &Settings) -> Result<Snapshot> {
        let [parameters, mut statistics] = match Init::read(settings)? {
            Some(init) => of_model(&init.checkpoint, programs, &init.path)?,
            None => {
                let mut statistics = empty_statistics(&programs.arena);
                for s in programs.arena.statistics() {
                    statistics[s.value.offset..][..s.value.len()].fill(s.initial);
                }
                [initial(&programs.arena, &*programs.model, settings.seed), statistics]
            }
        };
        for (tensor, values) in programs.model.constants()? {
            statistics[tensor.offset..][..values.len()].copy_from_slice(&values);
        }
        let moments = programs.optimizer.moments.iter().map(|(_, t)| vec![0.0; t.len()]).collect();
        Ok(Snapshot { parameters, statistics, moments, losses: vec![0.0; programs.train.losses.len()], batch: 0 })
    }

    pub fn read(state: &Checkpoint, programs: &Programs, path: &Path, batch: usize) -> Result<Snapshot> {
        let tensor = |name: &str, len: usize| state.tensor(name, &[len], path).map(<[f32]>::to_vec);
        let moments = programs.optimizer.moments.iter().map(|(name, t)| tensor(name, t.len()));
        // As many as there are: all that was left of the epoch is its evaluation.
        if batch > programs.train.batches() {
            return Err(Error::file(path, format!("stands at batch {batch} of {}", programs.train.batches())));
        }
        let [parameters, statistics] = of_model(state, programs, path)?;
        Ok(Snapshot {
            parameters,
            statistics,
            moments: moments.collect::<Result<_>>()?,
            losses: tensor("losses", programs.train.losses.len())?,
            batch,
        })
    }
}
