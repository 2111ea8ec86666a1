//! The training loop. The host writes one clock an epoch, hands the device its replays, and reads once at the end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::checkpoint::{Checkpoint, MODEL, ModelCard, write_model};
use super::diverged::first_offender;
use super::early_stopping::EarlyStopping;
use super::fit;
use super::metrics::{EpochMetrics, MetricsLog};
use super::optimizer::OptimizerState;
use super::pictures;
use super::programs::{Programs, Resident, record_step};
use super::run_folder::{Progress, RunFolder};
use super::schedule;
use super::settings::Settings;
use crate::arena::Arena;
use crate::backend::{Backend, Counters, Device};
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::fusion::{Fusion, fuse};
use crate::kernels::clock::{Clock, Row};
use crate::kernels::random;
use crate::models::vae::{Config, Vae};
use crate::program::Program;

/// The site of the samples' latent points; programs number theirs from 1.
const SAMPLE_SITE: u32 = 0;
/// Metadata key of the progress in a state file.
const PROGRESS: &str = "elbo.progress";

/// What the trainer tells whoever watches.
pub enum Event<'a> {
    /// Some more batches were handed to the device.
    Batches {
        /// The epoch under way, from 1.
        epoch: usize,
        /// Batches of it handed over so far.
        done: usize,
        /// Batches it has.
        total: usize,
    },
    /// Some more of the evaluation after an epoch was handed to the device.
    Evaluation,
    /// A picture of the epoch could not be written; the run goes on.
    NotDrawn {
        /// Why.
        problem: &'a Error,
    },
    /// The epoch is over, evaluated and saved.
    Epoch {
        /// Its row of `metrics.csv`.
        metrics: &'a EpochMetrics,
        /// Its monitored loss is lower than every one before.
        is_best: bool,
    },
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All epochs of the settings are trained.
    Finished,
    /// Early stopping's patience ran out.
    Stopped,
    /// The caller asked to stop; everything is saved.
    Interrupted,
}

/// A run under way.
pub struct Trainer {
    settings: Settings,
    data_name: String,
    folder: RunFolder,
    backend: Backend,
    programs: Programs,
    log: MetricsLog,
    progress: Progress,
    /// Everything training changes, as it was when the epoch under way began or was resumed: what a replay starts from.
    snapshot: Snapshot,
}

struct Snapshot {
    parameters: Vec<f32>,
    statistics: Vec<f32>,
    moments: Vec<Vec<f32>>,
    losses: Vec<f32>,
    batch: usize,
}

/// The model a data set and settings describe.
pub fn config(settings: &Settings, shape: [usize; 3]) -> Config {
    Config {
        shape,
        encoder: settings.encoder.clone(),
        decoder: settings.decoder.clone(),
        hidden: settings.hidden.clone(),
        latent: settings.latent,
        head: settings.head,
        activation: settings.activation,
        output: settings.output,
        sigma: settings.sigma,
    }
}

/// The training step that the settings describe for pictures of this (C,H,W), as a device of this fusion runs it, and not
/// loaded: for whoever must see its dispatches before anything runs. Errors: a network that does not fit the pictures.
pub fn training_step(settings: &Settings, shape: [usize; 3], fusion: Fusion) -> Result<Program> {
    let config = config(settings, shape);
    config.check()?;
    let mut arena = Arena::new();
    let model = Vae::new(&mut arena, &config);
    let optimizer = OptimizerState::new(&mut arena, settings.optimizer);
    let batch = Split { pixels: Vec::new(), count: settings.batch_size, shape, labels: None };
    let data = Resident::new(&mut arena, "train", &batch, settings.batch_size, usize::MAX);
    let before = arena.buffers().len();
    let step = record_step(&mut arena, &model, &optimizer, settings, &data, settings.batch_size);
    Ok(fuse(&mut arena, step, settings.fusion(fusion), before))
}

impl Trainer {
    /// Records, loads and initialises a run, or restores it from the folder's state. The pictures are moved to the device.
    /// Errors: data of no use for the settings, no room on the device, a state that does not fit.
    pub fn new(settings: Settings, data: Dataset, device: &Device, folder: RunFolder, resume: bool) -> Result<Trainer> {
        Trainer::in_parts(settings, data, device, folder, resume, device.largest_binding())
    }

