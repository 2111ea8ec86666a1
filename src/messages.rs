//! What the program says: results on standard output, notices on standard error. Neither ends the program when nobody
//! reads any longer, and both never panic. What standard output should have taken and did not is told at the end.

use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use crate::error::{Error, Result};

/// Why a result could not be written, the first time that happened.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Writes a line to standard error. A reader that went away, a terminal that was closed and a full disk are no errors:
/// a notice is no result, and the work goes on.
pub fn notice(line: &str) {
    // In one piece, so that the lines of two programs do not mix.
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Writes a line of results to standard output. What goes wrong is kept for [`finish`].
pub fn print(line: &str) {
    keep(io::stdout().write_all(format!("{line}\n").as_bytes()));
}

/// Keeps the outcome of a write to standard output for [`finish`].
pub fn keep(written: io::Result<()>) {
    if let Err(error) = written
        && !is_reader_gone(&error)
    {
        // The first reason is the one that matters.
        let _ = LOST.set(error);
    }
}

/// Call at the end of the program. Errors: results that standard output did not take, by the first reason. A reader
/// that went away (`| head`, a closed terminal) is none.
pub fn finish() -> Result<()> {
    keep(io::stdout().flush());
    match LOST.get() {
        None => Ok(()),
        Some(error) => Err(Error::Usage(format!("cannot write to standard output: {error}"))),
    }
}

fn is_reader_gone(error: &io::Error) -> bool {
    error.kind() == ErrorKind::BrokenPipe || is_terminal_gone(error)
}

/// A terminal that was closed answers with EIO, and so does a broken disk: only what is no file counts as gone.
#[cfg(unix)]
fn is_terminal_gone(error: &io::Error) -> bool {
    use std::fs::File;
    use std::os::fd::AsFd;

    let is_file = || {
        let stdout = io::stdout().as_fd().try_clone_to_owned().map(File::from)?;
        Ok::<bool, io::Error>(stdout.metadata()?.is_file())
    };
    error.raw_os_error() == Some(libc::EIO) && !is_file().unwrap_or(false)
}

#[cfg(not(unix))]
fn is_terminal_gone(_: &io::Error) -> bool {
    false
}
