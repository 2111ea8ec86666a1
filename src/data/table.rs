//! What a data set is made of: a table of columns of one kind each, by name.

use std::ops::Range;

pub use super::columns::{Columns, ITEMS, LABELS, PICTURES, STEPS, TEXT};
use super::features::Features;
pub use super::kind::Kind;
use super::ragged::Ragged;
use super::sequences::Sequences;

/// One column of a table: a value of its kind for each example.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// As in [`PICTURES`], [`LABELS`].
    pub name: String,
    /// What an example has here.
    pub kind: Kind,
    /// Those of all examples.
    pub values: Values,
}

/// What a column holds, in the form that the device is given it in.
#[derive(Debug, Clone, PartialEq)]
pub enum Values {
    /// N C H W bytes of pictures, row-major; N labels, each below their classes.
    Bytes(Vec<u8>),
    /// Vectors.
    Numbers {
        /// (N,F), row-major, on the scale that the features say.
        rows: Vec<f32>,
        /// F of them: what the numbers are called, and what they were before they were standardised.
        features: Features,
    },
    /// The items of each example; of a sentence its tokens, in their order.
    Ragged(Ragged),
    /// Sequences of numbers.
    Steps(Sequences),
}

impl Values {
    /// Bytes or numbers; examples where these have rows of different lengths.
    pub fn len(&self) -> usize {
        match self {
            Values::Bytes(bytes) => bytes.len(),
            Values::Numbers { rows, .. } => rows.len(),
            Values::Ragged(ragged) => ragged.count(),
            Values::Steps(sequences) => sequences.count(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops all but the first ones, and gives their memory back.
    pub(crate) fn truncate(&mut self, len: usize) {
        match self {
            Values::Bytes(bytes) => {
                bytes.truncate(len);
                bytes.shrink_to_fit();
            }
            Values::Numbers { rows, .. } => {
                rows.truncate(len);
                rows.shrink_to_fit();
            }
            Values::Ragged(ragged) => ragged.truncate(len),
            Values::Steps(sequences) => sequences.truncate(len),
        }
    }

    /// Moves these examples of `row` values to the front, in place; what follows is to be dropped.
    fn move_to_front(&mut self, examples: &[usize], row: usize) {
        let moves = examples.iter().enumerate().map(|(to, from)| (from * row..(from + 1) * row, to * row));
        match self {
            Values::Bytes(bytes) => moves.for_each(|(from, to)| bytes.copy_within(from, to)),
            Values::Numbers { rows, .. } => moves.for_each(|(from, to)| rows.copy_within(from, to)),
            Values::Ragged(ragged) => *ragged = ragged.chosen(examples),
            Values::Steps(sequences) => *sequences = sequences.chosen(examples),
        }
    }

    /// A copy of these examples of `row` values.
    fn copied(&self, examples: &[usize], row: usize) -> Values {
        match self {
            Values::Bytes(bytes) => Values::Bytes(chosen(bytes, examples, row)),
            Values::Numbers { rows, features } => {
                Values::Numbers { rows: chosen(rows, examples, row), features: features.clone() }
            }
            Values::Ragged(ragged) => Values::Ragged(ragged.chosen(examples)),
            Values::Steps(sequences) => Values::Steps(sequences.chosen(examples)),
        }
    }
}

/// A copy of these rows of `row` values.
fn chosen<T: Copy>(values: &[T], examples: &[usize], row: usize) -> Vec<T> {
    let mut copy = Vec::with_capacity(examples.len() * row);
    examples.iter().for_each(|&at| copy.extend_from_slice(&values[at * row..(at + 1) * row]));
    copy
}

impl Column {
    /// Pictures, or labels.
    pub fn of_bytes(name: &str, kind: Kind, bytes: Vec<u8>) -> Column {
        Column { name: name.into(), kind, values: Values::Bytes(bytes) }
    }

    /// Its bytes; none of a column of numbers, items, tokens or steps.
    pub fn bytes(&self) -> &[u8] {
        match &self.values {
            Values::Bytes(bytes) => bytes,
            Values::Numbers { .. } | Values::Ragged(_) | Values::Steps(_) => &[],
        }
    }

    /// Values of one example, as [`Values::len`] counts them. Panics on kinds that no data set has.
    fn row(&self) -> usize {
        match self.kind {
            Kind::Picture(_) | Kind::Vector(_) => self.kind.width(),
            Kind::Label(_) | Kind::Items(_) | Kind::Tokens { .. } | Kind::Steps { .. } => 1,
            kind => unreachable!("a data set has no {}", kind.name()),
        }
    }

    /// Drops all but these examples, which are in their order, in place.
    fn keep(&mut self, examples: &[usize]) {
        let row = self.row();
        self.values.move_to_front(examples, row);
        self.values.truncate(examples.len() * row);
    }
}

/// The examples of one split of a data set, column by column.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// N, at least 1, but 0 for training under [`Selection::All`](super::Selection::All).
    pub count: usize,
    /// Pictures before their labels.
    pub columns: Vec<Column>,
}

impl Table {
    /// Pictures of this (C,H,W), N C H W bytes; where there are labels N of them, and the classes that they are below.
    /// Panics where the bytes are not whole pictures, or their labels more or fewer.
    pub fn of_pictures(shape: [usize; 3], pixels: Vec<u8>, labels: Option<(Vec<u8>, usize)>) -> Table {
        let dims: usize = shape.iter().product();
        let count = pixels.len() / dims;
        assert!(pixels.len() == count * dims, "{} bytes are no pictures of {shape:?}", pixels.len());
        let pictures = Column::of_bytes(PICTURES, Kind::Picture(shape), pixels);
        let table = Table { count, columns: vec![pictures] };
        match labels {
            Some((labels, classes)) => table.with_labels(labels, classes),
            None => table,
        }
    }

    /// Vectors, (N,F) numbers of these F features; without labels. Panics where they are not whole rows.
    pub fn of_numbers(rows: Vec<f32>, features: Features) -> Table {
        let width = features.len();
        let count = rows.len() / width;
        assert!(rows.len() == count * width, "{} numbers are no rows of {width}", rows.len());
        let values = Values::Numbers { rows, features };
        Table { count, columns: vec![Column { name: PICTURES.into(), kind: Kind::Vector(width), values }] }
    }

    /// The items of each example, without labels.
    pub fn of_items(ragged: Ragged, items: usize) -> Table {
        let count = ragged.count();
        let column = Column { name: PICTURES.into(), kind: Kind::Items(items), values: Values::Ragged(ragged) };
        Table { count, columns: vec![column] }
    }

    /// Sentences, rows of the ids of a vocabulary of so many, each of `longest` at most. Panics on a longer one.
    pub fn of_tokens(ragged: Ragged, [vocabulary, longest]: [usize; 2]) -> Table {
        let count = ragged.count();
        assert!((0..count).all(|n| ragged.row(n).len() <= longest), "a row is longer than {longest}");
        let (kind, values) = (Kind::Tokens { vocabulary, longest }, Values::Ragged(ragged));
        Table { count, columns: vec![Column { name: TEXT.into(), kind, values }] }
    }

    /// Sequences of `longest` steps at most. Panics on a longer one.
    pub fn of_sequences(sequences: Sequences, longest: usize) -> Table {
        let count = sequences.count();
        assert!(sequences.counts().iter().all(|&steps| steps as usize <= longest), "a row is longer than {longest}");
        let kind = Kind::Steps { channels: sequences.features().len(), longest };
        Table { count, columns: vec![Column { name: STEPS.into(), kind, values: Values::Steps(sequences) }] }
    }

    /// With these labels, each below `classes`, in the place of its own. Panics where they are not one for each
    /// example.
    pub fn with_labels(mut self, labels: Vec<u8>, classes: usize) -> Table {
        assert!(labels.len() == self.count, "{} labels of {} examples", labels.len(), self.count);
        self.columns.retain(|column| column.name != LABELS);
        self.columns.push(Column::of_bytes(LABELS, Kind::Label(classes), labels));
        self
    }

    /// Its columns' kinds by name.
    pub fn columns(&self) -> Columns {
        Columns(self.columns.iter().map(|column| (column.name.clone(), column.kind)).collect())
    }

    /// The column of that name; `None` where there is none.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// (C,H,W) of its pictures; `None` where it has none.
    pub fn shape(&self) -> Option<[usize; 3]> {
        match self.column(PICTURES)?.kind {
            Kind::Picture(shape) => Some(shape),
            _ => None,
        }
    }

    /// The column of what is modelled: [`PICTURES`], [`TEXT`] or [`STEPS`]; `None` where it has none of them.
    fn modelled(&self) -> Option<&Column> {
        [PICTURES, TEXT, STEPS].into_iter().find_map(|name| self.column(name))
    }

    /// Values of an example: C H W of a picture, F of a vector, I of items, the longest of sentences, C times the
    /// longest of sequences; 0 where it has none of them.
    pub fn dims(&self) -> usize {
        self.modelled().map_or(0, |column| column.kind.width())
    }

    /// Its pictures, N C H W bytes; empty where it has none.
    pub fn pixels(&self) -> &[u8] {
        self.column(PICTURES).map_or(&[], Column::bytes)
    }

    /// Its labels (N); `None` where it has none.
    pub fn labels(&self) -> Option<&[u8]> {
        self.column(LABELS).map(Column::bytes)
    }

    /// What the numbers of its vectors or sequences are; `None` where it has none.
    pub fn features(&self) -> Option<&Features> {
        match &self.modelled()?.values {
            Values::Numbers { features, .. } => Some(features),
            Values::Steps(sequences) => Some(sequences.features()),
            Values::Bytes(_) | Values::Ragged(_) => None,
        }
    }

    /// The tokens of each sentence, the steps of each sequence; empty where the table has none.
    pub fn lengths(&self) -> Vec<usize> {
        match self.modelled() {
            Some(Column { values: Values::Ragged(ragged), kind: Kind::Tokens { .. }, .. }) => {
                (0..ragged.count()).map(|n| ragged.row(n).len()).collect()
            }
            Some(Column { values: Values::Steps(sequences), .. }) => {
                sequences.counts().iter().map(|&steps| steps as usize).collect()
            }
            _ => Vec::new(),
        }
    }

    /// E, items or tokens of all examples together, or the steps of all sequences; 0 where the table has none.
    pub fn entries(&self) -> usize {
        match self.modelled().map(|column| &column.values) {
            Some(Values::Ragged(ragged)) => ragged.entries().len(),
            Some(Values::Steps(sequences)) => sequences.numbers().len() / sequences.features().len(),
            _ => 0,
        }
    }

    /// These examples as the models take them: of pictures (rows, C H W) values in `[0,1]`, of vectors (rows, F), of
    /// items (rows, I) zeros and ones, of sentences (rows, longest) the bits of their ids, then of
    /// [`PAD`](super::text::vocabulary::PAD), of sequences (rows, longest*C), then NaN.
    pub fn values(&self, examples: Range<usize>) -> Vec<f32> {
        let Some(column) = self.modelled() else { return Vec::new() };
        let dims = column.kind.width();
        let range = examples.start * dims..examples.end * dims;
        match (&column.values, column.kind) {
            (Values::Bytes(bytes), _) => bytes[range].iter().map(|&byte| byte as f32 / 255.0).collect(),
            (Values::Numbers { rows, .. }, _) => rows[range].to_vec(),
            (Values::Ragged(ragged), Kind::Tokens { .. }) => ragged.padded(examples, dims),
            (Values::Ragged(ragged), _) => ragged.dense(examples),
            (Values::Steps(sequences), _) => sequences.padded(examples, dims / sequences.features().len()),
        }
    }

    /// The values of `n` examples at equal distances, so that of a set sorted by class there are some of each.
    pub fn spread(&self, n: usize) -> Vec<f32> {
        self.spread_indices(n).flat_map(|picture| self.values(picture..picture + 1)).collect()
    }

    /// Which examples [`spread`](Table::spread) takes.
    pub fn spread_indices(&self, n: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.count;
        (0..n).map(move |i| i * count / n)
    }

    /// A table of those that [`spread`](Table::spread) takes, of all where there are no more.
    pub fn spread_table(&self, n: usize) -> Table {
        let examples: Vec<usize> = self.spread_indices(n.min(self.count)).collect();
        let columns = self.columns.iter().map(|column| Column {
            name: column.name.clone(),
            kind: column.kind,
            values: column.values.copied(&examples, column.row()),
        });
        Table { count: examples.len(), columns: columns.collect() }
    }

    /// The first `n` examples, or all where there are fewer.
    pub fn truncated(mut self, n: usize) -> Table {
        self.count = self.count.min(n);
        for column in &mut self.columns {
            let values = self.count * column.row();
            column.values.truncate(values);
        }
        self
    }

    /// These examples alone, which are in their order: the rest goes, without a copy of what stays.
    pub(super) fn kept(mut self, examples: &[usize]) -> Table {
        self.columns.iter_mut().for_each(|column| column.keep(examples));
        Table { count: examples.len(), ..self }
    }

    /// A copy of these examples.
    pub(super) fn copied(&self, examples: &[usize]) -> Table {
        let copy = |column: &Column| {
            let values = column.values.copied(examples, column.row());
            Column { name: column.name.clone(), kind: column.kind, values }
        };
        Table { count: examples.len(), columns: self.columns.iter().map(copy).collect() }
    }
}

#[cfg(test)]
mod tests;
