//! Variational autoencoders trained by hand-written WGSL compute kernels.

pub mod arena;
pub mod backend;
pub mod check;
pub mod error;
pub mod kernel;
pub mod kernels;
pub mod program;
pub mod tensor;
