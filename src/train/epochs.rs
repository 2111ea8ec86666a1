//! Training without files: a model, its data and its optimiser on a device, an epoch at a time or a few batches of one.
//! The host writes one clock an epoch, hands the device its replays, and reads once at the end.
//!
//! Everything here is async and asks nothing of a file system, so that a browser's tab trains by the same lines as the
//! program, whose [`Trainer`](super::trainer::Trainer) is this with a run folder around it.

use std::io;

use web_time::Instant;

use super::checkpoint::{Checkpoint, MODEL, ModelCard, write_model};
use super::early_stopping::EarlyStopping;
use super::fit;
use super::metrics::{EpochMetrics, Means};
use super::programs::Programs;
use super::progress::{PROGRESS, Progress, portable};
use super::rows::{rows, whole};
use super::settings::Settings;
use crate::backend::{Backend, Device, Loaded};
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::inference::stages::Stages;
use crate::kernels::clock::Clock;
use crate::models::Knob;
use crate::tensor::Tensor;

mod divergence;
mod snapshot;

use divergence::refuse_test_divergence;
use snapshot::Snapshot;

/// A model in training.
pub struct Epochs {
    /// What is trained, and how. A schedule or a weight that is changed here counts from the next
    /// [`train`](Epochs::train) on.
    pub settings: Settings,
    /// Where it is.
    pub backend: Backend,
    /// What runs there.
    pub programs: Programs,
    /// How far it has come.
    pub progress: Progress,
    /// The model's knobs, as they count from the next batch that is handed over.
    knobs: Vec<Knob>,
    /// The model's views, recorded in its arena when they are first asked for.
    stages: Option<Stages>,
    /// What a model file says of the data; settings and epochs are those of the moment when it is written.
    card: ModelCard,
    /// Everything training changes, as it was when the epoch under way began or was resumed: what a replay starts from.
    snapshot: Snapshot,
}

/// An epoch that is over.
pub struct Finished {
    /// Its numbers.
    pub metrics: EpochMetrics,
    /// Its monitored loss is lower than every one before.
    pub is_best: bool,
    /// Early stopping's patience ran out.
    pub out_of_patience: bool,
    /// The values of the epoch's pictures, in the order of
    /// [`EpochPictures::tensors`](super::pictures::EpochPictures::tensors).
    pub pictures: Vec<Vec<f32>>,
}

impl Epochs {
    /// Records, loads and initialises, or takes up the state that was read from the file of that name. The pictures are
    /// moved to the device, in buffers of at most `largest_part` bytes.
    ///
    /// Errors: data of no use for the settings, no room on the device, a state that does not fit.
    pub async fn new(
        settings: Settings,
        data: Dataset,
        device: &Device,
        largest_part: usize,
        state: Option<(&Checkpoint, &std::path::Path)>,
    ) -> Result<Epochs> {
        fit::check(&settings, &data)?;
        let mut backend = device.backend();
        let card = ModelCard {
            model: settings.model.clone(),
            settings: settings.own.clone(),
            columns: data.columns().only(settings.entry()?.takes)?,
            features: data.train.features().cloned(),
            vocabulary: data.vocabulary.clone(),
            spectrogram: data.spectrogram.clone(),
            dataset: data.name.clone(),
            epoch: 0,
        };
        let programs = Programs::with_largest_part(&mut backend, &settings, data, largest_part).await?;
        let progress = match state {
            Some((state, path)) => {
                let progress = Progress::of(state, path)?;
                Progress { early_stopping: progress.early_stopping.resume(&settings), ..progress }
            }
            None => Progress { epoch: 0, batch: 0, early_stopping: EarlyStopping::new(&settings), settings: None },
        };
        let begun = progress.epoch + usize::from(progress.batch > 0);
        if settings.epochs < begun {
            return Err(Error::Usage(format!(
                "--epochs is {}, but {begun} are trained of this run, the last of them perhaps in part: give at least \
                 {begun}",
                settings.epochs
            )));
        }
        let snapshot = match state {
            Some((state, path)) => Snapshot::read(state, &programs, path, progress.batch)?,
            None => Snapshot::initial(&programs, &settings)?,
        };
        let knobs = programs.model.knobs();
        let mut epochs = Epochs { settings, backend, programs, progress, knobs, stages: None, card, snapshot };
        epochs.restore();
        Ok(epochs)
    }

    /// The name of the data set.
    pub fn data_name(&self) -> &str {
        &self.card.dataset
    }

