//! From the start of a process to its first finished step: the program starts itself with `--first-step`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::windows::Spread;
use crate::{Options, Result, memory};

/// Seconds to the first step, and the most memory of the process.
pub struct Starts {
    pub seconds: Spread,
    pub peak_rss: Option<Spread>,
}

/// Times as many starts as there are windows, after one that fills the caches.
pub fn measure(options: &Options, arguments: &[String], model: &str, batch: usize) -> Result<Starts> {
    let (mut seconds, mut memory) = (Vec::new(), Vec::new());
    for count in 0..=options.windows.max(1) {
        let (time, peak) = once(arguments, options, model, batch)?;
        if count > 0 {
            seconds.push(time);
            memory.extend(peak);
        }
    }
    let peak_rss = (!memory.is_empty()).then(|| Spread::of(&memory));
    Ok(Starts { seconds: Spread::of(&seconds), peak_rss })
}

/// `arguments` are the peer's own.
fn once(arguments: &[String], options: &Options, model: &str, batch: usize) -> Result<(f64, Option<f64>)> {
    let failed = |e: std::io::Error| format!("the process whose start is timed failed: {e}");
    let program = std::env::current_exe().map_err(failed)?;
    let mut command = Command::new(program);
    command.args(["--first-step", "--out", "unused", "--model", model, "--batch", &batch.to_string()]);
    command.arg("--inputs").arg(&options.inputs).args(arguments);
    if let Some(threads) = options.threads {
        command.args(["--threads", &threads.to_string()]);
    }
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let mut line = || lines.next().and_then(std::result::Result::ok).unwrap_or_default();
    let first = line();
    let seconds = start.elapsed().as_secs_f64();
    let peak = line();
    let status = child.wait().map_err(failed)?;
    if first != "step" || !status.success() {
        return Err(format!("the process whose start is timed took no step ({status})"));
    }
    Ok((seconds, peak.parse().ok()))
}

/// What that process prints after its first step, and after a few more.
pub fn say(taken: &str) {
    println!("{taken}");
    let _ = std::io::stdout().flush();
}

/// The most memory of this process.
pub fn say_memory() {
    say(&memory::peak().map_or(String::new(), |bytes| bytes.to_string()));
}
