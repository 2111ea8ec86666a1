//! A data set on the device, and how an epoch walks through it.

use std::borrow::Cow;
use std::ops::Range;

use super::batches::{Batches, Size};
use crate::arena::Arena;
use crate::backend::{Backend, Loaded};
use crate::data::table::{Columns, Kind, Table, Values};
use crate::error::Result;
use crate::kernels::rows::Rows;
use crate::kernels::{gather, steps};
use crate::layers::Mode;
use crate::models::Model;
use crate::models::batch::{Augmentation, Batch, Order, Source};
use crate::program::Program;
use crate::tensor::Tensor;

/// Values of a column that are uploaded at once at least: bytes of pictures, numbers of vectors.
const SMALLEST_PIECE: usize = 1 << 24;

/// The sizes of a split.
pub(crate) struct Sizes {
    /// N, examples.
    pub count: usize,
    /// Examples of a batch.
    pub batch_size: usize,
    /// Items, tokens or steps of all.
    pub entries: usize,
    /// Tokens or steps of each, shortest first, where batches are to be of one length each.
    pub lengths: Vec<usize>,
}

impl Sizes {
    /// Of a table, in batches of that many.
    pub fn of(table: &Table, batch_size: usize) -> Sizes {
        Sizes { count: table.count, batch_size, entries: table.entries(), lengths: table.lengths() }
    }
}

/// The columns of a data set that a model takes, on the device, and how an epoch walks through them.
pub struct Resident {
    /// N, examples.
    pub count: usize,
    /// B, examples of a batch. The last batch of an epoch has the rest.
    pub batch_size: usize,
    /// By name. None of them is given.
    columns: Vec<(String, Source)>,
    /// Those of an epoch.
    pub(crate) batches: Batches,
    /// Where batches of several buckets are from.
    slots: Option<Tensor>,
    /// This epoch's order, indices as u32: (N), or a full batch's B for each batch.
    pub order: Tensor,
    /// Seed, step, batch, and the schedules' row of each batch of the epoch: a
    /// [`Clock`](crate::kernels::clock::Clock).
    pub clock: Tensor,
    /// (batches, T+2): the model's terms in nats, summed over the batch; the KL weight; rows of the batch.
    pub losses: Tensor,
}

impl Resident {
    /// Declares the columns that the model takes of a split of these sizes, pictures and vectors in parts of at most
    /// `largest_part` bytes. Panics where the columns lack one of them: the model was not opened for them.
    pub(crate) fn new(
        arena: &mut Arena,
        name: &str,
        model: &dyn Model,
        sizes: &Sizes,
        columns: &Columns,
        largest_part: usize,
    ) -> Resident {
        let &Sizes { count, batch_size, entries, ref lengths } = sizes;
        let taken = columns.only(model.entry().takes).unwrap_or_else(|e| panic!("{e}"));
        let longest = taken.longest();
        let batches = match &lengths[..] {
            [] => Batches::plain(count, batch_size, longest),
            lengths => Batches::of_lengths(lengths, batch_size),
        };
        let columns = taken.0.into_iter().map(|(column, kind)| {
            let source = declare(arena, &format!("{name}.{column}"), kind, [count, entries], largest_part);
            (column, source)
        });
        Resident {
            count,
            batch_size,
            columns: columns.collect(),
            slots: batches.slots(arena, &format!("{name}.slots")),
            order: batches.order(arena, &format!("{name}.order"), count),
            clock: batches.clock(arena, &format!("{name}.clock")),
            losses: arena.tensor(format!("{name}.losses"), &[batches.len(), model.terms().len() + 2]),
            batches,
        }
    }

    /// Batches of an epoch, the shorter last one included.
    pub fn batches(&self) -> usize {
        self.batches.len()
    }

    /// What writes the order of an epoch.
    pub(crate) fn record_order(&self, arena: &mut Arena, is_shuffled: bool) -> Program {
        self.batches.record_order(arena, [self.clock, self.order], self.slots, is_shuffled)
    }

    /// A program for each size of a batch. Of several buckets they share their buffers.
    pub(crate) fn programs(
        &self,
        arena: &mut Arena,
        mut record: impl FnMut(&mut Arena, Size) -> Program,
    ) -> Vec<Program> {
        let mut of_size = |&size: &Size| {
            if self.batches.is_parted() {
                arena.share();
            }
            record(arena, size)
        };
        let programs = self.batches.sizes.iter().map(&mut of_size).collect();
        arena.share_no_more();
        programs
    }

    /// A batch of that size, to train on or to evaluate.
    pub(crate) fn batch(&self, size: Size, mode: Mode, weight: Rows, augmentation: Augmentation) -> Batch {
        Batch {
            rows: size.rows,
            clock: self.clock,
            mode,
            weight,
            order: Some(Order { order: self.order, stride: self.batch_size, examples: self.count }),
            columns: self.columns.clone(),
            augmentation,
            longest: size.longest,
        }
    }

