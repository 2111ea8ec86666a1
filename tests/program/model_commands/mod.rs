//! The commands that use a trained model, run as a user runs them.

mod eval;
mod other_models;
mod pictures;
mod refused;
mod running;
mod tables;
