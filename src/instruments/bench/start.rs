//! From the start of a process to its first finished training step, and the memory it comes to: measured on a process
//! of its own, which this program starts.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::row::Row;
use super::steps::Steps;
use super::windows::Spread;
use super::{Bench, Item, memory};
use crate::backend::Device;
use crate::data::Dataset;
use crate::error::{Error, Result};
use crate::train::settings::Settings;

/// Further steps before the memory is read: as many as a device has under way, and more.
const SETTLING: usize = 4;

/// Where programs and drivers keep what they compiled: this project, Mesa, NVIDIA's driver, and all that follow XDG.
const CACHES: [&str; 4] = ["ELBO_CACHE", "MESA_SHADER_CACHE_DIR", "__GL_SHADER_DISK_CACHE_PATH", "XDG_CACHE_HOME"];

/// What the process says when its first step is finished: seconds of each part.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Parts {
    device: f64,
    data: f64,
    load: f64,
    step: f64,
}

/// What it says last.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Settled {
    peak_rss: Option<usize>,
}

/// The process that is measured: opens the device and the data, takes a step, says so, takes a few more and says what
/// memory it needed.
pub fn first_step(
    device: impl FnOnce() -> Result<Device>,
    settings: &Settings,
    data: impl FnOnce() -> Result<Dataset>,
) -> Result<()> {
    let mut since = Instant::now();
    let mut part = || std::mem::replace(&mut since, Instant::now()).elapsed().as_secs_f64();
    let device = device()?;
    let opened = part();
    let data = data()?;
    let read = part();
    let mut steps = Steps::new(&device, settings, &data)?;
    let loaded = part();
    steps.take(1)?;
    say(&Parts { device: opened, data: read, load: loaded, step: part() });
    steps.take(SETTLING)?;
    say(&Settled { peak_rss: memory::peak() });
    Ok(())
}

/// A line of JSON, at once. A reader that went away is no error.
fn say(what: &impl Serialize) {
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{}", serde_json::to_string(what).expect("plain data")).and_then(|()| out.flush());
}

/// Starts of a model at its usual batch size, cold and warm, and its memory at every batch size. `command(model,
/// batch)` starts this program as [`first_step`].
pub fn items<'a>(
    bench: &'a Bench,
    models: &'a [Settings],
    batches: &[usize],
    data: &'a Dataset,
    command: &'a dyn Fn(&str, usize) -> Command,
) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    for settings in models {
        let (model, usual) = (&settings.preset, settings.batch_size);
        items.push(Item::new(format!("{model}, starts"), move || starts(bench, model, usual, data, command)));
        for &batch in batches {
            items.push(Item::new(format!("{model}, batch {batch}, memory"), move || {
                let settled = Started::wait(&mut command(model, batch))?.settle()?;
                let row = |bytes: usize| {
                    let bytes = Spread::single(bytes as f64);
                    bench.origin.row(model, Some(batch), "peak_rss", bytes, &bench.note(data))
                };
                Ok(settled.peak_rss.map(row).into_iter().collect())
            }));
        }
    }
    items
}

fn starts(
    bench: &Bench,
    model: &str,
    batch: usize,
    data: &Dataset,
    command: &dyn Fn(&str, usize) -> Command,
) -> Result<Vec<Row>> {
    let start = |caches: &Path| -> Result<(f64, Parts)> {
        let mut command = command(model, batch);
        command.envs(CACHES.map(|name| (name, caches)));
        let started = Started::wait(&mut command)?;
        let found = (started.seconds, started.parts);
        started.settle()?;
        Ok(found)
    };
    let folder = || tempfile::tempdir().map_err(Error::io("create a folder in", std::env::temp_dir()));
    // The program itself and the data come from the system's memory in every measured start.
    let caches = folder()?;
    start(caches.path())?;
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for _ in 0..bench.windows.count {
        cold.push(start(folder()?.path())?);
        warm.push(start(caches.path())?);
    }
    let row = |metric: &str, starts: &[(f64, Parts)], of: fn(&(f64, Parts)) -> f64| {
        let values: Vec<f64> = starts.iter().map(of).collect();
        bench.origin.row(model, Some(batch), metric, Spread::of(&values), &bench.note(data))
    };
    Ok(vec![
        row("start_cold", &cold, |start| start.0),
        row("start_warm", &warm, |start| start.0),
        row("start_device", &warm, |start| start.1.device),
        row("start_data", &warm, |start| start.1.data),
        row("start_load", &warm, |start| start.1.load),
        row("start_step", &warm, |start| start.1.step),
    ])
}

/// A process that has finished its first step.
struct Started {
    /// From before the start of the process.
    seconds: f64,
    parts: Parts,
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl Started {
    fn wait(command: &mut Command) -> Result<Started> {
        let start = Instant::now();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|e| failed(&e))?;
        let mut output = BufReader::new(child.stdout.take().expect("it is piped"));
        let line = line(&mut output);
        let seconds = start.elapsed().as_secs_f64();
        match serde_json::from_str(&line) {
            Ok(parts) => Ok(Started { seconds, parts, child, output }),
            Err(_) => {
                let status = child.wait().map_err(|e| failed(&e))?;
                Err(failed(&format!("it ended without a step ({status})")))
            }
        }
    }

    /// Waits for its end.
    fn settle(mut self) -> Result<Settled> {
        let line = line(&mut self.output);
        let status = self.child.wait().map_err(|e| failed(&e))?;
        serde_json::from_str(&line).map_err(|_| failed(&format!("it did not come to its end ({status})")))
    }
}

fn line(output: &mut impl BufRead) -> String {
    let mut line = String::new();
    // Nothing to read and nothing readable are the same: no line.
    let _ = output.read_line(&mut line);
    line
}

fn failed(problem: &dyn std::fmt::Display) -> Error {
    Error::Failed(format!("the process whose start is measured failed: {problem}"))
}
