//! Everything that training changes, on the host.

use crate::arena::Arena;
use crate::error::{Error, Result};
use crate::train::checkpoint::Checkpoint;
use crate::train::programs::{Programs, initial};
use crate::train::run_folder::RunFolder;

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

impl Snapshot {
    /// The flat values of the model, its parameters and its statistics.
    pub fn model(&self) -> [&[f32]; 2] {
        [&self.parameters, &self.statistics]
    }

    pub fn initial(programs: &Programs, seed: u64) -> Snapshot {
        let parameters = initial(&programs.arena, &*programs.model, seed);
        let mut statistics = empty_statistics(&programs.arena);
        for s in programs.arena.statistics() {
            statistics[s.value.offset..][..s.value.len()].fill(s.initial);
        }
        let moments = programs.optimizer.moments.iter().map(|(_, t)| vec![0.0; t.len()]).collect();
        Snapshot { parameters, statistics, moments, losses: vec![0.0; programs.train.losses.len()], batch: 0 }
    }

    pub fn read(state: &Checkpoint, programs: &Programs, folder: &RunFolder, batch: usize) -> Result<Snapshot> {
        let path = folder.state();
        let tensor = |name: &str, len: usize| state.tensor(name, &[len], &path).map(<[f32]>::to_vec);
        let moments = programs.optimizer.moments.iter().map(|(name, t)| tensor(name, t.len()));
        // As many as there are: all that was left of the epoch is its evaluation.
        if batch > programs.train.batches() {
            return Err(Error::file(&path, format!("stands at batch {batch} of {}", programs.train.batches())));
        }
        // By name and shape: the flat lengths of two models can be equal, because parameters are padded.
        let mut parameters = vec![0.0; programs.arena.flat_parameters().len()];
        let mut statistics = empty_statistics(&programs.arena);
        state.for_each_of_model(&programs.arena, &path, |tensor, values| {
            let is_parameter = tensor.buffer == programs.arena.flat_parameters().buffer;
            let flat = if is_parameter { &mut parameters } else { &mut statistics };
            flat[tensor.offset..][..values.len()].copy_from_slice(&values);
        })?;
        Ok(Snapshot {
            parameters,
            statistics,
            moments: moments.collect::<Result<_>>()?,
            losses: tensor("losses", programs.train.losses.len())?,
            batch,
        })
    }
}
