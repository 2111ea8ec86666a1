//! What was computed here against what PyTorch recorded, in the files of `tests/golden`.

#[path = "../common/mod.rs"]
mod common;

mod conv_models;
mod fidelity;
mod files;
mod models;
mod recurrent;
