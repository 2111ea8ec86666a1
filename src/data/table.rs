//! What a data set is made of: a table of columns of one kind each, by name.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What one example has in a column, and what a model's views take and give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// (C,H,W), channels first: values 0 to 1, stored as bytes.
    Picture([usize; 3]),
    /// One of so many classes: a byte in a data set, K numbers of which one is 1 in a model. Labels that start at 1
    /// leave class 0 unused.
    Label(usize),
    /// So many numbers: of a view, and of no data set.
    Vector(usize),
    /// One-hot vectors of so many classes, one for each variable: of a view, and of no data set.
    Categorical {
        /// V
        variables: usize,
        /// K
        classes: usize,
    },
    /// Numbers of codes, 0 to K-1, at H x W places: of a view, and of no data set.
    Codes {
        /// (H,W)
        places: [usize; 2],
        /// K
        codes: usize,
    },
}

impl Kind {
    /// Numbers that a model sees of one example: C H W pixels, K classes, or the length.
    pub fn width(self) -> usize {
        match self {
            Kind::Picture(shape) => shape.iter().product(),
            Kind::Label(n) | Kind::Vector(n) => n,
            Kind::Categorical { variables, classes } => variables * classes,
            Kind::Codes { places: [h, w], .. } => h * w,
        }
    }

    /// What columns of this kind are called in lists: `picture`, `label`, `vector`, `categorical`, `codes`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Picture(_) => "picture",
            Kind::Label(_) => "label",
            Kind::Vector(_) => "vector",
            Kind::Categorical { .. } => "categorical",
            Kind::Codes { .. } => "codes",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Kind::Picture([c, h, w]) => write!(f, "pictures of {c}x{h}x{w} (channels, height, width)"),
            Kind::Label(classes) => write!(f, "labels of {classes} classes"),
            Kind::Vector(length) => write!(f, "vectors of {length}"),
            Kind::Categorical { variables, classes } => write!(f, "{variables} variables of {classes} classes"),
            Kind::Codes { places: [h, w], codes } => write!(f, "{h}x{w} codes of {codes}"),
        }
    }
}

/// The pictures' column in every data set of pictures.
pub const PICTURES: &str = "x";
/// The labels' column, where a set has labels.
pub const LABELS: &str = "label";

/// The columns of a data set, by name, without their values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Columns(pub std::collections::BTreeMap<String, Kind>);

impl Columns {
    /// Of pictures of this (C,H,W), with labels unless there are no classes.
    pub fn of_pictures(shape: [usize; 3], classes: usize) -> Columns {
        let labels = (classes > 0).then(|| (LABELS.to_string(), Kind::Label(classes)));
        Columns([(PICTURES.to_string(), Kind::Picture(shape))].into_iter().chain(labels).collect())
    }

    /// (C,H,W) of a column of pictures. Errors: no such column.
    pub fn picture(&self, name: &str) -> Result<[usize; 3]> {
        match self.0.get(name) {
            Some(&Kind::Picture(shape)) => Ok(shape),
            other => Err(missing(name, "pictures", other)),
        }
    }

    /// K, the classes of a column of labels. Errors: no such column.
    pub fn label(&self, name: &str) -> Result<usize> {
        match self.0.get(name) {
            Some(&Kind::Label(classes)) => Ok(classes),
            other => Err(missing(name, "labels", other)),
        }
    }

    /// Those of these names alone. Errors: a column that is not there.
    pub fn only(&self, names: &[&str]) -> Result<Columns> {
        let find = |name: &&str| match self.0.get(*name) {
            Some(&kind) => Ok((name.to_string(), kind)),
            None if *name == LABELS => Err(missing(name, "labels", None)),
            None => Err(missing(name, "values", None)),
        };
        names.iter().map(find).collect::<Result<_>>().map(Columns)
    }
}

fn missing(name: &str, what: &str, found: Option<&Kind>) -> Error {
    let found = found.map_or("has none".into(), |kind| format!("has {kind} there"));
    Error::Usage(format!("the model needs {what} (column {name}), and the data set {found}"))
}

/// One column of a table: a value of its kind for each example.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// As in [`PICTURES`], [`LABELS`].
    pub name: String,
    /// What an example has here.
    pub kind: Kind,
    /// N C H W bytes of pictures, row-major; N labels, each below their classes.
    pub bytes: Vec<u8>,
}

impl Column {
    /// Bytes of one example. Panics on kinds that no data set has.
    fn row(&self) -> usize {
        match self.kind {
            Kind::Picture(shape) => shape.iter().product(),
            Kind::Label(_) => 1,
            kind => unreachable!("a data set has no {}", kind.name()),
        }
    }

