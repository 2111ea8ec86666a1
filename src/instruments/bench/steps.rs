//! Training steps as a run takes them: the data set on the device in this epoch's order, full batches one after the
//! other, one wait at the end of a window.

use std::sync::atomic::{AtomicBool, Ordering};

use super::row::Row;
use super::windows::Spread;
use super::{Bench, Item};
use crate::backend::{Backend, Device, Loaded};
use crate::data::Dataset;
use crate::data::table::Columns;
use crate::error::{Error, Result};
use crate::files::cache_folder;
use crate::fusion::Fusion;
use crate::kernels::clock::Clock;
use crate::tensor::Tensor;
use crate::train::metrics::Means;
use crate::train::programs::{Programs, training_step, write_initial};
use crate::train::rows::rows;
use crate::train::run_folder::RunFolder;
use crate::train::settings::Settings;
use crate::train::trainer::{Event, Trainer};
use crate::tuning::{self, How};

/// Steps of the end of the last window whose mean loss is reported.
const JUDGED: usize = 100;

/// A training run without its host side: no metrics, checkpoints or pictures.
pub struct Steps {
    settings: Settings,
    backend: Backend,
    programs: Programs,
    shuffle: Loaded,
    step: Loaded,
    /// Full batches of an epoch.
    batches: usize,
    /// Steps taken since the start.
    taken: usize,
}

impl Steps {
    /// Errors: a batch larger than the data, no room on the device.
    pub fn new(device: &Device, settings: &Settings, data: &Dataset) -> Result<Steps> {
        let (batch, count) = (settings.batch_size, data.train.count);
        if batch == 0 || batch > count {
            return Err(Error::Usage(format!(
                "a batch of {batch} cannot be taken from {count} pictures of {}",
                data.name
            )));
        }
        let mut backend = device.backend();
        let programs = Programs::new(&mut backend, settings, data.clone())?;
        write_initial(&mut backend, &programs.arena, &*programs.model, &programs.optimizer, settings.seed);
        let [(shuffle, _), (step, batches), ..] = programs.training(0)[..] else {
            unreachable!("an epoch is an order and at least one full batch");
        };
        Ok(Steps { settings: settings.clone(), backend, programs, shuffle, step, batches, taken: 0 })
    }

    /// Takes `n` steps and waits for the device.
    pub fn take(&mut self, n: usize) -> Result<()> {
        let mut left = n;
        while left > 0 {
            let batch = self.taken % self.batches;
            if batch == 0 {
                self.begin_epoch();
                self.backend.run(&[(self.shuffle, 1)])?;
            }
            let replays = left.min(self.batches - batch);
            self.backend.run(&[(self.step, replays)])?;
            self.taken += replays;
            left -= replays;
        }
        // A word is read to wait for the device.
        let losses = self.programs.train.losses;
        self.backend.read_one(Tensor::new(losses.buffer, losses.offset, &[1])).map(|_| ())
    }

    fn begin_epoch(&mut self) {
        let batches = self.programs.train.batches();
        let total = (self.settings.epochs * batches) as u64;
        let rows = rows(&self.settings, &self.programs.model.knobs(), self.taken as u64, batches, total);
        let (step, epoch) = (self.taken as u32, (self.taken / self.batches) as u32);
        let clock = Clock { seed: self.settings.seed, step, batch: 0, epoch, rows };
        self.backend.write_words(self.programs.train.clock, &clock.words());
    }

    /// Mean loss of the last steps taken in this epoch, in nats a picture.
    pub fn loss(&mut self) -> Result<f64> {
        let end = (self.taken + self.batches - 1) % self.batches + 1;
        let losses = self.backend.read_one(self.programs.train.losses)?;
        let terms = self.programs.model.terms();
        let width = terms.len() + 2;
        Ok(Means::of(&losses[width * end.saturating_sub(JUDGED)..width * end], terms).loss)
    }

    /// Dispatches so far, and the host's seconds to record and submit them.
    fn recorded(&self) -> [f64; 2] {
        let counters = self.backend.counters();
        [counters.dispatches as f64, counters.recording.as_secs_f64()]
    }
}

