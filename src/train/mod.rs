//! Training: settings in, a run folder out.
//!
//! In reading order: [`settings`] and [`given`], [`init`], [`resident`], [`programs`] and [`evaluation`] (what runs on
//! the device), [`trainer`] (the loop), [`checkpoint`] and [`run_folder`] (what is left), [`history`] and [`sweep`]
//! (runs beside each other, and many of them from one file), [`tensorboard`] (the same for another program),
//! [`tensor_file`] and [`hold`] (how it is written, and by whom alone).

pub(crate) mod batches;
pub mod checkpoint;
pub mod diverged;
pub mod early_stopping;
pub mod evaluation;
pub mod fit;
pub mod foreign;
pub mod given;
pub mod history;
pub mod hold;
pub mod init;
pub mod metrics;
pub mod optimizer;
pub mod pictures;
pub mod programs;
pub mod resident;
pub mod rows;
pub mod run_folder;
pub mod settings;
pub mod sweep;
pub mod tensor_file;
pub mod tensorboard;
pub mod trainer;
