//! A model's losses on a whole split, by programs that are recorded once.

use super::batches::Size;
use super::resident::{Resident, Sizes, Walk};
use crate::arena::Arena;
use crate::backend::{Backend, Loaded};
use crate::data::table::{Columns, Table};
use crate::error::Result;
use crate::kernels::clock::{self, Clock, Row};
use crate::kernels::rows::Rows;
use crate::layers::Mode;
use crate::models::Model;
use crate::models::batch::Augmentation;
use crate::models::draw::Draw;
use crate::program::{Program, Recorder};

/// A split on the device, and the programs that take a model's losses on all of it.
pub struct Evaluation {
    /// The split's columns, order, clock and losses.
    pub data: Resident,
    order: Loaded,
    walk: Walk,
}

/// The latent point that an evaluation decodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latent {
    /// A sample of q(z|x): the loss estimates -ELBO, where the output is a likelihood.
    Sampled,
    /// The mean of q(z|x). The loss is lower and bounds nothing.
    Mean,
}

/// An [`Evaluation`] before its programs are loaded.
pub(crate) struct RecordedEvaluation {
    pub data: Resident,
    order: Program,
    /// For each size of a batch.
    pub steps: Vec<Program>,
}

impl RecordedEvaluation {
    /// [`Evaluation::new`] has the arguments.
    pub fn new(
        arena: &mut Arena,
        model: &dyn Model,
        columns: &Columns,
        sizes: Sizes,
        latent: Latent,
        largest_part: usize,
    ) -> RecordedEvaluation {
        let sizes = Sizes { batch_size: sizes.batch_size.min(sizes.count), ..sizes };
        let data = Resident::new(arena, "test", model, &sizes, columns, largest_part);
        let steps = data.programs(arena, |arena, size| record(arena, model, &data, size, latent));
        let order = data.record_order(arena, false);
        RecordedEvaluation { order, data, steps }
    }

    pub async fn load(self, arena: &Arena, backend: &mut Backend) -> Result<Evaluation> {
        let order = backend.load_async(arena, &self.order).await?;
        let walk = Walk::load(arena, backend, &self.steps).await?;
        Ok(Evaluation { data: self.data, order, walk })
    }
}

impl Evaluation {
    /// Records and loads the programs, and uploads the split, in parts of at most `largest_part` bytes. A batch larger
    /// than the split is cut to it. Errors: no room on the device.
    pub fn new(
        arena: &mut Arena,
        backend: &mut Backend,
        model: &dyn Model,
        (split, columns): (&Table, &Columns),
        batch_size: usize,
        latent: Latent,
        largest_part: usize,
    ) -> Result<Evaluation> {
        let sizes = Sizes::of(split, batch_size);
        let evaluation = RecordedEvaluation::new(arena, model, columns, sizes, latent, largest_part);
        let evaluation = pollster::block_on(evaluation.load(arena, backend))?;
        evaluation.data.upload(backend, split);
        Ok(evaluation)
    }

    /// Starts at the first batch, with the noise of this seed from `step` on; `row` has the knobs.
    pub fn write_clock(&self, backend: &mut Backend, seed: u64, step: u32, row: Row) {
        // The upper bit gives the test set noise of its own, apart from the training noise of the same seed.
        let seed = seed ^ (1 << 63);
        let clock = Clock { seed, step, batch: 0, epoch: 0, rows: vec![row; self.data.batches()] };
        backend.write_words(self.data.clock, &clock.words());
    }

    /// Replays for the whole split.
    pub fn plan(&self) -> Vec<(Loaded, usize)> {
        let mut plan = vec![(self.order, 1)];
        plan.extend(self.walk.plan(&self.data.batches, 0));
        plan
    }
}

/// An evaluation step: batch, model forward, losses, clock.
fn record(arena: &mut Arena, model: &dyn Model, data: &Resident, size: Size, latent: Latent) -> Program {
    let mut r = Recorder::new(arena);
    let batch = data.batch(size, Mode::Evaluate, Rows::Scale(1.0), Augmentation::default());
    let mut draw = match latent {
        Latent::Sampled => Draw::Clock(data.clock),
        Latent::Mean => Draw::Mean(data.clock),
    };
    let losses = model.evaluate(&mut r, &batch, &mut draw);
    r.scope("clock");
    clock::tally(&mut r, size.rows, &losses, data.clock, data.losses);
    clock::tick(&mut r, data.clock);
    r.finish(&format!("evaluation step of {size}"))
}
