//! What the instruments look at: a model's training step on drawn pictures or numbers, the same on every device and in
//! every call.

use std::path::Path;
use std::sync::OnceLock;

use crate::arena::Arena;
use crate::backend::{Backend, Loaded};
use crate::data::features::Features;
use crate::data::ragged::Ragged;
use crate::data::sequences::Sequences;
use crate::data::table::{Columns, Kind, LABELS, Table};
use crate::data::text::vocabulary::{EOS, FIRST_WORD};
use crate::error::{Error, Result};
use crate::fusion::{Fusion, fuse};
use crate::inference::model_file;
use crate::kernels::clock::Clock;
use crate::models::{Knob, Model, presets};
use crate::program::Program;
use crate::schedule::{KnobSchedule, LrSchedule};
use crate::train::checkpoint::Checkpoint;
use crate::train::optimizer::OptimizerState;
use crate::train::programs::{record_step, write_initial};
use crate::train::resident::{Resident, Sizes};
use crate::train::rows::rows;
use crate::train::run_folder::{RunFolder, RunRecord};
use crate::train::settings::{LARGEST_SIZE, Settings};

/// Steps that can be replayed before the inputs must be written again: the batches of the drawn data.
pub const REPLAYS: usize = 8;

/// A recorded training step with everything it reads.
pub struct Subject {
    /// The preset's or the run's name.
    pub name: String,
    /// The preset's or the run's, with the batch size that was asked for.
    pub settings: Settings,
    /// The columns of the data that it trains on.
    pub columns: Columns,
    /// The memory of all that follows.
    pub arena: Arena,
    /// What the step trains, from its initial parameters.
    pub model: Box<dyn Model>,
    /// The optimiser's memory, zeros at first.
    pub optimizer: OptimizerState,
    /// A training step of one full batch.
    pub step: Program,
    /// The drawn examples on the device, and how the steps walk through them.
    pub data: Resident,
    /// Drawn when they are first written to a device: a plan needs none.
    drawn: OnceLock<Table>,
}

/// The settings behind a name, and the columns of the data: a preset, or the folder of a run. Errors: neither, with the
/// nearest preset.
pub fn settings(name: &str) -> Result<(Settings, Columns)> {
    let path = Path::new(name);
    if !path.exists() {
        let found = presets::find(name).map_err(|e| Error::Usage(format!("{e} There is no run folder {name}.")));
        let (_, preset) = found?;
        return Ok((preset.settings(), preset.columns()));
    }
    let record = RunRecord::read(&RunFolder::open(path)?)?;
    let file = model_file(path, false)?;
    let card = Checkpoint::read(&file)?.card(&file)?;
    Ok((record.settings, card.columns))
}

/// Refuses a `--batch-size` that no run may have. Errors: an [`Error::Usage`] with the range.
pub fn check_batch_size(batch_size: usize) -> Result<()> {
    match (1..=LARGEST_SIZE).contains(&batch_size) {
        true => Ok(()),
        false => Err(Error::Usage(format!("--batch-size is {batch_size}, but must be 1 to {LARGEST_SIZE}"))),
    }
}

impl Subject {
    /// The model of that name, with another batch size if one is given. Nothing is on a device yet. Errors: those of
    /// [`settings`] and of [`Subject::record`].
    pub fn open(name: &str, batch_size: Option<usize>) -> Result<Subject> {
        let (mut settings, columns) = settings(name)?;
        settings.batch_size = batch_size.unwrap_or(settings.batch_size);
        Subject::record(name, settings, columns)
    }

    /// The model of these settings for data of these columns. Errors: a batch size out of range, a model that does not
    /// fit them.
    pub fn record(name: &str, settings: Settings, columns: Columns) -> Result<Subject> {
        check_batch_size(settings.batch_size)?;
        let mut arena = Arena::new();
        let model = (settings.entry()?.open)(&mut arena, &settings.own, &columns)?;
        let optimizer = OptimizerState::new(&mut arena, settings.optimizer);
        let count = REPLAYS * settings.batch_size;
        let (batch_size, entries) = (settings.batch_size, drawn_entries(count, &columns));
        let sizes = Sizes { count, batch_size, entries, lengths: Vec::new() };
        let data = Resident::new(&mut arena, "train", &*model, &sizes, &columns, usize::MAX);
        let step = record_step(&mut arena, &*model, &optimizer, &settings, &data, data.batches.sizes[0]);
        Ok(Subject {
            name: name.into(),
            settings,
            columns,
            arena,
            model,
            optimizer,
            step,
            data,
            drawn: OnceLock::new(),
        })
    }

