//! Instruments: what looks at a recorded program without training with it.

pub mod parity;
pub mod replay;
pub mod subject;
