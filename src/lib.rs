//! Variational autoencoders trained by hand-written WGSL compute kernels, on any GPU and without one.
//!
//! A training step is recorded once as a list of kernel dispatches and replayed thousands of times, on a GPU through
//! wgpu or on the CPU. There is no autograd: models write their backward down.
//!
//! In reading order:
//!
//! 1. [`tensor`], [`arena`]: names for device memory, and its plan.
//! 2. [`kernel`], [`kernels`]: a WGSL entry point and its CPU reference under one name; all of them. [`cases`]: what they
//!    say of themselves for the checks.
//! 3. [`program`]: recording dispatches. [`fusion`]: fewer of them.
//! 4. [`layers`], [`models`]: forward lines and the mirrored backward lines.
//! 5. [`backend`]: where programs run. [`tuning`]: which of several shaders a device is given.
//! 6. [`train`]: the loop, and everything around it. [`inference`]: using a trained model. [`report`]: a
//!    run as a page. [`mod@keys`], [`schedule`]: what settings are made of.
//! 7. [`check`]: what makes the claims above testable. [`instruments`]: a recorded step looked at from all sides.
//! 8. [`data`], [`picture`], [`files`], [`messages`], [`units`], [`mod@mean`], [`error`]: the world.

#![warn(missing_docs)]
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod arena;
pub mod backend;
pub mod cases;
pub mod check;
pub mod data;
pub mod error;
#[cfg(feature = "native")]
pub mod fidelity;
pub mod files;
pub mod fusion;
pub mod inference;
#[cfg(feature = "native")]
pub mod instruments;
pub mod kernel;
pub mod kernels;
pub mod keys;
pub mod layers;
pub mod mean;
pub mod messages;
pub mod models;
#[cfg(feature = "native")]
pub mod onnx;
pub mod picture;
pub mod program;
pub mod ranking;
#[cfg(feature = "native")]
pub mod report;
pub mod schedule;
pub mod tensor;
pub mod train;
#[cfg(feature = "native")]
pub mod tuning;
pub mod units;
