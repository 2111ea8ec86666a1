//! Variational autoencoders trained by hand-written WGSL compute kernels.

pub mod arena;
pub mod backend;
pub mod check;
pub mod data;
pub mod error;
pub mod files;
pub mod kernel;
pub mod kernels;
pub mod layers;
pub mod models;
pub mod picture;
pub mod program;
pub mod tensor;
pub mod train;
