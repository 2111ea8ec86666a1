//! Instruments: what looks at a recorded program without training with it.

pub mod catalogue;
pub mod ladder;
pub mod peak;
pub mod plan;
pub mod profile;
pub mod subject;
pub mod translate;
