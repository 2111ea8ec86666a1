//! Everything a training run does on the device, recorded once: the order of an epoch, a training step, an evaluation
//! step, the pictures an epoch leaves.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::batches::Size;
use super::evaluation::{Evaluation, Latent, RecordedEvaluation};
use super::optimizer::OptimizerState;
use super::pictures::{EpochPictures, Layout};
use super::resident::{Resident, Sizes, Walk};
use super::settings::{Run, Settings};
use crate::arena::Arena;
use crate::backend::{Backend, Loaded, room};
use crate::data::table::{Columns, Table};
use crate::data::{Dataset, labelled};
use crate::error::Result;
use crate::fusion::{Fusion, fuse};
use crate::kernels::rows::Rows;
use crate::kernels::{clock, fill};
use crate::layers::Mode;
use crate::models::Model;
use crate::models::batch::{Augmentation, Batch};
use crate::models::draw::Draw;
use crate::program::{Program, Recorder};
use crate::tensor::Tensor;

/// The device side of a run.
pub struct Programs {
    /// Memory of all programs of the run.
    pub arena: Arena,
    /// What is trained.
    pub model: Box<dyn Model>,
    /// The optimiser's memory, flat like the parameters.
    pub optimizer: OptimizerState,
    /// The training split, shuffled anew each epoch.
    pub train: Resident,
    /// The test split, in its order.
    pub test: Evaluation,
    /// What each epoch draws.
    pub pictures: EpochPictures,
    /// The training step for each size of a batch, the largest first, for whoever wants to look at it dispatch by
    /// dispatch.
    pub steps: Vec<Program>,
    shuffle: Loaded,
    training: Walk,
    drawing: Loaded,
}

/// The initial parameters of a model, flat.
pub(crate) fn initial(arena: &Arena, model: &dyn Model, seed: u64) -> Vec<f32> {
    let mut parameters = vec![0.0; arena.flat_parameters().len()];
    for (tensor, values) in model.initial(&mut ChaCha8Rng::seed_from_u64(seed)) {
        parameters[tensor.offset..][..values.len()].copy_from_slice(&values);
    }
    parameters
}

/// Writes what a training run starts from: the seed's parameters, statistics, moments.
pub fn write_initial(backend: &mut Backend, arena: &Arena, model: &dyn Model, optimizer: &OptimizerState, seed: u64) {
    backend.write(arena.flat_parameters(), &initial(arena, model, seed));
    for statistic in arena.statistics() {
        backend.write(statistic.value, &vec![statistic.initial; statistic.value.len()]);
    }
    for &(_, moments) in &optimizer.moments {
        backend.write(moments, &vec![0.0; moments.len()]);
    }
}

impl Programs {
    /// Declares, records and loads everything, and uploads the data, whose memory it gives back. Errors: no room on the
    /// device; a data set without a column that the model takes.
    pub fn new(backend: &mut Backend, settings: &Settings, data: Dataset) -> Result<Programs> {
        let largest_part = backend.largest_binding();
        pollster::block_on(Programs::with_largest_part(backend, settings, data, largest_part))
    }

    /// [`new`](Programs::new) with the pictures in buffers of at most `largest_part` bytes. Where they are parted
    /// changes no result. Its errors are the same.
    pub async fn with_largest_part(
        backend: &mut Backend,
        settings: &Settings,
        data: Dataset,
        largest_part: usize,
    ) -> Result<Programs> {
        let data = settings.binarise.prepared(data, settings.seed);
        let arena = &mut Arena::new();
        let columns = data.columns();
        let training = labelled::keep(data.train, settings.labels(), settings.seed, &data.name)?;
        let data = Dataset { train: training, ..data };
        let model = (settings.entry()?.open)(arena, &settings.own, &columns)?;
        let optimizer = OptimizerState::new(arena, settings.optimizer);
        let sizes = |split: &Table| Sizes::of(split, settings.batch_size);
        let train = Resident::new(arena, "train", &*model, &sizes(&data.train), &columns, largest_part);
        let test_sizes = sizes(&data.test);
        let test = RecordedEvaluation::new(arena, &*model, &columns, test_sizes, Latent::Sampled, largest_part);

        let fusion = settings.fusion(Fusion::of(&backend.device()));
        let steps = train.programs(arena, |arena, size| {
            let before = arena.buffers().len();
            let step = record_step(arena, &*model, &optimizer, settings, &train, size);
            fuse(arena, step, fusion, before)
        });
        let shuffled = train.record_order(arena, true);

        let layout = Layout::new(settings.samples, data.test.count, &columns, &*model);
        let (pictures, drawn) = EpochPictures::record(arena, &*model, layout);

        // The host keeps the parameters and moments that it saves, and those it started from.
        let kept = (2 + optimizer.moments.len()).saturating_mul(arena.flat_parameters().len()).saturating_mul(4);
        match backend {
            Backend::Cpu(_) => room::check(arena, kept)?,
            Backend::Gpu(_) => {}
        }
        // The first one loaded makes the buffers: the pictures are on their way while the pipelines of the others are
        // built.
        let shuffle = backend.load_async(arena, &shuffled).await?;
        pictures.write(backend, &data.test, settings.seed);
        train.hand_over(backend, data.train);
        test.data.hand_over(backend, data.test);
        let others = steps.iter().chain([&drawn]).chain(&test.steps);
        backend.prepare(&others.collect::<Vec<_>>()).await;

        let test = test.load(arena, backend).await?;
        let training = Walk::load(arena, backend, &steps).await?;
        let drawing = backend.load_async(arena, &drawn).await?;
        let arena = arena.clone();
        Ok(Programs { arena, model, optimizer, train, test, pictures, steps, shuffle, training, drawing })
    }