    /// [`new`](Trainer::new) with the pictures in buffers of at most `largest_part` bytes. Where they are parted changes no
    /// result. Errors are its.
    pub fn in_parts(
        settings: Settings,
        data: Dataset,
        device: &Device,
        folder: RunFolder,
        resume: bool,
        largest_part: usize,
    ) -> Result<Trainer> {
        fit::check(&settings, &data)?;
        let mut backend = device.backend();
        let config = config(&settings, data.train.shape);
        let data_name = data.name.clone();
        let programs = Programs::in_parts(&mut backend, &settings, &config, data, largest_part)?;
        let latent = random::host_normal(settings.seed, SAMPLE_SITE, programs.samples.len());
        backend.write(programs.samples, &latent);
        let state = if resume && folder.state().exists() { Some(Checkpoint::read(&folder.state())?) } else { None };
        let progress = match &state {
            Some(state) => {
                let path = folder.state();
                let text = state.metadata.get(PROGRESS).ok_or_else(|| Error::file(&path, "holds no progress"))?;
                let progress = Progress::from_text(text, &path)?;
                Progress { early_stopping: progress.early_stopping.resume(&settings), ..progress }
            }
            None => Progress { epoch: 0, batch: 0, early_stopping: EarlyStopping::new(&settings) },
        };
        let begun = progress.epoch + usize::from(progress.batch > 0);
        if settings.epochs < begun {
            return Err(Error::Usage(format!(
                "--epochs is {}, but {begun} are trained of this run, the last of them perhaps in part: give at least {begun}",
                settings.epochs
            )));
        }
        let log = MetricsLog::open(folder.metrics(), progress.epoch)?;
        let snapshot = match &state {
            Some(state) => Snapshot::read(state, &programs, &folder, progress.batch)?,
            None => Snapshot::initial(&programs, settings.seed),
        };
        let mut trainer = Trainer { settings, data_name, folder, backend, programs, log, progress, snapshot };
        trainer.restore();
        Ok(trainer)
    }

    /// Kernels that one training step runs.
    pub fn dispatches_a_step(&self) -> usize {
        self.programs.dispatches_a_step()
    }

    /// Buffers that the training pictures and the test pictures lie in: one each, unless they are more than the device binds.
    pub fn data_parts(&self) -> [usize; 2] {
        [self.programs.train.parts(), self.programs.test.data.parts()]
    }

    /// What the user should know of the pictures that are drawn: a line where they are fewer than usual.
    pub fn note(&self) -> Option<String> {
        let test = self.programs.test.data.count;
        self.programs.layout.note(test)
    }

    /// Epochs already trained.
    pub fn epochs_done(&self) -> usize {
        self.progress.epoch
    }

    /// Trainable numbers of the model.
    pub fn parameters(&self) -> usize {
        self.programs.arena.parameters().iter().map(|p| p.value.len()).sum()
    }

    /// What the backend did in this process, resumed epochs not counted.
    pub fn counters(&self) -> Counters {
        self.backend.counters()
    }

    /// Trains until the epochs are done, patience runs out or `stop` is set, which is looked at after each event but the last
    /// epoch's. A batch's replay is never cut in two.
    ///
    /// Errors: [`Error::Diverged`], naming the first tensor that is not finite where it can be found; a device that is lost;
    /// files that cannot be written.
    pub fn train(&mut self, stop: &AtomicBool, watch: &mut dyn FnMut(Event)) -> Result<Ending> {
        while self.progress.epoch < self.settings.epochs {
            let started = Instant::now();
            self.write_clocks();
            let first = self.progress.batch;
            let (epoch, total) = (self.progress.epoch + 1, self.programs.train.batches());
            let plan = self.programs.training(first);
            let replays: usize = plan.iter().map(|(_, times)| times).sum();
            let handed = self.backend.run_with(&plan, &mut |replays| {
                // The first replay is the shuffle.
                watch(Event::Batches { epoch, done: first + replays - 1, total });
                !stop.load(Ordering::Relaxed)
            })?;
            if handed < replays {
                self.save_interrupted(first + handed - 1)?;
                return Ok(Ending::Interrupted);
            }
            let plan = self.programs.evaluation();
            let replays: usize = plan.iter().map(|(_, times)| times).sum();
            let handed = self.backend.run_with(&plan, &mut |_| {
                watch(Event::Evaluation);
                !stop.load(Ordering::Relaxed)
            })?;
            if handed < replays {
                // The epoch is trained. What goes on from here has only this left to do.
                self.save_interrupted(total)?;
                return Ok(Ending::Interrupted);
            }
            let (metrics, is_best, out_of_patience) = self.finish_epoch(started, watch)?;
            watch(Event::Epoch { metrics: &metrics, is_best });
            if out_of_patience {
                return Ok(Ending::Stopped);
            }
            // After the last epoch there is nothing to go on with.
            if stop.load(Ordering::Relaxed) && epoch < self.settings.epochs {
                return Ok(Ending::Interrupted);
            }
        }
        Ok(Ending::Finished)
    }