    /// The same with the step [fused](crate::fusion) as a device likes it.
    pub fn fused(mut self, fusion: Fusion) -> Subject {
        let first = self.data.buffers().into_iter().max().map_or(0, |last| last + 1);
        self.step = fuse(&mut self.arena, self.step, fusion, first);
        self
    }

    /// Loads the step and writes its inputs. Errors: no room on the device.
    pub fn load(&self, backend: &mut Backend) -> Result<Loaded> {
        let loaded = backend.load(&self.arena, &self.step)?;
        self.write_inputs(backend);
        Ok(loaded)
    }

    /// Puts everything that a step reads, and that [`REPLAYS`] of them change, back to the start of training: initial
    /// parameters, statistics and moments, examples in their order, the clock.
    pub fn write_inputs(&self, backend: &mut Backend) {
        write_initial(backend, &self.arena, &*self.model, &self.optimizer, self.settings.seed);
        let drawn = self.drawn.get_or_init(|| drawn(self.data.count, &self.columns));
        self.data.upload(backend, drawn);
        backend.write_words(self.data.order, &(0..drawn.count as u32).collect::<Vec<_>>());
        // As at the start of a run of so many steps, and without schedules, whose length that would be.
        let mut constant = self.settings.clone();
        constant.run.lr_schedule = LrSchedule::Constant;
        constant.run.warmup_epochs = 0.0;
        let knobs = self.model.knobs().into_iter().map(|knob| Knob { schedule: KnobSchedule::Constant, ..knob });
        let rows = rows(&constant, &knobs.collect::<Vec<_>>(), 0, REPLAYS, REPLAYS as u64);
        let clock = Clock { seed: self.settings.seed, step: 0, batch: 0, epoch: 0, rows };
        backend.write_words(self.data.clock, &clock.words());
    }
}

/// Drawn examples for these columns, no two alike: discs in place of pictures, waves in place of vectors, users who
/// choose neighbouring items, sentences of words that follow each other, melodies. Labels go round. Panics on columns
/// of none of these.
pub fn drawn(count: usize, columns: &Columns) -> Table {
    let table = match columns.modelled() {
        Some(Kind::Picture(shape)) => discs(count, shape),
        Some(Kind::Vector(width)) => waves(count, width),
        Some(Kind::Items(items)) => choices(count, items),
        Some(Kind::Tokens { vocabulary, longest }) => sentences(count, [vocabulary, longest]),
        Some(Kind::Steps { channels, longest }) => melodies(count, [channels, longest]),
        kind => panic!("there is nothing to draw in place of {kind:?}"),
    };
    match columns.label(LABELS) {
        Ok(classes) => table.with_labels((0..count).map(|n| (n % classes) as u8).collect(), classes),
        Err(_) => table,
    }
}

/// Number k of channel c of example n, in `[0,1)`.
fn part(n: usize, c: usize, k: usize) -> f32 {
    ((n * 7919 + c * 104_729 + k * 1_299_709) % 1009) as f32 / 1009.0
}

/// Discs of many sizes and grey levels on a gradient, each channel its own: smooth enough to be learned.
fn discs(count: usize, shape: [usize; 3]) -> Table {
    let [channels, height, width] = shape;
    let mut pixels = Vec::with_capacity(count * channels * height * width);
    for n in 0..count {
        for c in 0..channels {
            let part = |k: usize| part(n, c, k);
            let [y0, x0, radius] = [part(1), part(2), 0.1 + 0.3 * part(3)];
            for i in 0..height * width {
                let [y, x] = [(i / width) as f32 / height as f32, (i % width) as f32 / width as f32];
                let is_inside = (y - y0).powi(2) + (x - x0).powi(2) < radius * radius;
                pixels.push(if is_inside { 255.0 * (0.5 + 0.5 * part(4)) } else { 80.0 * x * part(5) } as u8);
            }
        }
    }
    Table::of_pictures(shape, pixels, None)
}

/// Waves of two phases and a height, of mean 0 and deviation 1 or so: three numbers decide all others.
fn waves(count: usize, width: usize) -> Table {
    let mut rows = Vec::with_capacity(count * width);
    for n in 0..count {
        let [first, second, height] = [part(n, 0, 1), part(n, 0, 2), 0.5 + part(n, 0, 3)];
        let turn = std::f32::consts::TAU;
        let value = |j: usize| height * ((turn * (first + 0.07 * j as f32)).sin() + (turn * (second * j as f32)).cos());
        rows.extend((0..width).map(value));
    }
    Table::of_numbers(rows, Features::unscaled((1..=width).map(|j| format!("x{j}")).collect()))
}

/// Items that a drawn user chooses, where there are as many.
const CHOSEN: usize = 40;

