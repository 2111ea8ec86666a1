//! PyTorch parity: the same training steps taken by elbo and by PyTorch, and how far apart they end.
//!
//! An [`Exchange`] holds what a run starts from and is fed with: settings, initial parameters, and the pictures and the
//! noise of every step. Each side makes a [`Recording`] of it: elbo [takes](Recording::take) the steps on a device,
//! `scripts/pytorch_parity.py` takes them in PyTorch. [`Report::new`] sets two recordings side by side.
//!
//! Two runs that differ by rounding drift apart. Where an input of a rectifier is within rounding of zero, one run
//! has a gradient that the other lacks, and Adam's first steps, lr times the sign of the gradient, turn small gradients
//! into whole steps. A perceptron's losses still agree to 1e-5 and better after 100 steps; networks with millions of
//! rectifiers end 1e-3 apart, as PyTorch's own float32 and float64 do. So a recording can follow another one: each step
//! then starts from that one's parameters, and every difference is of a single step.
//!
//! Files go to one folder: `exchange.safetensors`, the script, and what it leaves, `pytorch.safetensors`.

mod draws;
mod exchange;
mod file;
mod recording;
mod report;
#[cfg(test)]
mod tests;

pub use exchange::{About, Exchange};
pub use recording::Recording;
pub use report::{Difference, Report, TARGET, Worst};

/// What PyTorch records, in the exchange's folder.
pub const RECORDING: &str = "pytorch.safetensors";
/// The script that records; the modules that it imports are written beside it.
pub const SCRIPT: &str = "pytorch_parity.py";
