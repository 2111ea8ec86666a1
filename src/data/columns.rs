//! The columns of a data set by name: what a model asks whether there is.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::kind::Kind;
use crate::error::{Error, Result};

/// The column of what is modelled: the pictures of every data set of pictures, the rows of a table of numbers, the
/// items that users chose.
pub const PICTURES: &str = "x";
/// The same column, where it holds what users chose.
pub const ITEMS: &str = PICTURES;
/// The column of what is modelled where that is sentences: rows of different lengths, which no picture's model takes.
pub const TEXT: &str = "text";
/// The same of sequences of numbers, likewise.
pub const STEPS: &str = "steps";
/// The labels' column, where a set has labels.
pub const LABELS: &str = "label";

/// The columns of a data set, by name, without their values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Columns(pub BTreeMap<String, Kind>);

impl Columns {
    /// Of pictures of this (C,H,W), with labels unless there are no classes.
    pub fn of_pictures(shape: [usize; 3], classes: usize) -> Columns {
        Columns::of(Kind::Picture(shape), classes)
    }

    /// Of what is modelled, sentences in the column [`TEXT`], sequences in [`STEPS`] and all else in [`PICTURES`], with
    /// labels unless there are no classes.
    pub fn of(x: Kind, classes: usize) -> Columns {
        let name = match x {
            Kind::Tokens { .. } => TEXT,
            Kind::Steps { .. } => STEPS,
            _ => PICTURES,
        };
        let labels = (classes > 0).then(|| (LABELS.to_string(), Kind::Label(classes)));
        Columns([(name.to_string(), x)].into_iter().chain(labels).collect())
    }

    /// The kind of what is modelled; `None` where there is nothing of it.
    pub fn modelled(&self) -> Option<Kind> {
        self.0.get(self.modelled_name()).copied()
    }

    /// The name of the column of what is modelled.
    pub fn modelled_name(&self) -> &'static str {
        let is_there = |name: &&&str| self.0.contains_key(**name);
        [PICTURES, TEXT, STEPS].iter().find(is_there).unwrap_or(&PICTURES)
    }

    /// The kind of a column. Errors: no such column.
    pub fn kind(&self, name: &str) -> Result<Kind> {
        self.0.get(name).copied().ok_or_else(|| self.missing(name, "values"))
    }

    /// The kind of a column of pictures or vectors: what a model of either takes. Errors: no such column.
    pub fn values(&self, name: &str) -> Result<Kind> {
        match self.0.get(name) {
            Some(&kind @ (Kind::Picture(_) | Kind::Vector(_))) => Ok(kind),
            _ => Err(self.missing(name, "pictures or vectors")),
        }
    }

    /// (C,H,W) of a column of pictures. Errors: no such column.
    pub fn picture(&self, name: &str) -> Result<[usize; 3]> {
        match self.0.get(name) {
            Some(&Kind::Picture(shape)) => Ok(shape),
            _ => Err(self.missing(name, "pictures")),
        }
    }

    /// I, the items of a column of choices. Errors: no such column.
    pub fn items(&self, name: &str) -> Result<usize> {
        match self.0.get(name) {
            Some(&Kind::Items(items)) => Ok(items),
            _ => Err(self.missing(name, "users' items")),
        }
    }

    /// V and the longest row of a column of sentences. Errors: no such column.
    pub fn tokens(&self, name: &str) -> Result<[usize; 2]> {
        match self.0.get(name) {
            Some(&Kind::Tokens { vocabulary, longest }) => Ok([vocabulary, longest]),
            _ => Err(self.missing(name, "sentences")),
        }
    }

    /// C and the longest row of a column of sequences. Errors: no such column.
    pub fn steps(&self, name: &str) -> Result<[usize; 2]> {
        match self.0.get(name) {
            Some(&Kind::Steps { channels, longest }) => Ok([channels, longest]),
            _ => Err(self.missing(name, "sequences")),
        }
    }

    /// The most steps of a row of sentences or sequences; 0 where there are neither.
    pub fn longest(&self) -> usize {
        match self.modelled() {
            Some(Kind::Tokens { longest, .. } | Kind::Steps { longest, .. }) => longest,
            _ => 0,
        }
    }

    /// K, the classes of a column of labels. Errors: no such column.
    pub fn label(&self, name: &str) -> Result<usize> {
        match self.0.get(name) {
            Some(&Kind::Label(classes)) => Ok(classes),
            _ => Err(self.missing(name, "labels")),
        }
    }

    /// Those of these names alone. Errors: a column that is not there.
    pub fn only(&self, names: &[&str]) -> Result<Columns> {
        let find = |name: &&str| match self.0.get(*name) {
            Some(&kind) => Ok((name.to_string(), kind)),
            None if *name == LABELS => Err(self.missing(name, "labels")),
            None if *name == TEXT => Err(self.missing(name, "sentences")),
            None if *name == STEPS => Err(self.missing(name, "sequences")),
            None => Err(self.missing(name, "values")),
        };
        names.iter().map(find).collect::<Result<_>>().map(Columns)
    }

    /// That a model needs `what` in the column of this name, and what is there instead.
    fn missing(&self, name: &str, what: &str) -> Error {
        let found = match (self.0.get(name), self.modelled()) {
            (Some(kind), _) => format!("has {kind} there"),
            (None, Some(kind)) if name != LABELS => format!("has {kind}"),
            (None, _) => "has none".into(),
        };
        Error::Usage(format!("the model needs {what} (column {name}), and the data set {found}"))
    }
}

impl fmt::Display for Columns {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let kinds: Vec<String> = self.0.values().map(Kind::to_string).collect();
        f.write_str(&kinds.join(" and "))
    }
}
