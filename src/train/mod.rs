//! Training: settings in, a run folder out.
//!
//! In reading order: [`settings`] and [`presets`], [`programs`] (what runs on the device), [`trainer`] (the loop),
//! [`checkpoint`] and [`run_folder`] (what is left), [`tensor_file`] and [`hold`] (how it is written, and by whom alone).

pub mod checkpoint;
pub mod diverged;
pub mod early_stopping;
pub mod fit;
pub mod foreign;
pub mod hold;
pub mod metrics;
pub mod optimizer;
pub mod overrides;
pub mod pictures;
pub mod presets;
pub mod programs;
pub mod run_folder;
pub mod schedule;
pub mod settings;
pub mod tensor_file;
pub mod trainer;
