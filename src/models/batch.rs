//! The batch that a model asks for its columns. Each column is gathered from the resident data when it is asked for, so
//! one that the model does not use costs nothing.

use crate::kernels::gather::Part;
use crate::kernels::rows::Rows;
use crate::kernels::{augment, binarise, gather, one_hot, ragged, steps, tokens};
use crate::layers::Mode;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// Where a column's values are.
#[derive(Clone, Debug)]
pub enum Source {
    /// A data set's pictures of this (C,H,W), in parts.
    Pictures {
        /// In the order of the data set.
        parts: Vec<Part>,
        /// (C,H,W)
        shape: [usize; 3],
    },
    /// A data set's vectors of this length, a number a word, in parts.
    Vectors {
        /// In the order of the data set.
        parts: Vec<Part>,
        /// F
        width: usize,
    },
    /// A data set's items, in rows of different lengths.
    Items {
        /// (N+1): example n has the entries `starts[n]` to `starts[n+1]`.
        starts: Tensor,
        /// (E), each below `items`.
        entries: Tensor,
        /// I
        items: usize,
    },
    /// A data set's sentences, in rows of different lengths.
    Tokens {
        /// (N+1): example n has the entries `starts[n]` to `starts[n+1]`.
        starts: Tensor,
        /// (E), ids below `vocabulary`.
        entries: Tensor,
        /// V
        vocabulary: usize,
    },
    /// A data set's sequences.
    Steps(steps::Stored),
    /// A data set's labels, four bytes a word.
    Labels {
        /// (words)
        labels: Tensor,
        /// K
        classes: usize,
    },
    /// This batch's rows, (B, width): somebody wrote them. Of sentences the bits of ids, with the pad symbol behind the
    /// end; of sequences NaN for what is missing and behind the end.
    Given(Tensor),
}

impl Source {
    /// What it holds, as messages have it.
    fn noun(&self) -> &'static str {
        match self {
            Source::Pictures { .. } => "pictures",
            Source::Vectors { .. } => "vectors",
            Source::Items { .. } => "items",
            Source::Tokens { .. } => "tokens",
            Source::Steps(_) => "steps",
            Source::Labels { .. } => "labels",
            Source::Given(_) => "given rows",
        }
    }
}

/// The sentences of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Tokens {
    /// (T*B) words of u32, time-major: token t of row b is at t*B+b, the pad symbol behind the end.
    pub ids: Tensor,
    /// (B) words of u32: the tokens of each row, the end symbol counted, T at most.
    pub lengths: Tensor,
}

/// The sequences of a batch, time-major: step t of row b is row t*B+b.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// (T*B,C): the numbers, 0 where one is missing and behind the end.
    pub x: Tensor,
    /// (T*B,C): 1 where there is a number, else 0.
    pub seen: Tensor,
    /// (B) words of u32: the steps of each row, T at most.
    pub lengths: Tensor,
}

impl Steps {
    /// Of rows (B,L*C) that somebody wrote, with NaN for what is missing and behind the end; a longer row is cut.
    pub fn given(r: &mut Recorder, rows: Tensor, [channels, longest]: [usize; 2]) -> Steps {
        let [x, seen, lengths] = steps::given(r, rows, [channels, longest]);
        Steps { x, seen, lengths }
    }
}

/// Where rows of a data set come from.
#[derive(Clone, Copy, Debug)]
pub struct Order {
    /// The epoch's order: (N), or as many as full batches have.
    pub order: Tensor,
    /// The rows of a full batch: where batch k starts in the order.
    pub stride: usize,
    /// N, examples of the data set.
    pub examples: usize,
}

/// What is done to training pictures, at random: they are mirrored, shifted, drawn in black and white.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Augmentation {
    /// Mirror half of them left to right.
    pub flip: bool,
    /// Shift by up to so many pixels each way.
    pub shift: usize,
    /// Make each pixel black or white, white as often as its grey level says.
    pub binarise: bool,
}

/// A batch of `rows` examples.
#[derive(Clone, Debug)]
pub struct Batch {
    /// B
    pub rows: usize,
    /// The step's sense of time.
    pub clock: Tensor,
    /// How layers see it.
    pub mode: Mode,
    /// dL/drow of the loss's terms: 1 for a loss summed over the batch, 1/B for its mean.
    pub weight: Rows,
    /// `None` where every column is given.
    pub order: Option<Order>,
    /// By name.
    pub columns: Vec<(String, Source)>,
    /// Nothing in an evaluation.
    pub augmentation: Augmentation,
    /// T, the steps in which its sentences or sequences are read; 0 where it has none.
    pub longest: usize,
}

impl Batch {
    fn source(&self, column: &str) -> &Source {
        let found = self.columns.iter().find(|(name, _)| name == column);
        let names = || self.columns.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(", ");
        &found.unwrap_or_else(|| panic!("a batch of {} has no column {column}", names())).1
    }