/// The entries of so many drawn users, the tokens or steps of so many drawn sentences or melodies; 0 where the columns
/// have none of them.
fn drawn_entries(count: usize, columns: &Columns) -> usize {
    match columns.modelled() {
        Some(Kind::Items(items)) => count * items.min(CHOSEN),
        Some(Kind::Tokens { longest, .. } | Kind::Steps { longest, .. }) => {
            (0..count).map(|n| drawn_length(n, count, longest)).sum()
        }
        _ => 0,
    }
}

/// Users who choose items at growing distances from one of their own: neighbours are liked together.
fn choices(count: usize, items: usize) -> Table {
    let chosen = items.min(CHOSEN);
    let row = |n: usize| {
        let first = (part(n, 0, 1) * items as f32) as usize;
        let steps = |k: usize| k * (items / chosen).min(1 + n % 5);
        (0..chosen).map(|k| ((first + steps(k)) % items) as u32).collect::<Vec<u32>>()
    };
    let rows: Vec<Vec<u32>> = (0..count).map(row).collect();
    Table::of_items(Ragged::new(rows.iter().map(|row| &row[..]), items), items)
}

/// Tokens or steps of drawn sentence or melody `n`, 1 to `longest`: the shortest come first, as in a data set.
fn drawn_length(n: usize, count: usize, longest: usize) -> usize {
    1 + n * longest / count
}

/// Sentences in which a word is followed by one of its neighbours. The ids below [`FIRST_WORD`] do not occur, but the
/// end.
fn sentences(count: usize, [vocabulary, longest]: [usize; 2]) -> Table {
    let words = vocabulary.saturating_sub(FIRST_WORD as usize).max(1);
    let row = |n: usize| {
        let first = (part(n, 0, 1) * words as f32) as usize;
        let word = |t: usize| FIRST_WORD + ((first + t * (1 + n % 5)) % words) as u32;
        let said = drawn_length(n, count, longest) - 1;
        (0..said).map(word).chain([EOS]).collect::<Vec<u32>>()
    };
    let rows: Vec<Vec<u32>> = (0..count).map(row).collect();
    Table::of_tokens(Ragged::new(rows.iter().map(|row| &row[..]), vocabulary), [vocabulary, longest])
}

/// Melodies of notes that are struck or not, in which each step repeats most of the one before: a walk up or down.
fn melodies(count: usize, [channels, longest]: [usize; 2]) -> Table {
    let row = |n: usize| {
        let first = (part(n, 0, 1) * channels as f32) as usize;
        let is_struck = |t: usize, c: usize| (c + t / 2 * (1 + n % 3) + first) % channels.min(12) < 2;
        let step = |t: usize| (0..channels).map(move |c| f32::from(is_struck(t, c)));
        (0..drawn_length(n, count, longest)).flat_map(step).collect::<Vec<f32>>()
    };
    let features = Features::unscaled((1..=channels).map(|c| format!("x{c}")).collect());
    Table::of_sequences(Sequences::of_rows((0..count).map(row).collect(), features), longest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Device, cpu::Cpu};

    /// The second round repeats the first bit for bit, and the parameters have moved in between.
    #[test]
    fn a_subject_starts_over() {
        let subject = Subject::open("mnist-mlp", Some(3)).unwrap();
        let mut backend = Device::Cpu(Cpu::Accelerated).backend();
        let step = subject.load(&mut backend).unwrap();
        let parameters = subject.arena.flat_parameters();
        let initial = backend.read_one(parameters).unwrap();
        let mut after = || {
            backend.run(&[(step, REPLAYS)]).unwrap();
            let after = backend.read_one(parameters).unwrap();
            subject.write_inputs(&mut backend);
            after
        };
        let first = after();
        assert!(first != initial && first.iter().all(|v| v.is_finite()));
        assert!(first == after());
    }

    #[test]
    fn pictures_are_drawn_for_a_device_alone_and_batches_have_a_range() {
        let subject = Subject::open("faces-mlp", Some(1 << 20)).unwrap();
        assert!(subject.drawn.get().is_none());
        let message = subject.load(&mut Device::Cpu(Cpu::Accelerated).backend()).unwrap_err().to_string();
        assert!(message.contains("no memory") && subject.drawn.get().is_none(), "{message}");
        for batch_size in [0, (1 << 20) + 1, usize::MAX] {
            let message = Subject::open("mnist-mlp", Some(batch_size)).err().unwrap().to_string();
            assert!(message.contains("--batch-size is") && message.contains("1 to 1048576"), "{message}");
        }
    }

    #[test]
    fn an_unknown_model_is_a_usage_error_with_the_nearest() {
        let message = Subject::open("mnist-mpl", None).err().unwrap().to_string();
        assert!(message.contains("did you mean `mnist-mlp`?") && message.contains("run folder"), "{message}");
    }
}
