//! Instruments: what looks at a recorded program without training with it.

pub mod bench;
pub mod catalogue;
pub mod faults;
pub mod ladder;
pub mod lockstep;
pub mod parity;
pub mod peak;
pub mod plan;
pub mod profile;
pub mod replay;
pub mod rounds;
pub mod subject;
pub mod translate;
