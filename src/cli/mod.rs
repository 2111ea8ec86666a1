//! The command line, a file a command.

mod devices;
mod train;

use clap::{Parser, Subcommand};
use elbo::error::Result;

/// Variational autoencoders trained by hand-written WGSL compute shaders, on any GPU and without one.
#[derive(Parser)]
#[command(version, propagate_version = true, max_term_width = 120)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Train a model; without arguments the MNIST VAE
    Train(Box<train::Args>),
    /// List the adapters of this machine and say which one `--device auto` takes
    Devices(devices::Args),
}

impl Cli {
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Train(args) => args.run(),
            Command::Devices(args) => args.run(),
        }
    }
}

/// Prints a line of results. A reader that went away (`| head`) is no error.
pub fn print(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout(), "{line}");
}
