//! The program as its user meets it: commands, files, signals, messages, exit codes. These tests are one program,
//! because a further one takes seconds to link, and because another test runs while one waits.

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
