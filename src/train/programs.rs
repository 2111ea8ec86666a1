//! Everything a training run does on the device, recorded once: the order of an epoch, a training step, an evaluation
//! step, the pictures an epoch leaves. [`Evaluation`] also serves models that are trained already.

use super::optimizer::OptimizerState;
use super::pictures::Layout;
use super::settings::{Reduction, Settings};
use crate::arena::Arena;
use crate::backend::{Backend, Loaded, room};
use crate::data::{Dataset, Split};
use crate::error::Result;
use crate::fusion::fuse;
use crate::kernels::clock::{self, Clock, Row};
use crate::kernels::{augment, fill, gather, random, shuffle};
use crate::layers::Mode;
use crate::models::vae::{Config, Objective, Vae};
use crate::picture::Fit;
use crate::program::{Program, Recorder};
use crate::tensor::Tensor;

/// Bytes of pictures that are uploaded at once at least.
const SMALLEST_PIECE: usize = 1 << 24;

/// A data set on the device, and how an epoch walks through it.
pub struct Resident {
    /// N, pictures.
    pub count: usize,
    /// B, pictures of a batch. The last batch of an epoch has the rest.
    pub batch_size: usize,
    data: Vec<gather::Part>,
    /// (N): this epoch's order, indices as u32.
    pub order: Tensor,
    /// Seed, step, batch, and the schedules' row of each batch of the epoch: a [`Clock`].
    pub clock: Tensor,
    /// (batches, 4): recon and kl in nats, summed over the batch; kl_weight; rows of the batch.
    pub losses: Tensor,
    dims: usize,
    /// Channels, height, width of a picture.
    shape: [usize; 3],
}

impl Resident {
    /// Declares everything, the pictures in parts of at most `largest_part` bytes.
    pub(crate) fn new(
        arena: &mut Arena,
        name: &str,
        split: &Split,
        batch_size: usize,
        largest_part: usize,
    ) -> Resident {
        let count = split.count;
        let batches = count.div_ceil(batch_size);
        Resident {
            count,
            batch_size,
            data: gather::parts(arena, name, [count, split.dims()], largest_part),
            order: arena.tensor(format!("{name}.order"), &[count]),
            clock: Clock::tensor(arena, &format!("{name}.clock"), batches),
            losses: arena.tensor(format!("{name}.losses"), &[batches, 4]),
            dims: split.dims(),
            shape: split.shape,
        }
    }

    /// Batches of an epoch, the shorter last one included.
    pub fn batches(&self) -> usize {
        self.count.div_ceil(self.batch_size)
    }

    /// Batches of the full size, and the rows of the shorter one that follows them (0 if none).
    fn full_and_rest(&self) -> (usize, usize) {
        (self.count / self.batch_size, self.count % self.batch_size)
    }

    fn gather(&self, r: &mut Recorder, rows: usize) -> Tensor {
        r.scope("batch");
        gather::forward(r, &self.data, [self.order, self.clock], [rows, self.dims], self.batch_size)
    }

    pub(crate) fn upload(&self, backend: &mut Backend, split: &Split) {
        for part in &self.data {
            let bytes = part.first * self.dims..(part.first + part.count) * self.dims;
            backend.write_words(part.data, &gather::pack(&split.pixels[bytes]));
        }
    }

    /// [`upload`](Resident::upload) that gives back the memory of what is uploaded, from the end on: a data set that fills
    /// half of the memory is never there twice.
    fn hand_over(&self, backend: &mut Backend, split: Split) {
        let mut pixels = split.pixels;
        // Whole words; few enough pieces for allocators that shrink by copying.
        let piece = (pixels.len() / 16).max(SMALLEST_PIECE).next_multiple_of(4);
        for part in self.data.iter().rev() {
            let start = part.first * self.dims;
            while pixels.len() > start {
                let words = (pixels.len() - start - 1) / piece * piece / 4;
                let packed = gather::pack(&pixels[start + 4 * words..]);
                let view = Tensor::new(part.data.buffer, part.data.offset + words, &[packed.len()]);
                backend.write_words(view, &packed);
                pixels.truncate(start + 4 * words);
                pixels.shrink_to_fit();
            }
        }
    }

    /// Indices of its buffers in the arena.
    pub(crate) fn buffers(&self) -> Vec<usize> {
        let parts = self.data.iter().map(|part| part.data);
        parts.chain([self.order, self.clock, self.losses]).map(|tensor| tensor.buffer).collect()
    }