    /// Drops all but these examples, which are in their order, in place.
    fn keep(&mut self, examples: &[usize]) {
        let row = self.row();
        for (to, &from) in examples.iter().enumerate() {
            self.bytes.copy_within(from * row..(from + 1) * row, to * row);
        }
        self.bytes.truncate(examples.len() * row);
        self.bytes.shrink_to_fit();
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
        let pictures = Column { name: PICTURES.into(), kind: Kind::Picture(shape), bytes: pixels };
        let table = Table { count, columns: vec![pictures] };
        match labels {
            Some((labels, classes)) => table.with_labels(labels, classes),
            None => table,
        }
    }

    /// With these labels, each below `classes`, in the place of its own. Panics where they are not one for each
    /// example.
    pub fn with_labels(mut self, labels: Vec<u8>, classes: usize) -> Table {
        assert!(labels.len() == self.count, "{} labels of {} examples", labels.len(), self.count);
        self.columns.retain(|column| column.name != LABELS);
        self.columns.push(Column { name: LABELS.into(), kind: Kind::Label(classes), bytes: labels });
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

    /// Values a picture, C H W; 0 where it has none.
    pub fn dims(&self) -> usize {
        self.shape().map_or(0, |shape| shape.iter().product())
    }

    /// Its pictures, N C H W bytes; empty where it has none.
    pub fn pixels(&self) -> &[u8] {
        self.column(PICTURES).map_or(&[], |column| &column.bytes)
    }

    /// Its labels (N); `None` where it has none.
    pub fn labels(&self) -> Option<&[u8]> {
        self.column(LABELS).map(|column| &column.bytes[..])
    }

    /// These pictures as the models take them: (rows, C H W) values in `[0,1]`.
    pub fn values(&self, pictures: Range<usize>) -> Vec<f32> {
        let dims = self.dims();
        let bytes = &self.pixels()[pictures.start * dims..pictures.end * dims];
        bytes.iter().map(|&byte| byte as f32 / 255.0).collect()
    }

    /// The values of `n` pictures at equal distances, so that of a set sorted by class there are some of each.
    pub fn spread(&self, n: usize) -> Vec<f32> {
        self.spread_indices(n).flat_map(|picture| self.values(picture..picture + 1)).collect()
    }

    /// Which examples [`spread`](Table::spread) takes.
    pub fn spread_indices(&self, n: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.count;
        (0..n).map(move |i| i * count / n)
    }

    /// The first `n` examples, or all where there are fewer.
    pub fn truncated(mut self, n: usize) -> Table {
        self.count = self.count.min(n);
        for column in &mut self.columns {
            column.bytes.truncate(self.count * column.row());
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
            let row = column.row();
            let mut bytes = Vec::with_capacity(examples.len() * row);
            examples.iter().for_each(|&at| bytes.extend_from_slice(&column.bytes[at * row..(at + 1) * row]));
            Column { name: column.name.clone(), kind: column.kind, bytes }
        };
        Table { count: examples.len(), columns: self.columns.iter().map(copy).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_taken_with_their_labels() {
        let table = |pixels: Vec<u8>, labels| Table::of_pictures([1, 2, 2], pixels, Some((labels, 10)));
        let three = table((0..12).collect(), vec![7, 8, 9]);
        assert_eq!((three.count, three.dims(), three.labels()), (3, 4, Some(&[7, 8, 9][..])));
        assert_eq!(three.columns(), Columns::of_pictures([1, 2, 2], 10));
        assert_eq!(three.clone().truncated(2), table((0..8).collect(), vec![7, 8]));
        assert_eq!(three.clone().truncated(9), three);
        let first_and_last = table([0, 1, 2, 3, 8, 9, 10, 11].into(), vec![7, 9]);
        assert_eq!(three.copied(&[0, 2]), first_and_last);
        assert_eq!(three.clone().kept(&[0, 2]), first_and_last);
        assert_eq!(three.kept(&[]), table(vec![], vec![]));
    }

    #[test]
    fn values_are_those_of_the_pictures_asked_for() {
        let table = Table::of_pictures([1, 1, 2], vec![0, 255, 51, 102, 1, 2], None);
        assert_eq!((table.shape(), table.labels()), (Some([1, 1, 2]), None));
        assert_eq!(table.values(0..2), [0.0, 1.0, 0.2, 0.4]);
        assert_eq!(table.values(1..3), [0.2, 0.4, 1.0 / 255.0, 2.0 / 255.0]);
        assert_eq!(table.spread(2), table.values(0..2));
        assert_eq!(table.spread(3), table.values(0..3));
        let longer = Table::of_pictures([1, 1, 1], (0..9).collect(), None);
        assert_eq!(longer.spread(3), [0, 3, 6].map(|level| level as f32 / 255.0));
    }

    #[test]
    fn other_labels_take_the_place_of_a_tables_own() {
        let table = Table::of_pictures([1, 1, 1], vec![5, 6], Some((vec![0, 1], 2)));
        let other = table.clone().with_labels(vec![3, 3], 4);
        assert_eq!((other.labels(), other.columns.len()), (Some(&[3, 3][..]), 2));
        assert_eq!(other.columns().label(LABELS).unwrap(), 4);
        assert_eq!(other.pixels(), table.pixels());
    }
}