    // ---- An epoch

    fn write_clocks(&mut self) {
        let Trainer { settings, programs, progress, backend, .. } = self;
        let (train, test) = (&programs.train, &programs.test);
        let steps = train.batches();
        let first_step = progress.epoch as u64 * steps as u64;
        let row = |[lr, kl_weight, bias_correction1, bias_correction2_sqrt]: [f32; 4]| Row {
            lr,
            kl_weight,
            bias_correction1,
            bias_correction2_sqrt,
        };
        let rows = schedule::rows(settings, first_step, steps, settings.epochs as u64 * steps as u64);
        let clock = Clock {
            seed: settings.seed,
            step: (first_step + progress.batch as u64) as u32,
            batch: progress.batch as u32,
            epoch: progress.epoch as u32,
            rows: rows.into_iter().map(row).collect(),
        };
        backend.write_words(train.clock, &clock.words());
        // The test set is judged with the full KL weight.
        let step = (progress.epoch * test.data.batches()) as u32;
        test.write_clock(backend, settings.seed, step, settings.kl_weight as f32);
    }

    /// The epoch's one synchronisation: losses, state and pictures come back, are judged and saved.
    fn finish_epoch(&mut self, started: Instant, watch: &mut dyn FnMut(Event)) -> Result<(EpochMetrics, bool, bool)> {
        let p = &self.programs;
        let pictures = [p.test.data.losses, p.sample_pictures, p.originals, p.reconstructions];
        let (snapshot, rest) = self.read_state(&pictures)?;
        let [test_losses, samples, originals, reconstructions] =
            rest.try_into().unwrap_or_else(|_| unreachable!("four tensors were read"));
        self.refuse_divergence(&snapshot.losses, &snapshot.parameters)?;
        let epoch = self.progress.epoch + 1;
        refuse_test_divergence(&test_losses, epoch)?;
        let train = Means::of(&snapshot.losses);
        let test = Means::of(&test_losses);
        let metrics = EpochMetrics {
            epoch,
            train_loss: train.loss,
            train_recon: train.recon,
            train_kl: train.kl,
            test_loss: test.loss,
            test_recon: test.recon,
            test_kl: test.kl,
            seconds: started.elapsed().as_secs_f64(),
        };
        self.log.push(metrics)?;
        let verdict = self.progress.early_stopping.update(epoch, metrics.get(self.settings.monitor));
        self.progress = Progress { epoch, batch: 0, early_stopping: self.progress.early_stopping.clone() };
        self.snapshot = Snapshot { batch: 0, ..snapshot };
        self.save_model(&self.folder.model())?;
        if verdict.is_best {
            self.save_model(&self.folder.best())?;
        }
        // Before the state, so that an epoch that counts as done has its pictures whenever the run is killed. But none that
        // fails takes anything of the run with it.
        let (layout, folder) = (&self.programs.layout, &self.folder);
        let drawn = [
            layout.save_samples(folder, epoch, &samples),
            layout.save_reconstructions(folder, epoch, [&originals, &reconstructions]),
            self.save_curves(),
        ];
        self.save_state()?;
        drawn.iter().filter_map(|drawn| drawn.as_ref().err()).for_each(|problem| watch(Event::NotDrawn { problem }));
        Ok((metrics, verdict.is_best, verdict.stop))
    }

    fn save_curves(&self) -> Result<()> {
        let title = format!("{} on {}", self.settings.preset, self.data_name);
        pictures::save_curves(&self.folder, &title, self.log.rows())
    }

    // ---- State