    /// Buffers that the pictures lie in.
    pub fn parts(&self) -> usize {
        self.data.len()
    }
}

/// One step over a data set in its two sizes: full batches, and the shorter last one, which is never dropped.
struct Walk {
    full: Option<Loaded>,
    full_batches: usize,
    short: Option<Loaded>,
}

impl Walk {
    /// Replays for the batches from `first` on.
    fn plan(&self, first: usize) -> Vec<(Loaded, usize)> {
        let full = self.full.map(|p| (p, self.full_batches.saturating_sub(first)));
        let short = self.short.map(|p| (p, usize::from(first <= self.full_batches)));
        full.into_iter().chain(short).filter(|(_, times)| *times > 0).collect()
    }
}

/// A split on the device, and the programs that take a model's losses on all of it.
pub struct Evaluation {
    /// The split's pictures, order, clock and losses.
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
struct RecordedEvaluation {
    data: Resident,
    order: Program,
    full: Program,
    full_batches: usize,
    short: Option<Program>,
}

impl RecordedEvaluation {
    /// [`Evaluation::new`] has the arguments.
    fn new(
        arena: &mut Arena,
        model: &Vae,
        split: &Split,
        batch_size: usize,
        latent: Latent,
        largest_part: usize,
    ) -> RecordedEvaluation {
        let data = Resident::new(arena, "test", split, batch_size.min(split.count), largest_part);
        let (full_batches, rest) = data.full_and_rest();
        let full = record_evaluation(arena, model, &data, data.batch_size, latent);
        let short = (rest > 0).then(|| record_evaluation(arena, model, &data, rest, latent));
        let mut r = Recorder::new(arena);
        shuffle::forward(&mut r, data.clock, data.order, false);
        RecordedEvaluation { order: r.finish("test order"), data, full, full_batches, short }
    }

    fn load(self, arena: &Arena, backend: &mut Backend) -> Result<Evaluation> {
        let order = backend.load(arena, &self.order)?;
        let full = Some(backend.load(arena, &self.full)?);
        let short = self.short.map(|program| backend.load(arena, &program)).transpose()?;
        Ok(Evaluation { data: self.data, order, walk: Walk { full, full_batches: self.full_batches, short } })
    }
}

impl Evaluation {
    /// Records and loads the programs, and uploads the split, in parts of at most `largest_part` bytes. A batch larger than
    /// the split is cut to it. Errors: no room on the device.
    pub fn new(
        arena: &mut Arena,
        backend: &mut Backend,
        model: &Vae,
        split: &Split,
        batch_size: usize,
        latent: Latent,
        largest_part: usize,
    ) -> Result<Evaluation> {
        let evaluation = RecordedEvaluation::new(arena, model, split, batch_size, latent, largest_part);
        let evaluation = evaluation.load(arena, backend)?;
        evaluation.data.upload(backend, split);
        Ok(evaluation)
    }

    /// Starts at the first batch, with the noise of this seed from `step` on.
    pub fn write_clock(&self, backend: &mut Backend, seed: u64, step: u32, kl_weight: f32) {
        let row = Row { lr: 0.0, kl_weight, bias_correction1: 1.0, bias_correction2_sqrt: 1.0 };
        // The upper bit gives the test set noise of its own, apart from the training noise of the same seed.
        let seed = seed ^ (1 << 63);
        let clock = Clock { seed, step, batch: 0, epoch: 0, rows: vec![row; self.data.batches()] };
        backend.write_words(self.data.clock, &clock.words());
    }

