//! Instruments: what looks at a recorded program without training with it.

pub mod faults;
pub mod lockstep;
pub mod subject;
