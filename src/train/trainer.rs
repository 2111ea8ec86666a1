//! The training loop. The host writes one clock an epoch, hands the device its replays, and reads once at the end.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use super::checkpoint::{Checkpoint, MODEL, ModelCard, write_model};
use super::early_stopping::EarlyStopping;
use super::fit;
use super::metrics::{EpochMetrics, Means, MetricsLog};
use super::pictures;
use super::programs::Programs;
use super::rows::{rows, schedules, whole};
use super::run_folder::{PROGRESS, Progress, RunFolder};
use super::settings::Settings;
use crate::backend::{Backend, Counters, Device};
use crate::data::Dataset;
use crate::data::audio::spectrogram::Spectrogram;
use crate::data::features::Features;
use crate::data::table::Columns;
use crate::data::text::vocabulary::Vocabulary;
use crate::error::{Error, Result};
use crate::kernels::clock::Clock;

mod divergence;
mod snapshot;

use divergence::refuse_test_divergence;
use snapshot::Snapshot;

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
    columns: Columns,
    features: Option<Features>,
    vocabulary: Option<Vocabulary>,
    spectrogram: Option<Spectrogram>,
    folder: RunFolder,
    backend: Backend,
    programs: Programs,
    log: MetricsLog,
    progress: Progress,
    /// Everything training changes, as it was when the epoch under way began or was resumed: what a replay starts from.
    snapshot: Snapshot,
}

impl Trainer {
    /// Records, loads and initialises a run, or restores it from the folder's state. The pictures are moved to the
    /// device. Errors: data of no use for the settings, no room on the device, a state that does not fit.
    pub fn new(settings: Settings, data: Dataset, device: &Device, folder: RunFolder, resume: bool) -> Result<Trainer> {
        Trainer::with_largest_part(settings, data, device, folder, resume, device.largest_binding())
    }