    /// Reads parameters, moments and losses, and `more`, in one synchronisation.
    fn read_state(&mut self, more: &[crate::tensor::Tensor]) -> Result<(Snapshot, Vec<Vec<f32>>)> {
        let p = &self.programs;
        let mut tensors = vec![p.arena.flat_parameters(), p.train.losses];
        tensors.extend(p.optimizer.moments.iter().map(|(_, t)| *t));
        tensors.extend(p.arena.flat_statistics());
        let own = tensors.len();
        tensors.extend(more);
        let mut values = self.backend.read(&tensors)?;
        let more = values.split_off(own);
        let statistics = values.split_off(2 + p.optimizer.moments.len()).pop().unwrap_or_default();
        let moments = values.split_off(2);
        let [parameters, losses] = values.try_into().unwrap_or_else(|_| unreachable!("two tensors are left"));
        Ok((Snapshot { parameters, statistics, moments, losses, batch: 0 }, more))
    }

    /// Puts the snapshot back on the device.
    fn restore(&mut self) {
        let p = &self.programs;
        self.backend.write(p.arena.flat_parameters(), &self.snapshot.parameters);
        self.backend.write(p.train.losses, &self.snapshot.losses);
        if let Some(statistics) = p.arena.flat_statistics() {
            self.backend.write(statistics, &self.snapshot.statistics);
        }
        for ((_, tensor), values) in p.optimizer.moments.iter().zip(&self.snapshot.moments) {
            self.backend.write(*tensor, values);
        }
    }

    fn save_model(&self, path: &Path) -> Result<()> {
        let card = ModelCard {
            config: self.programs.model.config.clone(),
            dataset: self.data_name.clone(),
            epoch: self.progress.epoch,
        };
        let card = serde_json::to_string(&card).expect("a card is plain data");
        write_model(path, &self.programs.arena, self.snapshot.model(), &[], (MODEL, &card))
    }

    /// What resume needs, in one file: one rename publishes all of it.
    fn save_state(&self) -> Result<()> {
        let names = self.programs.optimizer.moments.iter().map(|(name, _)| *name);
        let moments = names.zip(self.snapshot.moments.iter().map(Vec::as_slice));
        let more: Vec<(&str, &[f32])> = moments.chain([("losses", self.snapshot.losses.as_slice())]).collect();
        let progress = self.progress.to_text();
        write_model(&self.folder.state(), &self.programs.arena, self.snapshot.model(), &more, (PROGRESS, &progress))
    }

    fn save_interrupted(&mut self, batch: usize) -> Result<()> {
        let (snapshot, _) = self.read_state(&[])?;
        self.refuse_divergence(&snapshot.losses[..4 * batch], &snapshot.parameters)?;
        self.snapshot = Snapshot { batch, ..snapshot };
        self.progress.batch = batch;
        self.save_model(&self.folder.model())?;
        self.save_state()
    }

    /// Writes what follows from the state of the last epoch and is missing in the folder: the model and the curves. What was
    /// written. Errors: those of the file system.
    pub fn write_missing(&self) -> Result<Vec<PathBuf>> {
        let [model, curves] = [self.folder.model(), self.folder.curves()];
        let mut written = Vec::new();
        if self.progress.epoch > 0 && !model.exists() {
            self.save_model(&model)?;
            written.push(model);
        }
        if !self.log.rows().is_empty() && !curves.exists() {
            self.save_curves()?;
            written.push(curves);
        }
        Ok(written)
    }

    // ---- Divergence

    /// An error that names the step and the first offending tensor, if a loss or a parameter is not finite.
    fn refuse_divergence(&mut self, losses: &[f32], parameters: &[f32]) -> Result<()> {
        let batches = self.programs.train.batches();
        let bad = losses.chunks(4).position(|row| row.iter().any(|v| !v.is_finite()));
        let (what, batch) = match bad {
            Some(batch) => ("the loss of", batch),
            None if parameters.iter().all(|v| v.is_finite()) => return Ok(()),
            None => ("a parameter after", losses.len() / 4 - 1),
        };
        let step = self.progress.epoch * batches + batch + 1;
        // The step before may have left infinite parameters behind a finite loss, so the search starts there.
        let from = batch.saturating_sub(1).max(self.snapshot.batch);
        self.progress.batch = self.snapshot.batch;
        self.restore();
        self.write_clocks();
        let mut left = 1 + from - self.snapshot.batch;
        let mut plan = self.programs.training(self.snapshot.batch);
        for (_, times) in &mut plan {
            *times = left.min(*times);
            left -= *times;
        }
        self.backend.run(&plan)?;
        let mut offender = None;
        for b in from..=batch {
            let is_short = b + 1 == batches && self.programs.short_step.is_some();
            let program = if is_short { self.programs.short_step.as_ref() } else { Some(&self.programs.step) };
            let program = program.expect("checked above");
            offender = first_offender(&mut self.backend, &self.programs.arena, program)?;
            if offender.is_some() {
                break;
            }
        }
        let offender = offender.unwrap_or_else(|| "not found in a replay of the step".into());
        let saved = match self.progress.epoch {
            0 => "Nothing was saved yet.".to_string(),
            epoch => format!("The checkpoints of epoch {epoch} are as they were."),
        };
        Err(Error::Diverged(format!(
            "{what} step {step} (epoch {}, batch {}) is not finite. First offending tensor: {offender}.\n\
             {saved} A smaller --lr or --clip-norm may help.",
            self.progress.epoch + 1,
            batch + 1
        )))
    }
}

