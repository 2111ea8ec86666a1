//! The training loop of the program: epochs, and the files of a run folder after each of them.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use web_time::Instant;

use super::checkpoint::Checkpoint;
use super::drawing;
use super::epochs::{Epochs, Finished};
use super::metrics::{EpochMetrics, MetricsLog};
use super::rows::schedules;
use super::run_folder::RunFolder;
use super::settings::Settings;
use crate::backend::{Counters, Device};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::files::write_atomic_by;

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
    epochs: Epochs,
    folder: RunFolder,
    log: MetricsLog,
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
        let path = folder.state();
        let state = if resume && path.exists() { Some(Checkpoint::read(&path)?) } else { None };
        let state = state.as_ref().map(|state| (state, path.as_path()));
        let epochs = pollster::block_on(Epochs::new(settings, data, device, largest_part, state))?;
        let log = MetricsLog::open(folder.metrics(), epochs.programs.model.terms(), epochs.progress.epoch)?;
        Ok(Trainer { epochs, folder, log })
    }

    /// Kernels that one training step runs.
    pub fn dispatches_a_step(&self) -> usize {
        self.epochs.programs.dispatches_a_step()
    }

    /// Buffers that the training pictures and the test pictures lie in: one each, unless they are more than the device
    /// binds.
    pub fn data_parts(&self) -> [usize; 2] {
        [self.epochs.programs.train.parts(), self.epochs.programs.test.data.parts()]
    }

    /// What the user should know of the pictures that are drawn: a line where they are fewer than usual.
    pub fn note(&self) -> Option<String> {
        let test = self.epochs.programs.test.data.count;
        self.epochs.programs.pictures.layout.note(test)
    }

    /// Epochs already trained.
    pub fn epochs_done(&self) -> usize {
        self.epochs.progress.epoch
    }

    /// Training batches of an epoch.
    pub fn steps_an_epoch(&self) -> usize {
        self.epochs.batches()
    }

    /// Trainable numbers of the model.
    pub fn parameters(&self) -> usize {
        self.epochs.programs.arena.parameter_count()
    }

    /// What the backend did in this process, resumed epochs not counted.
    pub fn counters(&self) -> Counters {
        self.epochs.backend.counters()
    }

    /// Trains until the epochs are done, patience runs out or `stop` is set, which is looked at after each event but
    /// the last epoch's. A batch's replay is never cut in two.
    ///
    /// Errors: [`Error::Diverged`], naming the first tensor that is not finite where it can be found; a device that is
    /// lost; files that cannot be written.
    pub fn train(&mut self, stop: &AtomicBool, watch: &mut dyn FnMut(Event)) -> Result<Ending> {
        let goes_on = || !stop.load(Ordering::Relaxed);
        while self.epochs.progress.epoch < self.epochs.settings.epochs {
            let started = Instant::now();
            let (epoch, total) = (self.epochs.progress.epoch + 1, self.epochs.batches());
            let mut handed = |done| {
                watch(Event::Batches { epoch, done, total });
                goes_on()
            };
            let is_trained = pollster::block_on(self.epochs.train(total, &mut handed))?;
            // Of an epoch that is trained there is only the evaluation left to do, for whoever goes on from here.
            let is_evaluated = is_trained
                && pollster::block_on(self.epochs.evaluate(&mut || {
                    watch(Event::Evaluation);
                    goes_on()
                }))?;
            if !is_evaluated {
                self.save_interrupted()?;
                return Ok(Ending::Interrupted);
            }
            let finished = pollster::block_on(self.epochs.finish(started))?;
            self.save_epoch(&finished, watch)?;
            watch(Event::Epoch { metrics: &finished.metrics, is_best: finished.is_best });
            if finished.out_of_patience {
                return Ok(Ending::Stopped);
            }
            // After the last epoch there is nothing to go on with.
            if !goes_on() && epoch < self.epochs.settings.epochs {
                return Ok(Ending::Interrupted);
            }
        }
        Ok(Ending::Finished)
    }

    /// The files of an epoch.
    fn save_epoch(&mut self, finished: &Finished, watch: &mut dyn FnMut(Event)) -> Result<()> {
        self.log.push(finished.metrics.clone())?;
        self.save_model(&self.folder.model())?;
        if finished.is_best {
            self.save_model(&self.folder.best())?;
        }
        // Before the state, so that an epoch that counts as done has its pictures whenever the run is killed. But none
        // that fails takes anything of the run with it.
        let (epoch, pictures) = (finished.metrics.epoch, &self.epochs.programs.pictures);
        let mut drawn = drawing::save_pictures(pictures, &self.folder, epoch, &finished.pictures);
        drawn.push(self.save_curves());
        self.save_state()?;
        drawn.iter().filter_map(|drawn| drawn.as_ref().err()).for_each(|problem| watch(Event::NotDrawn { problem }));
        Ok(())
    }

    fn save_curves(&self) -> Result<()> {
        let Epochs { settings, programs, progress, .. } = &self.epochs;
        let title = format!("{} on {}", settings.preset, self.epochs.data_name());
        let schedules = schedules(settings, &programs.model.knobs(), self.epochs.batches(), progress.epoch);
        drawing::save_curves(&self.folder, &title, programs.model.terms(), self.log.rows(), schedules)
    }

    fn save_model(&self, path: &Path) -> Result<()> {
        write_atomic_by(path, |file| self.epochs.write_model(file))
    }

    fn save_state(&self) -> Result<()> {
        write_atomic_by(&self.folder.state(), |file| self.epochs.write_state(file))
    }

    fn save_interrupted(&mut self) -> Result<()> {
        pollster::block_on(self.epochs.pause())?;
        self.save_model(&self.folder.model())?;
        self.save_state()
    }

    /// Writes what follows from the state of the last epoch and is missing in the folder: the model and the curves.
    /// What was written. Errors: those of the file system.
    pub fn write_missing(&self) -> Result<Vec<PathBuf>> {
        let [model, curves] = [self.folder.model(), self.folder.curves()];
        let mut written = Vec::new();
        if self.epochs.progress.epoch > 0 && !model.exists() {
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
