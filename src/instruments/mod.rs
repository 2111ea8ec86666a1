//! Instruments: what looks at a recorded program without training with it.

pub mod ladder;
pub mod peak;
pub mod subject;