    /// Writes the columns. Panics where the table lacks one: the model was opened for it.
    pub(crate) fn upload(&self, backend: &mut Backend, table: &Table) {
        self.write_slots(backend);
        for (name, source) in &self.columns {
            let column = table.column(name).unwrap_or_else(|| panic!("the table has no column {name}"));
            if write_ragged(backend, source, &column.values) {
                continue;
            }
            let mut end = column.values.len();
            for (start, data) in pieces(source).into_iter().rev() {
                backend.write_words(data, &words(&column.values, start..end));
                end = start;
            }
        }
    }

    /// [`upload`](Resident::upload) that gives back the memory of what is uploaded, from the end on: a data set that
    /// fills half of the memory is never there twice.
    pub(crate) fn hand_over(&self, backend: &mut Backend, mut table: Table) {
        self.write_slots(backend);
        for (name, source) in &self.columns {
            let column = table.columns.iter_mut().find(|column| column.name == *name);
            let values = &mut column.unwrap_or_else(|| panic!("the table has no column {name}")).values;
            if write_ragged(backend, source, values) {
                continue;
            }
            let in_word = in_word(values);
            // Whole words; few enough pieces for allocators that shrink by copying.
            let most = (values.len() / 16).max(SMALLEST_PIECE).next_multiple_of(in_word);
            for (start, data) in pieces(source).into_iter().rev() {
                while values.len() > start {
                    let first = (values.len() - start - 1) / most * most / in_word;
                    let piece = words(values, start + in_word * first..values.len());
                    let view = Tensor::new(data.buffer, data.offset + first, &[piece.len()]);
                    backend.write_words(view, &piece);
                    values.truncate(start + in_word * first);
                }
            }
        }
    }

    /// Puts the batches into the order of an epoch of a run of that seed, before its plan is made.
    pub(crate) fn turn(&mut self, backend: &mut Backend, seed: u64, epoch: usize) {
        self.batches.shuffle(seed, epoch);
        self.write_slots(backend);
    }

    fn write_slots(&self, backend: &mut Backend) {
        if let Some(slots) = self.slots {
            backend.write_words(slots, &self.batches.slot_words());
        }
    }

    /// Indices of its buffers in the arena.
    pub fn buffers(&self) -> Vec<usize> {
        let columns = self.columns.iter().flat_map(|(_, source)| tensors(source));
        let others = [self.order, self.clock, self.losses].into_iter().chain(self.slots);
        columns.chain(others).map(|tensor| tensor.buffer).collect()
    }

    /// Buffers that the column of the most lies in.
    pub fn parts(&self) -> usize {
        self.columns.iter().map(|(_, source)| pieces(source).len()).max().unwrap_or(0)
    }
}

/// Writes a column whose rows have different lengths; false of another one.
fn write_ragged(backend: &mut Backend, source: &Source, values: &Values) -> bool {
    let mut write = |tensor: Tensor, words: &[u32], what: &str| {
        assert!(tensor.len() == words.len().max(1), "{tensor:?} is no room for {} {what}", words.len());
        if !words.is_empty() {
            backend.write_words(tensor, words);
        }
    };
    match (values, source) {
        (Values::Ragged(ragged), &(Source::Items { starts, entries, .. } | Source::Tokens { starts, entries, .. })) => {
            write(starts, ragged.starts(), "starts");
            write(entries, ragged.entries(), "entries");
        }
        (Values::Steps(sequences), Source::Steps(stored)) => {
            write(stored.starts, sequences.starts(), "starts");
            write(stored.counts, sequences.counts(), "counts");
            write(stored.numbers, bytemuck::cast_slice(sequences.numbers()), "numbers");
        }
        (Values::Ragged(_) | Values::Steps(_), _) => panic!("{source:?} is no room for rows of different lengths"),
        (Values::Bytes(_) | Values::Numbers { .. }, _) => return false,
    }
    true
}

/// The buffers of a column.
fn tensors(source: &Source) -> Vec<Tensor> {
    match source {
        Source::Items { starts, entries, .. } | Source::Tokens { starts, entries, .. } => vec![*starts, *entries],
        Source::Steps(steps::Stored { starts, counts, numbers }) => vec![*starts, *counts, *numbers],
        _ => pieces(source).into_iter().map(|(_, data)| data).collect(),
    }
}

/// Room for a column of `count` examples. Panics on kinds that no data set has.
fn declare(arena: &mut Arena, name: &str, kind: Kind, [count, entries]: [usize; 2], largest_part: usize) -> Source {
    match kind {
        Kind::Picture(shape) => {
            Source::Pictures { parts: gather::parts(arena, name, [count, kind.width()], largest_part), shape }
        }
        Kind::Vector(width) => {
            Source::Vectors { parts: gather::parts(arena, name, [count, 4 * width], largest_part), width }
        }
        Kind::Items(items) => Source::Items {
            starts: arena.tensor(format!("{name}.starts"), &[count + 1]),
            entries: arena.tensor(format!("{name}.entries"), &[entries.max(1)]),
            items,
        },
        Kind::Tokens { vocabulary, .. } => Source::Tokens {
            starts: arena.tensor(format!("{name}.starts"), &[count + 1]),
            entries: arena.tensor(format!("{name}.entries"), &[entries.max(1)]),
            vocabulary,
        },
        Kind::Steps { channels, .. } => Source::Steps(steps::Stored {
            starts: arena.tensor(format!("{name}.starts"), &[count]),
            counts: arena.tensor(format!("{name}.counts"), &[count]),
            numbers: arena.tensor(format!("{name}.numbers"), &[entries, channels]),
        }),
        Kind::Label(classes) => Source::Labels { labels: arena.tensor(name, &[count.div_ceil(4)]), classes },
        kind => unreachable!("a data set has no {}", kind.name()),
    }
}

