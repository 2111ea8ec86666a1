//! Parse, call, print the error once, exit code: 0 fine, 1 a run that diverged or a check that failed, 2 anything the
//! caller can mend, 128 + n a training run that signal n stopped.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;

use std::process::ExitCode;

use clap::Parser;
use elbo::error::Error;
use elbo::messages::{self, notice};

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    silence_device_select();
    let code = match cli::Cli::try_parse() {
        Ok(cli) => cli.run().unwrap_or_else(|error| failed(&error)),
        // Help, the version, or what is wrong with the arguments.
        Err(message) => {
            let written = message.print();
            if !message.use_stderr() {
                messages::keep(written);
            }
            ExitCode::from(message.exit_code() as u8)
        }
    };
    match messages::finish() {
        Err(error) if code == ExitCode::SUCCESS => failed(&error),
        Err(error) => {
            failed(&error);
            code
        }
        Ok(()) => code,
    }
}

fn failed(error: &Error) -> ExitCode {
    notice(&format!("error: {error}"));
    ExitCode::from(if matches!(error, Error::Diverged(_) | Error::Failed(_)) { 1 } else { 2 })
}

/// Mesa's device-select layer writes two lines that look like this program's errors where there is no desktop session
/// (a server, a container). It is told not to by a variable that must be there before the process starts: setting it
/// from inside would be unsafe, starting once more is not. Adapters are ranked by kind anyway.
#[cfg(target_os = "linux")]
fn silence_device_select() {
    use std::os::unix::process::CommandExt;
    let set = |name| std::env::var_os(name).is_some();
    if set("XDG_RUNTIME_DIR") || set("NODEVICE_SELECT") {
        return;
    }
    if let Ok(program) = std::env::current_exe() {
        // Returns only on failure, and then the noise is all that is lost.
        let _ =
            std::process::Command::new(program).args(std::env::args_os().skip(1)).env("NODEVICE_SELECT", "1").exec();
    }
}
