//! Parse, call, print the error once, exit code: 0 fine, 1 a run that diverged or a check that failed, 2 anything the caller
//! can mend.

mod cli;

use std::process::ExitCode;

use clap::Parser;
use elbo::error::Error;

fn main() -> ExitCode {
    #[cfg(target_os = "linux")]
    silence_device_select();
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(if matches!(error, Error::Diverged(_) | Error::Failed(_)) { 1 } else { 2 })
        }
    }
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