    /// Training batches of an epoch.
    pub fn batches(&self) -> usize {
        self.programs.train.batches()
    }

    /// The learning rate, and the model's knobs, which a run may change while it trains.
    pub fn knobs(&self) -> &[Knob] {
        &self.knobs
    }

    /// Sets the learning rate (`lr`) or a knob to a value that counts from the next batch on. Errors: there is no such
    /// knob, or the value is out of its range.
    pub fn set(&mut self, key: &str, value: f64) -> Result<()> {
        let settings = self.settings.with(&format!("{key} = {value:?}"))?;
        match self.knobs.iter_mut().find(|knob| knob.name == key) {
            Some(knob) => knob.value = value,
            None if key == "lr" => {}
            None => return Err(Error::Usage(format!("{key} cannot change while a model is trained"))),
        }
        self.settings = settings;
        Ok(())
    }

    /// What a view of the model makes of its inputs by name, each (N, width of its kind), with the parameters as they
    /// are now: its outputs, in its order. `seed` is of its noise. Errors: no such view, no room on the device. Panics
    /// where an input is missing, or not N whole rows.
    pub async fn view(&mut self, name: &str, inputs: &[(&str, &[f32])], seed: u64) -> Result<Vec<Vec<f32>>> {
        let Programs { arena, model, .. } = &mut self.programs;
        let view = model.find_view(name).ok_or_else(|| Error::Usage(format!("this model cannot {name}")))?;
        let stages = self.stages.get_or_insert_with(|| Stages::new(arena));
        stages.load(arena, &**model, &mut self.backend, &view).await?;
        stages.run(&mut self.backend, &view, inputs, seed).await
    }

    /// The terms of the batches of this epoch from `first` on, (batches, T+2): the terms in nats summed over a batch,
    /// the weight of those that have one, rows. Errors: those of the device.
    pub async fn losses(&mut self, first: usize) -> Result<Vec<f32>> {
        let losses = self.programs.train.losses;
        let width = losses.matrix()[1];
        let values = self.backend.read_async(&[losses]).await?.remove(0);
        Ok(values[first * width..self.progress.batch * width].to_vec())
    }

    /// The values of an epoch's pictures with the parameters as they are now. Errors: those of the device.
    pub async fn pictures(&mut self) -> Result<Vec<Vec<f32>>> {
        self.backend.run_async(&[self.programs.drawing()], &mut |_| true).await?;
        self.backend.read_async(&self.programs.pictures.tensors()).await
    }

    /// Hands the device at most `most` of the batches that are left of the epoch under way. `progress` hears how many
    /// of the epoch were handed over and returns false to stop there. Returns whether no batch of the epoch is left.
    /// Errors: those of the device.
    pub async fn train(&mut self, most: usize, progress: &mut dyn FnMut(usize) -> bool) -> Result<bool> {
        self.write_clocks();
        let first = self.progress.batch;
        let plan = limited(self.programs.training(first), 1 + most);
        // The first replay is the shuffle.
        let handed = self.backend.run_async(&plan, &mut |replays| progress(first + replays - 1)).await?;
        self.progress.batch = first + handed - 1;
        Ok(self.progress.batch == self.batches())
    }

    /// Evaluates the test set and draws the epoch's pictures; `progress` hears of each submission and returns false to
    /// stop. Returns whether all of it was done. Errors: those of the device.
    pub async fn evaluate(&mut self, progress: &mut dyn FnMut() -> bool) -> Result<bool> {
        let plan = self.programs.evaluation();
        let replays: usize = plan.iter().map(|(_, times)| times).sum();
        Ok(self.backend.run_async(&plan, &mut |_| progress()).await? == replays)
    }

    /// The epoch's one synchronisation: losses, state and pictures come back and are judged. `started` is when it
    /// began.
    ///
    /// Errors: [`Error::Diverged`], naming the first tensor that is not finite where it can be found; those of the
    /// device.
    pub async fn finish(&mut self, started: Instant) -> Result<Finished> {
        let p = &self.programs;
        let terms = p.model.terms();
        let mut wanted = vec![p.test.data.losses];
        wanted.extend(p.pictures.tensors());
        let (snapshot, mut rest) = self.read_state(&wanted).await?;
        let pictures = rest.split_off(1);
        let test_losses = rest.remove(0);
        self.refuse_divergence(&snapshot.losses, &snapshot.parameters).await?;
        let epoch = self.progress.epoch + 1;
        refuse_test_divergence(&test_losses, terms, epoch)?;
        let (train, test) = (Means::of(&snapshot.losses, terms), Means::of(&test_losses, terms));
        let metrics = EpochMetrics { epoch, train, test, seconds: started.elapsed().as_secs_f64() };
        let monitored = metrics.get(&self.settings.monitor, terms);
        let verdict = self.progress.early_stopping.update(epoch, monitored);
        (self.progress.epoch, self.progress.batch) = (epoch, 0);
        self.snapshot = Snapshot { batch: 0, ..snapshot };
        Ok(Finished { metrics, is_best: verdict.is_best, out_of_patience: verdict.stop, pictures })
    }