    /// [`new`](Trainer::new) with the pictures in buffers of at most `largest_part` bytes. Where they are parted
    /// changes no result. Its errors are the same.
    pub fn with_largest_part(
        settings: Settings,
        data: Dataset,
        device: &Device,
        folder: RunFolder,
        resume: bool,
        largest_part: usize,
    ) -> Result<Trainer> {
        fit::check(&settings, &data)?;
        let mut backend = device.backend();
        let (data_name, columns, features) = (data.name.clone(), data.columns(), data.train.features().cloned());
        let (vocabulary, spectrogram) = (data.vocabulary.clone(), data.spectrogram.clone());
        let programs = Programs::with_largest_part(&mut backend, &settings, data, largest_part)?;
        let state = if resume && folder.state().exists() { Some(Checkpoint::read(&folder.state())?) } else { None };
        let progress = match &state {
            Some(state) => {
                let progress = Progress::of(state, &folder.state())?;
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
        let log = MetricsLog::open(folder.metrics(), programs.model.terms(), progress.epoch)?;
        let snapshot = match &state {
            Some(state) => Snapshot::read(state, &programs, &folder, progress.batch)?,
            None => Snapshot::initial(&programs, &settings)?,
        };
        let mut trainer = Trainer {
            settings,
            data_name,
            columns,
            features,
            vocabulary,
            spectrogram,
            folder,
            backend,
            programs,
            log,
            progress,
            snapshot,
        };
        trainer.restore();
        Ok(trainer)
    }

    /// Kernels that one training step runs.
    pub fn dispatches_a_step(&self) -> usize {
        self.programs.dispatches_a_step()
    }

    /// Buffers that the training pictures and the test pictures lie in: one each, unless they are more than the device
    /// binds.
    pub fn data_parts(&self) -> [usize; 2] {
        [self.programs.train.parts(), self.programs.test.data.parts()]
    }

    /// What the user should know of the pictures that are drawn: a line where they are fewer than usual.
    pub fn note(&self) -> Option<String> {
        let test = self.programs.test.data.count;
        self.programs.pictures.layout.note(test)
    }

    /// Epochs already trained.
    pub fn epochs_done(&self) -> usize {
        self.progress.epoch
    }

    /// Training batches of an epoch.
    pub fn steps_an_epoch(&self) -> usize {
        self.programs.train.batches()
    }

    /// Trainable numbers of the model.
    pub fn parameters(&self) -> usize {
        self.programs.arena.parameters().iter().map(|p| p.value.len()).sum()
    }

    /// What the backend did in this process, resumed epochs not counted.
    pub fn counters(&self) -> Counters {
        self.backend.counters()
    }

    /// Trains until the epochs are done, patience runs out or `stop` is set, which is looked at after each event but
    /// the last epoch's. A batch's replay is never cut in two.
    ///
    /// Errors: [`Error::Diverged`], naming the first tensor that is not finite where it can be found; a device that is
    /// lost; files that cannot be written.
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
        programs.train.turn(backend, settings.seed, progress.epoch);
        let (train, test) = (&programs.train, &programs.test);
        let steps = train.batches();
        let first_step = progress.epoch as u64 * steps as u64;
        let knobs = programs.model.knobs();
        let clock = Clock {
            seed: settings.seed,
            step: (first_step + progress.batch as u64) as u32,
            batch: progress.batch as u32,
            epoch: progress.epoch as u32,
            rows: rows(settings, &knobs, first_step, steps, settings.epochs as u64 * steps as u64),
        };
        backend.write_words(train.clock, &clock.words());
        // The test set is judged with the whole weight.
        let step = (progress.epoch * test.data.batches()) as u32;
        test.write_clock(backend, settings.seed, step, whole(&knobs));
    }

    /// The epoch's one synchronisation: losses, state and pictures come back, are judged and saved.
    fn finish_epoch(&mut self, started: Instant, watch: &mut dyn FnMut(Event)) -> Result<(EpochMetrics, bool, bool)> {
        let p = &self.programs;
        let terms = p.model.terms();
        let mut wanted = vec![p.test.data.losses];
        wanted.extend(p.pictures.tensors());
        let (snapshot, mut rest) = self.read_state(&wanted)?;
        let pictures = rest.split_off(1);
        let test_losses = rest.remove(0);
        self.refuse_divergence(&snapshot.losses, &snapshot.parameters)?;
        let epoch = self.progress.epoch + 1;
        refuse_test_divergence(&test_losses, terms, epoch)?;
        let (train, test) = (Means::of(&snapshot.losses, terms), Means::of(&test_losses, terms));
        let metrics = EpochMetrics { epoch, train, test, seconds: started.elapsed().as_secs_f64() };
        self.log.push(metrics.clone())?;
        let verdict = self.progress.early_stopping.update(epoch, metrics.get(&self.settings.monitor, terms));
        self.progress = Progress { epoch, batch: 0, early_stopping: self.progress.early_stopping.clone() };
        self.snapshot = Snapshot { batch: 0, ..snapshot };
        self.save_model(&self.folder.model())?;
        if verdict.is_best {
            self.save_model(&self.folder.best())?;
        }
        // Before the state, so that an epoch that counts as done has its pictures whenever the run is killed. But none
        // that fails takes anything of the run with it.
        let mut drawn = self.programs.pictures.save(&self.folder, epoch, &pictures);
        drawn.push(self.save_curves());
        self.save_state()?;
        drawn.iter().filter_map(|drawn| drawn.as_ref().err()).for_each(|problem| watch(Event::NotDrawn { problem }));
        Ok((metrics, verdict.is_best, verdict.stop))
    }

    fn save_curves(&self) -> Result<()> {
        let title = format!("{} on {}", self.settings.preset, self.data_name);
        let (model, steps) = (&self.programs.model, self.programs.train.batches());
        let schedules = schedules(&self.settings, &model.knobs(), steps, self.progress.epoch);
        pictures::save_curves(&self.folder, &title, model.terms(), self.log.rows(), schedules)
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
            model: self.settings.model.clone(),
            settings: self.settings.own.clone(),
            columns: self.columns.only(self.programs.model.entry().takes)?,
            features: self.features.clone(),
            vocabulary: self.vocabulary.clone(),
            spectrogram: self.spectrogram.clone(),
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
        let width = self.programs.train.losses.matrix()[1];
        self.refuse_divergence(&snapshot.losses[..width * batch], &snapshot.parameters)?;
        self.snapshot = Snapshot { batch, ..snapshot };
        self.progress.batch = batch;
        self.save_model(&self.folder.model())?;
        self.save_state()
    }

    /// Writes what follows from the state of the last epoch and is missing in the folder: the model and the curves.
    /// What was written. Errors: those of the file system.
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
}