/// Training losses can all be finite and the model still overflow on a test picture unlike any of them.
fn refuse_test_divergence(losses: &[f32], epoch: usize) -> Result<()> {
    let bad = losses.chunks(4).enumerate().find_map(|(batch, row)| {
        let term = ["loss.recon", "loss.kl"].into_iter().zip(row).find(|(_, v)| !v.is_finite())?;
        Some((batch + 1, term))
    });
    match bad {
        None => Ok(()),
        Some((batch, (term, value))) => Err(Error::Diverged(format!(
            "the test loss after epoch {epoch} is not finite: {term} of test batch {batch} is {value}, though every \
             training loss is finite. The checkpoints of the epoch before are as they were. A smaller --lr may help."
        ))),
    }
}

fn empty_statistics(arena: &Arena) -> Vec<f32> {
    vec![0.0; arena.flat_statistics().map_or(0, |flat| flat.len())]
}

impl Snapshot {
    /// The flat values of the model, its parameters and its statistics.
    fn model(&self) -> [&[f32]; 2] {
        [&self.parameters, &self.statistics]
    }

    fn initial(programs: &Programs, seed: u64) -> Snapshot {
        let mut parameters = vec![0.0; programs.arena.flat_parameters().len()];
        for (tensor, values) in programs.model.initial(seed) {
            parameters[tensor.offset..][..values.len()].copy_from_slice(&values);
        }
        let mut statistics = empty_statistics(&programs.arena);
        for s in programs.arena.statistics() {
            statistics[s.value.offset..][..s.value.len()].fill(s.initial);
        }
        let moments = programs.optimizer.moments.iter().map(|(_, t)| vec![0.0; t.len()]).collect();
        Snapshot { parameters, statistics, moments, losses: vec![0.0; programs.train.losses.len()], batch: 0 }
    }

    fn read(state: &Checkpoint, programs: &Programs, folder: &RunFolder, batch: usize) -> Result<Snapshot> {
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

/// Means over pictures of a table of losses, in nats.
pub struct Means {
    /// recon + kl_weight * kl, with the weight each batch had.
    pub loss: f64,
    /// -log p(x|z).
    pub recon: f64,
    /// KL(q(z|x) || p(z)), without its weight.
    pub kl: f64,
}

impl Means {
    /// `losses` is (batches, 4): recon, kl, kl_weight, rows.
    pub fn of(losses: &[f32]) -> Means {
        let mut sums = [0f64; 4];
        for row in losses.chunks(4) {
            let [recon, kl, weight, rows] = [row[0], row[1], row[2], row[3]].map(f64::from);
            for (sum, value) in sums.iter_mut().zip([recon + weight * kl, recon, kl, rows]) {
                *sum += value;
            }
        }
        let [loss, recon, kl, rows] = sums;
        Means { loss: loss / rows, recon: recon / rows, kl: kl / rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_weigh_batches_by_their_rows_and_the_kl_by_its_weight() {
        // Two batches of 3 and 1 pictures.
        let means = Means::of(&[30.0, 6.0, 0.5, 3.0, 2.0, 4.0, 1.0, 1.0]);
        assert_eq!([means.recon, means.kl, means.loss], [8.0, 2.5, (30.0 + 3.0 + 2.0 + 4.0) / 4.0]);
    }

    #[test]
    fn a_test_loss_that_is_not_finite_names_its_batch_and_term() {
        assert!(refuse_test_divergence(&[1.0, 1.0, 1.0, 2.0], 3).is_ok());
        let message = refuse_test_divergence(&[1.0, 1.0, 1.0, 2.0, 1.0, f32::INFINITY, 1.0, 2.0], 3).unwrap_err();
        assert!(
            message.to_string().contains("after epoch 3") && message.to_string().contains("loss.kl of test batch 2")
        );
    }
}