    /// Replays for the whole split.
    pub fn plan(&self) -> Vec<(Loaded, usize)> {
        let mut plan = vec![(self.order, 1)];
        plan.extend(self.walk.plan(0));
        plan
    }
}

/// The device side of a run.
pub struct Programs {
    /// Memory of all programs of the run.
    pub arena: Arena,
    /// What is trained.
    pub model: Vae,
    /// The optimiser's memory, flat like the parameters.
    pub optimizer: OptimizerState,
    /// The training split, shuffled anew each epoch.
    pub train: Resident,
    /// The test split, in its order.
    pub test: Evaluation,
    /// (S,Z): latent points, the same at each epoch.
    pub samples: Tensor,
    /// (S,D): their pictures, the means of p(x|z).
    pub sample_pictures: Tensor,
    /// How the grids of these are drawn.
    pub layout: Layout,
    /// (R,D): test pictures, spread over the set; R is at most [`RECONSTRUCTIONS`].
    pub originals: Tensor,
    /// (R,D): their reconstructions, decoded from the mean of q(z|x).
    pub reconstructions: Tensor,
    /// The training step, for whoever wants to look at it dispatch by dispatch.
    pub step: Program,
    /// The step of the shorter last batch; `None` where there is none, or no full batch before it.
    pub short_step: Option<Program>,
    shuffle: Loaded,
    training: Walk,
    pictures: Loaded,
}

/// Writes what a training run starts from: the seed's parameters, statistics, moments.
pub(crate) fn write_initial(backend: &mut Backend, arena: &Arena, model: &Vae, optimizer: &OptimizerState, seed: u64) {
    let mut parameters = vec![0.0; arena.flat_parameters().len()];
    for (tensor, values) in model.initial(seed) {
        parameters[tensor.offset..][..values.len()].copy_from_slice(&values);
    }
    backend.write(arena.flat_parameters(), &parameters);
    for statistic in arena.statistics() {
        backend.write(statistic.value, &vec![statistic.initial; statistic.value.len()]);
    }
    for &(_, moments) in &optimizer.moments {
        backend.write(moments, &vec![0.0; moments.len()]);
    }
}

/// Test pictures that an epoch's reconstruction picture shows.
pub const RECONSTRUCTIONS: usize = 32;

impl Programs {
    /// Declares, records and loads everything, and uploads the data, whose memory it gives back. Errors: no room on the device.
    pub fn new(backend: &mut Backend, settings: &Settings, config: &Config, data: Dataset) -> Result<Programs> {
        let largest_part = backend.largest_binding();
        Programs::in_parts(backend, settings, config, data, largest_part)
    }

    /// [`new`](Programs::new) with the pictures in buffers of at most `largest_part` bytes. Where they are parted changes no
    /// result. Errors are its.
    pub fn in_parts(
        backend: &mut Backend,
        settings: &Settings,
        config: &Config,
        data: Dataset,
        largest_part: usize,
    ) -> Result<Programs> {
        let arena = &mut Arena::new();
        let model = Vae::new(arena, config);
        let optimizer = OptimizerState::new(arena, settings.optimizer);
        let train = Resident::new(arena, "train", &data.train, settings.batch_size, largest_part);
        let test =
            RecordedEvaluation::new(arena, &model, &data.test, settings.batch_size, Latent::Sampled, largest_part);

        let fusion = settings.fusion(backend.fusion());
        let record = |arena: &mut Arena, rows| {
            let before = arena.buffers().len();
            let step = record_step(arena, &model, &optimizer, settings, &train, rows);
            fuse(arena, step, fusion, before)
        };
        let (full_batches, rest) = train.full_and_rest();
        let step = record(arena, if full_batches > 0 { settings.batch_size } else { rest });
        let short_step = (full_batches > 0 && rest > 0).then(|| record(arena, rest));

        let mut r = Recorder::new(arena);
        shuffle::forward(&mut r, train.clock, train.order, true);
        let shuffled = r.finish("shuffle");

        let layout = Layout::new(settings.samples, data.test.count, config.shape);
        let drawn = |fit: Option<Fit>| fit.map_or(1, |fit| fit.count);
        let samples = arena.tensor("samples", &[drawn(layout.samples), config.latent]);
        let mut r = Recorder::new(arena);
        r.scope("samples");
        let sample_pictures = model.generate(&mut r, samples);
        r.scope("reconstructions");
        let originals = r.tensor("x", &[drawn(layout.reconstructions), train.dims]);
        let q = model.encode(&mut r, originals, Mode::Evaluate);
        let reconstructions = model.generate(&mut r, q.mean);
        let pictures = r.finish("pictures");

        // The host keeps the parameters and moments that it saves, and those it started from.
        let kept = (2 + optimizer.moments.len()).saturating_mul(arena.flat_parameters().len()).saturating_mul(4);
        match backend {
            Backend::Cpu(_) => room::check(arena, kept)?,
            Backend::Gpu(_) => {}
        }
        // The first one loaded makes the buffers: the pictures are on their way while the pipelines of the others are built.
        let shuffle = backend.load(arena, &shuffled)?;
        backend.write(originals, &data.test.spread(originals.matrix()[0]));
        train.hand_over(backend, data.train);
        test.data.hand_over(backend, data.test);
        let others = [&step, &pictures, &test.full].into_iter().chain(&short_step).chain(&test.short);
        backend.prepare(&others.collect::<Vec<_>>());

        let test = test.load(arena, backend)?;
        let mut load = |program: &Program| backend.load(arena, program);
        let training = if full_batches > 0 {
            let short = short_step.as_ref().map(&mut load).transpose()?;
            Walk { full: Some(load(&step)?), full_batches, short }
        } else {
            Walk { full: None, full_batches, short: Some(load(&step)?) }
        };
        let pictures = load(&pictures)?;
        Ok(Programs {
            arena: arena.clone(),
            model,
            optimizer,
            train,
            test,
            samples,
            sample_pictures,
            layout,
            originals,
            reconstructions,
            step,
            short_step,
            shuffle,
            training,
            pictures,
        })
    }

