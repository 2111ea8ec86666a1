//! Text as a data set.

pub mod vocabulary;