/// The buffers of a column's values, each with the place of its first one among them; none of items, tokens and
/// steps, which lie in one beside where they start.
fn pieces(source: &Source) -> Vec<(usize, Tensor)> {
    let of = |parts: &[gather::Part], width: usize| parts.iter().map(|part| (part.first * width, part.data)).collect();
    match source {
        Source::Pictures { parts, shape } => of(parts, shape.iter().product()),
        Source::Vectors { parts, width } => of(parts, *width),
        Source::Labels { labels, .. } => vec![(0, *labels)],
        Source::Items { .. } | Source::Tokens { .. } | Source::Steps(_) => Vec::new(),
        Source::Given(_) => unreachable!("a data set's columns lie on the device"),
    }
}

/// How many values of a column lie in a word of the device.
fn in_word(values: &Values) -> usize {
    match values {
        Values::Bytes(_) => 4,
        Values::Numbers { .. } | Values::Ragged(_) | Values::Steps(_) => 1,
    }
}

/// Some of a column's values as the device has them.
fn words(values: &Values, range: Range<usize>) -> Cow<'_, [u32]> {
    match values {
        Values::Bytes(bytes) => gather::pack(&bytes[range]),
        Values::Numbers { rows, .. } => bytemuck::cast_slice(&rows[range]).into(),
        Values::Ragged(_) | Values::Steps(_) => unreachable!("ragged rows are written whole"),
    }
}

/// A program for each size of a data set's batches.
pub(crate) struct Walk(pub Vec<Loaded>);

impl Walk {
    /// Loads the programs, in their order. Errors: no room on the device.
    pub async fn load(arena: &Arena, backend: &mut Backend, programs: &[Program]) -> Result<Walk> {
        let mut loaded = Vec::new();
        for program in programs {
            loaded.push(backend.load_async(arena, program).await?);
        }
        Ok(Walk(loaded))
    }

    /// Replays for the batches from `first` on.
    pub fn plan(&self, batches: &Batches, first: usize) -> Vec<(Loaded, usize)> {
        batches.plan(first).into_iter().map(|(size, times)| (self.0[size], times)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Device, cpu::Cpu};
    use crate::data::table::TEXT;
    use crate::instruments::subject::drawn;
    use crate::kernels::clock::Clock;
    use crate::program::Recorder;

    /// Uploaded or handed over: the second batch's sentences are those of its rows.
    #[test]
    fn sentences_are_resident_as_they_are_in_the_table() {
        let kind = Kind::Tokens { vocabulary: 11, longest: 5 };
        let table = drawn(9, &Columns::of(kind, 0));
        let mut arena = Arena::new();
        let source = declare(&mut arena, "train.text", kind, [9, table.entries()], usize::MAX);
        let data = Resident {
            count: 9,
            batch_size: 4,
            columns: vec![(TEXT.into(), source)],
            batches: Batches::plain(9, 4, 5),
            slots: None,
            order: arena.tensor("order", &[9]),
            clock: Clock::tensor(&mut arena, "clock", 3),
            losses: arena.tensor("losses", &[3, 2]),
        };
        let mut r = Recorder::new(&mut arena);
        let batch = data.batch(data.batches.sizes[0], Mode::Evaluate, Rows::Scale(1.0), Augmentation::default());
        let tokens = batch.tokens(&mut r, TEXT);
        let program = r.finish("tokens");
        assert_eq!((data.parts(), data.buffers().len()), (0, 5));

        let Values::Ragged(ragged) = table.columns[0].values.clone() else { panic!("{table:?}") };
        let expected: Vec<u32> = (0..5)
            .flat_map(|t| (4..8).map(move |n| (n, t)))
            .map(|(n, t)| *ragged.row(n).get(t).unwrap_or(&0))
            .collect();
        assert!(expected.contains(&0) && expected.iter().all(|&id| id < 11));
        for is_handed_over in [false, true] {
            let mut backend = Device::Cpu(Cpu::Reference).backend();
            let loaded = backend.load(&arena, &program).unwrap();
            match is_handed_over {
                false => data.upload(&mut backend, &table),
                true => data.hand_over(&mut backend, table.clone()),
            }
            backend.write_words(data.order, &(0..9).collect::<Vec<u32>>());
            let clock = Clock { seed: 1, step: 0, batch: 1, epoch: 0, rows: vec![Default::default(); 3] };
            backend.write_words(data.clock, &clock.words());
            backend.run(&[(loaded, 1)]).unwrap();
            let ids: Vec<u32> = backend.read_one(tokens.ids).unwrap().iter().map(|id| id.to_bits()).collect();
            assert_eq!(ids, expected);
        }
    }
}
