//! Training: settings in, a run folder out.
//!
//! In reading order: [`settings`] and [`given`], [`init`], [`resident`], [`programs`] and [`evaluation`] (what runs on
//! the device), [`epochs`] (the loop), [`trainer`] (the same in a run folder), [`checkpoint`] and [`run_folder`] (what
//! is left), [`history`] and [`sweep`] (runs beside each other, and many of them from one file), [`tensorboard`] (the
//! same for another program), [`tensor_file`] and [`hold`] (how it is written, and by whom alone).

pub(crate) mod batches;
pub mod checkpoint;
pub mod diverged;
#[cfg(feature = "native")]
pub mod drawing;
pub mod early_stopping;
pub mod epochs;
pub mod evaluation;
pub mod fit;
pub mod foreign;
pub mod given;
#[cfg(feature = "native")]
pub mod history;
#[cfg(feature = "native")]
pub mod hold;
pub mod init;
pub mod metrics;
pub mod optimizer;
pub mod pictures;
pub mod programs;
pub mod progress;
pub mod resident;
pub mod rows;
#[cfg(feature = "native")]
pub mod run_folder;
pub mod settings;
#[cfg(feature = "native")]
pub mod sweep;
pub mod tensor_file;
#[cfg(feature = "native")]
pub mod tensorboard;
#[cfg(feature = "native")]
pub mod trainer;
