//! The signals that ask a training run to stop.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

#[cfg(unix)]
const SIGNALS: [i32; 3] = [SIGINT, SIGTERM, signal_hook::consts::SIGHUP];
#[cfg(not(unix))]
const SIGNALS: [i32; 2] = [SIGINT, SIGTERM];

/// Whether a signal has asked the program to stop, and which.
pub struct Stop {
    asked: Arc<AtomicBool>,
    signal: Arc<AtomicUsize>,
}

impl Stop {
    /// From here on Ctrl-C, SIGTERM and SIGHUP ask to stop and end nothing. Ctrl-C a second time ends the program at
    /// once. What was ignored when the program started stays ignored: `nohup` says so of SIGHUP, a script of Ctrl-C for
    /// what it puts into the background.
    pub fn on_signals() -> Stop {
        let stop = Stop { asked: Arc::default(), signal: Arc::default() };
        for signal in SIGNALS.into_iter().filter(|&signal| !is_ignored(signal)) {
            if signal == SIGINT {
                let again = Arc::new(AtomicBool::new(false));
                // In this order: the first Ctrl-C is to find that there was none before it.
                listen(flag::register_conditional_shutdown(signal, 128 + signal, again.clone()));
                listen(flag::register(signal, again));
            }
            // In this order: who sees that a signal came also sees which.
            listen(flag::register_usize(signal, stop.signal.clone(), signal as usize));
            listen(flag::register(signal, stop.asked.clone()));
        }
        stop
    }

    /// Set once a signal has come.
    pub fn asked(&self) -> &AtomicBool {
        &self.asked
    }

    /// What the program ends with, 128 and the signal's number, if one has come.
    pub fn exit_code(&self) -> Option<ExitCode> {
        let signal = self.signal.load(Ordering::Relaxed);
        self.asked.load(Ordering::Relaxed).then(|| ExitCode::from(128 + signal as u8))
    }
}

/// Registering fails only for signals that no program can handle, and those above are none.
fn listen<T>(registered: std::io::Result<T>) {
    registered.expect("a signal that can be handled");
}

/// Whether the program was started with this signal ignored.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let mut found = std::mem::MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with a null pointer for the new action sigaction changes nothing. It writes the present one to a place
    // that has room for it, which is read only where it says that it did.
    unsafe {
        libc::sigaction(signal, std::ptr::null(), found.as_mut_ptr()) == 0
            && found.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(not(unix))]
fn is_ignored(_: i32) -> bool {
    false
}
