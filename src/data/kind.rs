//! What an example has in a column of a data set, and what a model's views take and give.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What one example has in a column, and what a model's views take and give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// (C,H,W), channels first: values 0 to 1, stored as bytes.
    Picture([usize; 3]),
    /// One of so many classes: a byte in a data set, K numbers of which one is 1 in a model. Labels that start at 1
    /// leave class 0 unused.
    Label(usize),
    /// So many numbers, of any size: a row of a table, or what a view gives.
    Vector(usize),
    /// Which of so many items: a list of their numbers in a data set, zeros and ones in a model.
    Items(usize),
    /// A sentence: ids of a [vocabulary](super::text::vocabulary), the end symbol last.
    Tokens {
        /// V, special symbols counted: each id is below it.
        vocabulary: usize,
        /// The most ids of an example, the end symbol counted.
        longest: usize,
    },
    /// A [sequence](super::sequences): steps of so many numbers, some of which may be missing.
    Steps {
        /// C
        channels: usize,
        /// The most steps of an example.
        longest: usize,
    },
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
    /// Numbers that a model sees of one example: C H W pixels, K classes, I items, the longest sentence, C
    /// numbers of the most steps, or the length.
    pub fn width(self) -> usize {
        match self {
            Kind::Picture(shape) => shape.iter().product(),
            Kind::Label(n) | Kind::Vector(n) | Kind::Items(n) => n,
            Kind::Tokens { longest, .. } => longest,
            Kind::Steps { channels, longest } => channels * longest,
            Kind::Categorical { variables, classes } => variables * classes,
            Kind::Codes { places: [h, w], .. } => h * w,
        }
    }

    /// (C,H,W) in which a listed decoder may leave it: what is no picture as that many channels of one place.
    pub fn as_picture(self) -> [usize; 3] {
        match self {
            Kind::Picture(shape) => shape,
            other => [other.width(), 1, 1],
        }
    }

    /// What columns of this kind are called in lists: `picture`, `label`, `vector`, `items`, `tokens`, `steps`,
    /// `categorical`, `codes`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Picture(_) => "picture",
            Kind::Label(_) => "label",
            Kind::Vector(_) => "vector",
            Kind::Items(_) => "items",
            Kind::Tokens { .. } => "tokens",
            Kind::Steps { .. } => "steps",
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
            Kind::Items(count) => write!(f, "choices among {count} items"),
            Kind::Tokens { vocabulary, longest } => {
                write!(f, "sentences of up to {longest} tokens of a vocabulary of {vocabulary}")
            }
            Kind::Steps { channels, longest } => {
                write!(f, "sequences of up to {longest} steps of {channels} numbers")
            }
            Kind::Categorical { variables, classes } => write!(f, "{variables} variables of {classes} classes"),
            Kind::Codes { places: [h, w], codes } => write!(f, "{h}x{w} codes of {codes}"),
        }
    }
}
