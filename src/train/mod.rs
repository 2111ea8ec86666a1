//! Training: settings in, a run folder out.
//!
//! In reading order: [`settings`] and [`presets`], [`programs`] (what runs on the device), [`trainer`] (the loop),
//! [`checkpoint`] and [`run_folder`] (what is left).

pub mod checkpoint;
pub mod diverged;
pub mod early_stopping;
pub mod metrics;
pub mod optimizer;
pub mod overrides;
pub mod presets;
pub mod programs;
pub mod run_folder;
pub mod schedule;
pub mod settings;
pub mod trainer;