    /// The training part of an epoch, from batch `first` on: its order, then its batches.
    pub fn training(&self, first: usize) -> Vec<(Loaded, usize)> {
        let mut plan = vec![(self.shuffle, 1)];
        plan.extend(self.training.plan(&self.train.batches, first));
        plan
    }

    /// Evaluation of the whole test set, and the epoch's pictures.
    pub fn evaluation(&self) -> Vec<(Loaded, usize)> {
        let mut plan = self.test.plan();
        plan.push(self.drawing());
        plan
    }

    /// What draws the epoch's pictures.
    pub fn drawing(&self) -> (Loaded, usize) {
        (self.drawing, 1)
    }

    /// Dispatches of one training step.
    pub fn dispatches_a_step(&self) -> usize {
        self.steps[0].steps.len()
    }
}

// ANCHOR: step
/// A training step of a batch of that size of a data set: the gradients are cleared, then [`record_update`].
pub(crate) fn record_step(
    arena: &mut Arena,
    model: &dyn Model,
    optimizer: &OptimizerState,
    settings: &Settings,
    data: &Resident,
    size: Size,
) -> Program {
    let gradients = arena.flat_gradients();
    let mut r = Recorder::new(arena);
    fill::forward(&mut r, gradients, 0.0);
    let Run { flip, shift, binarise, .. } = settings.run;
    let augmentation = Augmentation { flip, shift, binarise: binarise.is_dynamic() };
    let weight = Rows::Scale(settings.reduction.scale(size.rows));
    let batch = data.batch(size, Mode::Train { clock: data.clock }, weight, augmentation);
    record_update(&mut r, model, optimizer, settings, &batch, &mut Draw::Clock(data.clock), data.losses);
    r.finish(&format!("train step of {size}"))
}

/// What a training step makes of a batch, where the gradients are clear: model forward and backward, optimiser, losses,
/// clock.
pub(crate) fn record_update(
    r: &mut Recorder,
    model: &dyn Model,
    optimizer: &OptimizerState,
    settings: &Settings,
    batch: &Batch,
    draw: &mut Draw,
    losses: Tensor,
) {
    let terms = model.step(r, batch, draw);
    optimizer.step(r, settings, batch.clock);
    r.scope("clock");
    clock::tally(r, batch.rows, &terms, batch.clock, losses);
    clock::tick(r, batch.clock);
}
// ANCHOR_END: step

/// The training step that the settings describe for data of these columns, as a device of this fusion runs it, and not
/// loaded: for whoever must see its dispatches before anything runs. Errors: a model that does not fit the columns.
pub fn training_step(settings: &Settings, columns: &Columns, fusion: Fusion) -> Result<Program> {
    let mut arena = Arena::new();
    let model = (settings.entry()?.open)(&mut arena, &settings.own, columns)?;
    let optimizer = OptimizerState::new(&mut arena, settings.optimizer);
    let [count, batch_size, entries] = [settings.batch_size; 3];
    let sizes = Sizes { count, batch_size, entries, lengths: Vec::new() };
    let data = Resident::new(&mut arena, "train", &*model, &sizes, columns, usize::MAX);
    let before = arena.buffers().len();
    let step = record_step(&mut arena, &*model, &optimizer, settings, &data, data.batches.sizes[0]);
    Ok(fuse(&mut arena, step, settings.fusion(fusion), before))
}
