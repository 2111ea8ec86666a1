//! The program as its user meets it: commands, files, signals, messages, exit codes. One program for all of these tests:
//! each that is linked takes seconds, and while one waits here another runs.

#[path = "../common/mod.rs"]
mod common;

mod audio;
mod bench;
mod cli;
mod editing;
mod fit;
mod kills;
mod many_runs;
mod model_commands;
mod mutations;
mod old_runs;
mod onnx;
mod parity;
mod processes;
mod recommendation;
mod report;
mod revision;
mod sentences;
mod sequences;
mod series;
mod signals;
mod studio;
mod text;
mod tuning;
