//! Parse, call, print the error once, exit code: 0 fine, 1 a run that diverged, 2 anything the caller can mend.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use elbo::error::Error;

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, Error::Diverged(_)) { 1 } else { 2 })
        }
    }
}
