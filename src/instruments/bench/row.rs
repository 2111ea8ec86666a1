//! The one schema of results, ours and the peers'. A file is CSV in UTF-8 with this header:
//!
//! ```text
//! date,peer,version,device,driver,threads,case,batch,metric,unit,median,low,high,windows,note
//! ```
//!
//! | column | what it holds |
//! |---|---|
//! | date | the day in UTC, as in 2026-01-31 |
//! | peer | who was measured: `elbo`, `libtorch`, `pytorch-eager`, `pytorch-graph`, `pytorch-compile`, `burn` |
//! | version | its version |
//! | device | `cpu`, or the adapter's name |
//! | driver | the adapter's driver; of `cpu` the processor |
//! | threads | threads of the CPU it may use; empty where a GPU computes |
//! | case | a preset, with what was changed (`mnist-mlp hidden=64`); an operation with its size (`matmul 128,784,400`); a kernel with its case; `device` |
//! | batch | pictures a step; empty where there is none |
//! | metric | one of [`METRICS`] |
//! | unit | the metric's |
//! | median, low, high | over the windows: median and quartiles |
//! | windows | how many windows, or 1 for what was counted |
//! | note | the data, and whatever else one should know |
//!
//! The peers in `benches/` include this file, so that there is one schema; it needs `serde` alone.

use serde::{Deserialize, Serialize};

use super::windows::Spread;

/// The first line of a file.
pub const COLUMNS: [&str; 15] = [
    "date", "peer", "version", "device", "driver", "threads", "case", "batch", "metric", "unit", "median", "low",
    "high", "windows", "note",
];

/// One measurement: a line of a file, its fields the columns of the table above.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The day in UTC, as in 2026-11-21.
    pub date: String,
    /// `elbo`, or the name of a peer.
    pub peer: String,
    /// Of the measurer.
    pub version: String,
    /// `cpu` and its processor, or an adapter.
    pub device: String,
    /// Of the adapter, or the library behind a peer.
    pub driver: String,
    /// Of the CPU; `None` where a GPU computes.
    pub threads: Option<usize>,
    /// A preset, an operation with its size, or a kernel with its case.
    pub case: String,
    /// Pictures a step, where that means something.
    pub batch: Option<usize>,
    /// The name of a [`Metric`].
    pub metric: String,
    /// That of the metric.
    pub unit: String,
    /// Over the windows.
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
    /// How many there were; 1 for what was counted.
    pub windows: usize,
    /// The data, and whatever else one should know.
    pub note: String,
}

/// Who measured what on which machine: what the rows of a run have in common.
#[derive(Clone, Debug)]
pub struct Origin {
    /// The day in UTC, as in 2026-11-21.
    pub date: String,
    /// `elbo`, or the name of a peer.
    pub peer: String,
    /// Of the measurer.
    pub version: String,
    /// `cpu` and its processor, or an adapter.
    pub device: String,
    /// Of the adapter, or the library behind a peer.
    pub driver: String,
    /// Of the CPU; `None` where a GPU computes.
    pub threads: Option<usize>,
}

/// What a number is.
#[derive(Debug)]
pub struct Metric {
    /// As in the column.
    pub name: &'static str,
    /// `s`, `B`, `nat`, `FLOP/s`, `B/s`, or `1` for a count.
    pub unit: &'static str,
    /// Which way it is good.
    pub better: Better,
    /// One line for lists.
    pub about: &'static str,
}

/// Which way a number is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// A time, or memory.
    Less,
    /// A rate.
    More,
    /// It describes, and nobody is ahead by it.
    Neither,
}

const fn metric(name: &'static str, unit: &'static str, better: Better, about: &'static str) -> Metric {
    Metric { name, unit, better, about }
}

/// Every metric, in the order of reports.
pub static METRICS: [Metric; 20] = [
    metric("step", "s", Better::Less, "a training step among many"),
    metric("loss", "nat", Better::Neither, "mean training loss of the last steps of the last window, a picture"),
    metric("dispatches", "1", Better::Neither, "dispatches a step, each of which waits for the one before"),
    metric("syncs", "1", Better::Neither, "times an epoch that the host waits for the device"),
    metric("recording", "s", Better::Less, "host time to record and submit one dispatch, without waiting for it"),
    metric("arena", "B", Better::Neither, "device memory of parameters, moments, activations and data"),
    metric("peak_rss", "B", Better::Less, "most memory of a process that opens the data and takes a few steps"),
    metric("growth", "B", Better::Less, "memory that a process has gained after 10,000 more steps"),
    metric("start_cold", "s", Better::Less, "process start to first finished step, compiled shaders forgotten"),
    metric("start_warm", "s", Better::Less, "process start to first finished step, as every start but the first"),
    metric("start_device", "s", Better::Less, "of start_warm: until the device is open"),
    metric("start_data", "s", Better::Less, "of start_warm: to read the data"),
    metric("start_load", "s", Better::Less, "of start_warm: to record and load the programs and upload the data"),
    metric("start_step", "s", Better::Less, "of start_warm: the first step"),
    metric("time_to_loss", "s", Better::Less, "training and evaluation until the test loss in the note is reached"),
    metric("operation", "s", Better::Less, "one operation on tensors that are on the device"),
    metric("kernel", "s", Better::Less, "one dispatch of one of this project's kernels"),
    metric("peak_flops", "FLOP/s", Better::More, "multiply-adds, each counted as two"),
    metric("peak_bytes", "B/s", Better::More, "bytes read and written by a copy that no cache holds"),
    metric("empty_dispatch", "s", Better::Less, "a dispatch that does nothing and waits for the one before"),
];

/// The metric of that name.
pub fn find_metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

impl Origin {
    /// Panics where there is no such metric.
    pub fn row(&self, case: &str, batch: Option<usize>, metric: &str, spread: Spread, note: &str) -> Row {
        let metric = find_metric(metric).unwrap_or_else(|| panic!("there is no metric {metric}"));
        let Spread { median, low, high, windows } = spread;
        let Origin { date, peer, version, device, driver, threads } = self.clone();
        Row {
            date,
            peer,
            version,
            device,
            driver,
            threads,
            case: case.into(),
            batch,
            metric: metric.name.into(),
            unit: metric.unit.into(),
            median,
            low,
            high,
            windows,
            note: note.into(),
        }
    }
}

/// The name of the processor, where the system says it.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':').map(|(_, name)| name));
    name.map_or_else(|| std::env::consts::ARCH.to_string(), |name| name.trim().to_string())
}

impl Row {
    /// Whether the other row measures the same, by the same peer on the same device.
    pub fn is_same_measurement(&self, other: &Row) -> bool {
        self.peer == other.peer
            && self.device == other.device
            && self.threads == other.threads
            && self.is_comparable(other)
    }

    /// Whether the other row measures the same, by whomever.
    pub fn is_comparable(&self, other: &Row) -> bool {
        self.case == other.case && self.batch == other.batch && self.metric == other.metric
    }
}