    /// N: the examples of the data set that it is from; of given rows their number.
    pub fn examples(&self) -> usize {
        self.order.map_or(self.rows, |order| order.examples)
    }

    /// The same batch, whose rows count as these weights say.
    pub fn weighed(&self, weight: Rows) -> Batch {
        Batch { weight, ..self.clone() }
    }

    fn place(&self) -> [Tensor; 2] {
        [self.order.expect("a data set has an order").order, self.clock]
    }

    /// (B,D): pictures in `[0,1]`, channels first, shifted, mirrored and binarised where that is asked for. Panics
    /// where the column holds something else.
    pub fn pictures(&self, r: &mut Recorder, column: &str) -> Tensor {
        r.scope("batch");
        let (parts, shape) = match self.source(column) {
            Source::Given(tensor) => return *tensor,
            Source::Pictures { parts, shape } => (parts, *shape),
            other => panic!("column {column} holds {}, not pictures", other.noun()),
        };
        let stride = self.order.expect("a data set has an order").stride;
        let x = gather::forward(r, parts, self.place(), [self.rows, shape.iter().product()], stride);
        let Augmentation { flip, shift, binarise } = self.augmentation;
        let [_, h, w] = shape;
        let x = match flip || shift > 0 {
            true => augment::forward(r, x, self.clock, shape, [h, w], shift, flip),
            false => x,
        };
        if binarise { binarise::forward(r, x, self.clock) } else { x }
    }

    /// (B,F): vectors as they are. Panics where the column holds something else.
    pub fn vectors(&self, r: &mut Recorder, column: &str) -> Tensor {
        r.scope("batch");
        match self.source(column) {
            Source::Given(tensor) => *tensor,
            Source::Vectors { parts, width } => {
                let stride = self.order.expect("a data set has an order").stride;
                gather::vectors(r, parts, self.place(), [self.rows, *width], stride)
            }
            other => panic!("column {column} holds {}, not vectors", other.noun()),
        }
    }

    /// (B,I): 1 where the example has the item, else 0. Panics where the column holds something else.
    pub fn items(&self, r: &mut Recorder, column: &str) -> Tensor {
        r.scope("batch");
        match self.source(column) {
            Source::Given(tensor) => *tensor,
            &Source::Items { starts, entries, items } => {
                let stride = self.order.expect("a data set has an order").stride;
                ragged::forward(r, [starts, entries], self.place(), [self.rows, items], stride)
            }
            other => panic!("column {column} holds {}, not items", other.noun()),
        }
    }

    /// The sentences, cut at the batch's `longest`. Panics where the column holds something else.
    pub fn tokens(&self, r: &mut Recorder, column: &str) -> Tokens {
        r.scope("batch");
        let [ids, lengths] = match self.source(column) {
            Source::Given(tensor) => tokens::given(r, *tensor, self.longest),
            &Source::Tokens { starts, entries, .. } => {
                let stride = self.order.expect("a data set has an order").stride;
                tokens::forward(r, [starts, entries], self.place(), [self.rows, self.longest], stride)
            }
            other => panic!("column {column} holds {}, not tokens", other.noun()),
        };
        Tokens { ids, lengths }
    }

    /// The sequences, cut at the batch's `longest`. Panics where the column holds something else.
    pub fn steps(&self, r: &mut Recorder, column: &str) -> Steps {
        r.scope("batch");
        match self.source(column) {
            Source::Given(rows) => Steps::given(r, *rows, [rows.matrix()[1] / self.longest, self.longest]),
            &Source::Steps(stored) => {
                let stride = self.order.expect("a data set has an order").stride;
                let [x, seen, lengths] = steps::forward(r, stored, self.place(), [self.rows, self.longest], stride);
                Steps { x, seen, lengths }
            }
            other => panic!("column {column} holds {}, not steps", other.noun()),
        }
    }

    /// (B,D): [pictures](Batch::pictures) or [vectors](Batch::vectors), for a model of either. Panics where the column
    /// holds something else.
    pub fn values(&self, r: &mut Recorder, column: &str) -> Tensor {
        match self.source(column) {
            Source::Vectors { .. } => self.vectors(r, column),
            _ => self.pictures(r, column),
        }
    }

    // ANCHOR: one_hot
    /// (B,K): 1 at the label, 0 elsewhere. Panics where the column holds something else.
    pub fn one_hot(&self, r: &mut Recorder, column: &str) -> Tensor {
        r.scope("batch");
        match self.source(column) {
            Source::Given(tensor) => *tensor,
            &Source::Labels { labels, classes } => {
                let stride = self.order.expect("a data set has an order").stride;
                one_hot::forward(r, labels, self.place(), [self.rows, classes], stride)
            }
            other => panic!("column {column} holds {}, not labels", other.noun()),
        }
    }
    // ANCHOR_END: one_hot
}