/// The steps of each model at each batch size that the data allow.
pub fn items<'a>(bench: &'a Bench, models: &[Settings], batches: &[usize], data: &'a Dataset) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    for settings in models {
        for &batch_size in batches {
            let mut settings = settings.clone();
            settings.batch_size = batch_size;
            let label = format!("{}, batch {batch_size}", settings.preset);
            items.push(Item::new(label, move || measure(bench, &settings, data, &settings.preset)));
        }
    }
    items
}

/// Training until the test loss is `target`.
pub fn to_loss_item<'a>(bench: &'a Bench, settings: &'a Settings, data: &'a Dataset, target: f64) -> Item<'a> {
    Item::new(format!("{} to a test loss of {target}", settings.preset), move || to_loss(bench, settings, data, target))
}

/// Gives a GPU the shaders that it is fastest with for this step, as `elbo tune` and every `train` after it do.
fn tune(device: &Device, settings: &Settings, columns: &Columns) -> Result<()> {
    let Device::Gpu(gpu) = device else { return Ok(()) };
    let how = How { caches: cache_folder(), ..How::default() };
    tuning::tune(gpu, &training_step(settings, columns, Fusion::of(device))?, &how, &mut |_, _, _| {})?;
    Ok(())
}

/// Measures the steps of a model: their time, what they consist of, the loss they come to.
pub(super) fn measure(bench: &Bench, settings: &Settings, data: &Dataset, case: &str) -> Result<Vec<Row>> {
    tune(&bench.device, settings, &data.columns())?;
    let mut steps = Steps::new(&bench.device, settings, data)?;
    let mut recording = Vec::new();
    let time = bench.windows.measure(&mut |n| {
        let before = steps.recorded();
        steps.take(n)?;
        let after = steps.recorded();
        recording.push((after[1] - before[1]) / (after[0] - before[0]));
        Ok::<(), Error>(())
    })?;
    let note = bench.note(data);
    let row = |metric: &str, spread: Spread| bench.origin.row(case, Some(settings.batch_size), metric, spread, &note);
    let mut rows = vec![
        row("step", time),
        row("loss", Spread::single(steps.loss()?)),
        row("dispatches", Spread::single(steps.programs.dispatches_a_step() as f64)),
        row("arena", Spread::single(steps.programs.arena.bytes() as f64)),
    ];
    // The CPU device records nothing.
    if steps.backend.counters().submits > 0 {
        rows.push(row("recording", Spread::of(&recording[recording.len() - bench.windows.count..])));
    }
    Ok(rows)
}

/// Trains until the test loss is `target` or less, for at most `epochs`: the time that took, and how often the host
/// waited.
fn to_loss(bench: &Bench, settings: &Settings, data: &Dataset, target: f64) -> Result<Vec<Row>> {
    let mut settings = settings.clone();
    settings.samples = 0;
    tune(&bench.device, &settings, &data.columns())?;
    let folder = tempfile::tempdir().map_err(Error::io("create a folder in", std::env::temp_dir()))?;
    let run = RunFolder::create(folder.path())?;
    let mut trainer = Trainer::new(settings.clone(), data.clone(), &bench.device, run, false)?;
    let stop = AtomicBool::new(false);
    let (mut seconds, mut epochs, mut loss) = (0.0, 0, f64::INFINITY);
    trainer.train(&stop, &mut |event| {
        if let Event::Epoch { metrics, .. } = event {
            seconds += metrics.seconds;
            (epochs, loss) = (metrics.epoch, metrics.test.loss);
            stop.store(loss <= target, Ordering::Relaxed);
        }
    })?;
    if loss > target {
        return Err(Error::Failed(format!(
            "the test loss is {loss:.2} after {epochs} epochs and has not reached {target}"
        )));
    }
    let note = format!("{}; test loss {loss:.2} <= {target} after {epochs} epochs", bench.note(data));
    let row = |metric: &str, value: f64| {
        bench.origin.row(&settings.preset, Some(settings.batch_size), metric, Spread::single(value), &note)
    };
    let syncs = trainer.counters().synchronisations as f64 / epochs as f64;
    Ok(vec![row("time_to_loss", seconds), row("syncs", syncs)])
}