    /// Reads the state within an epoch, so that it can be saved. Errors: those of [`finish`](Epochs::finish).
    pub async fn pause(&mut self) -> Result<()> {
        let batch = self.progress.batch;
        let (snapshot, _) = self.read_state(&[]).await?;
        let width = self.programs.train.losses.matrix()[1];
        self.refuse_divergence(&snapshot.losses[..width * batch], &snapshot.parameters).await?;
        self.snapshot = Snapshot { batch, ..snapshot };
        Ok(())
    }

    /// Writes the model as it was when the last epoch ended or was paused, as `model.safetensors` has it. Errors: those
    /// of the writer.
    pub fn write_model(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let (settings, epoch) = (self.settings.own.clone(), self.progress.epoch);
        let card = ModelCard { settings, epoch, ..self.card.clone() };
        let card = serde_json::to_string(&card).expect("a card is plain data");
        write_model(out, &self.programs.arena, self.snapshot.model(), &[], (MODEL, &card))
    }

    /// Writes what a run goes on from, as `state.safetensors` has it: one file, so that one rename publishes all of it.
    /// Errors: those of the writer.
    pub fn write_state(&self, out: &mut dyn io::Write) -> io::Result<()> {
        let names = self.programs.optimizer.moments.iter().map(|(name, _)| *name);
        let moments = names.zip(self.snapshot.moments.iter().map(Vec::as_slice));
        let more: Vec<(&str, &[f32])> = moments.chain([("losses", self.snapshot.losses.as_slice())]).collect();
        let progress = Progress { settings: Some(portable(&self.settings)), ..self.progress.clone() }.to_text();
        write_model(out, &self.programs.arena, self.snapshot.model(), &more, (PROGRESS, &progress))
    }

    fn write_clocks(&mut self) {
        let Epochs { settings, programs, progress, backend, knobs, .. } = self;
        programs.train.turn(backend, settings.seed, progress.epoch);
        let (train, test) = (&programs.train, &programs.test);
        let steps = train.batches();
        let first_step = progress.epoch as u64 * steps as u64;
        let clock = Clock {
            seed: settings.seed,
            step: (first_step + progress.batch as u64) as u32,
            batch: progress.batch as u32,
            epoch: progress.epoch as u32,
            rows: rows(settings, knobs, first_step, steps, settings.epochs as u64 * steps as u64),
        };
        backend.write_words(train.clock, &clock.words());
        // The test set is judged with the whole weight.
        let step = (progress.epoch * test.data.batches()) as u32;
        test.write_clock(backend, settings.seed, step, whole(knobs));
    }

    /// Reads parameters, moments and losses, and `more`, in one synchronisation.
    async fn read_state(&mut self, more: &[Tensor]) -> Result<(Snapshot, Vec<Vec<f32>>)> {
        let p = &self.programs;
        let mut tensors = vec![p.arena.flat_parameters(), p.train.losses];
        tensors.extend(p.optimizer.moments.iter().map(|(_, t)| *t));
        tensors.extend(p.arena.flat_statistics());
        let own = tensors.len();
        tensors.extend(more);
        let mut values = self.backend.read_async(&tensors).await?;
        let more = values.split_off(own);
        let statistics = values.split_off(2 + p.optimizer.moments.len()).pop().unwrap_or_default();
        let moments = values.split_off(2);
        let [parameters, losses] = values.try_into().unwrap_or_else(|_| unreachable!("two tensors are left"));
        Ok((Snapshot { parameters, statistics, moments, losses, batch: 0 }, more))
    }

    /// Puts what the last epoch ended with, or a [pause](Epochs::pause), back on the device.
    pub fn restore(&mut self) {
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
}

/// The first `most` replays of a plan.
fn limited(mut plan: Vec<(Loaded, usize)>, most: usize) -> Vec<(Loaded, usize)> {
    let mut left = most;
    for (_, times) in &mut plan {
        *times = left.min(*times);
        left -= *times;
    }
    plan
}