    /// The training part of an epoch, from batch `first` on: order, full batches, the short one.
    pub fn training(&self, first: usize) -> Vec<(Loaded, usize)> {
        let mut plan = vec![(self.shuffle, 1)];
        plan.extend(self.training.plan(first));
        plan
    }

    /// Evaluation of the whole test set, and the epoch's pictures.
    pub fn evaluation(&self) -> Vec<(Loaded, usize)> {
        let mut plan = self.test.plan();
        plan.push((self.pictures, 1));
        plan
    }

    /// Dispatches of one training step.
    pub fn dispatches_a_step(&self) -> usize {
        self.step.steps.len()
    }
}

/// The batch as training sees it: shifted and mirrored at random, where that is asked for. It is what the model gets and
/// what its reconstruction is compared with.
fn augmented(r: &mut Recorder, x: Tensor, settings: &Settings, data: &Resident) -> Tensor {
    if !settings.flip && settings.shift == 0 {
        return x;
    }
    let [_, h, w] = data.shape;
    augment::forward(r, x, data.clock, data.shape, [h, w], settings.shift, settings.flip)
}

// ANCHOR: step
/// A training step: batch, noise, and what [`record_update`] makes of them.
pub(crate) fn record_step(
    arena: &mut Arena,
    model: &Vae,
    optimizer: &OptimizerState,
    settings: &Settings,
    data: &Resident,
    rows: usize,
) -> Program {
    let gradients = arena.flat_gradients();
    let mut r = Recorder::new(arena);
    fill::forward(&mut r, gradients, 0.0);
    let x = data.gather(&mut r, rows);
    let x = augmented(&mut r, x, settings, data);
    r.scope("latent");
    let noise = random::normal(&mut r, data.clock, &[rows, model.config.latent]);
    record_update(&mut r, model, optimizer, settings, [x, noise], [data.clock, data.losses]);
    r.finish(&format!("train step of {rows}"))
}

/// What a training step makes of pictures x (B,D) and noise (B,Z), where the gradients are clear: model forward and
/// backward, optimiser, losses, clock.
pub(crate) fn record_update(
    r: &mut Recorder,
    model: &Vae,
    optimizer: &OptimizerState,
    settings: &Settings,
    [x, noise]: [Tensor; 2],
    [clock, losses]: [Tensor; 2],
) {
    let objective = Objective {
        scale: match settings.reduction {
            Reduction::Sum => 1.0,
            Reduction::Mean => 1.0 / x.matrix()[0] as f32,
        },
        free_bits: settings.free_bits as f32,
    };
    let terms = model.step(r, x, noise, clock, objective);
    optimizer.step(r, settings, clock);
    r.scope("clock");
    clock::tally(r, x.matrix()[0], [terms.recon, terms.kl], clock, losses);
    clock::tick(r, clock);
}
// ANCHOR_END: step

/// An evaluation step: batch, model forward, losses, clock.
fn record_evaluation(arena: &mut Arena, model: &Vae, data: &Resident, rows: usize, latent: Latent) -> Program {
    let mut r = Recorder::new(arena);
    let x = data.gather(&mut r, rows);
    r.scope("latent");
    let shape = [rows, model.config.latent];
    let noise = match latent {
        Latent::Sampled => random::normal(&mut r, data.clock, &shape),
        // z = mean + 0: nothing writes this tensor, and it starts as zeros.
        Latent::Mean => r.tensor("noise", &shape),
    };
    let terms = model.evaluate(&mut r, x, noise);
    r.scope("clock");
    clock::tally(&mut r, rows, [terms.recon, terms.kl], data.clock, data.losses);
    clock::tick(&mut r, data.clock);
    r.finish(&format!("evaluation step of {rows}"))
}
