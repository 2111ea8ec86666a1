//! `elbo bench`: how fast this project is on one device, by a method and in a schema that the peers in `benches/`
//! share.
//!
//! - `windows` is the method: warm-up, windows of time, median and quartiles. `row` is the schema, `file` reads and
//!   writes it.
//! - `steps`, `kernels`, `start`, `probes`, `scale` are what is measured. Each gives [`Item`]s, which a caller runs one
//!   after the other.
//! - `inputs` is what the peers start from; `compare` holds their results against ours.

pub mod compare;
pub mod file;
pub mod inputs;
pub mod kernels;
pub mod memory;
pub mod probes;
pub mod row;
pub mod scale;
pub mod start;
pub mod steps;
pub mod windows;

use std::path::Path;

use crate::backend::Device;
use crate::data::progress::Report;
use crate::data::{self, Dataset, digits};
use crate::error::Result;
use crate::train::run_folder::now_utc;
use row::{Origin, Row, processor};
use windows::Windows;

/// Where and how long is measured.
pub struct Bench {
    /// Where it runs.
    pub device: Device,
    /// What every row begins with.
    pub origin: Origin,
    /// How often and how long each thing is measured.
    pub windows: Windows,
    /// What every row's note ends with.
    pub remark: String,
}

/// Something to measure.
pub struct Item<'a> {
    /// What a progress bar calls it.
    pub label: String,
    /// Measures and returns its rows. Errors: the device is lost, no room on it, a file that cannot be read.
    pub run: Box<dyn FnOnce() -> Result<Vec<Row>> + 'a>,
}

impl<'a> Item<'a> {
    fn new(label: impl Into<String>, run: impl FnOnce() -> Result<Vec<Row>> + 'a) -> Item<'a> {
        Item { label: label.into(), run: Box::new(run) }
    }
}

impl Bench {
    /// `version` is the program's.
    pub fn new(device: Device, version: String, windows: Windows, remark: &str) -> Bench {
        let driver = match &device {
            Device::Gpu(gpu) => format!("{} {}", gpu.info.driver, gpu.info.driver_info).trim().to_string(),
            Device::Cpu(_) => processor(),
        };
        let origin = Origin {
            date: now_utc()[..10].into(),
            peer: "elbo".into(),
            version,
            device: device.name().into(),
            driver,
            threads: threads(&device),
        };
        Bench { device, origin, windows, remark: remark.into() }
    }

    /// The note of a row about these data.
    fn note(&self, data: &Dataset) -> String {
        self.remarked(&data.name)
    }

    fn remarked(&self, note: &str) -> String {
        let parts = [note, &self.remark].into_iter().filter(|part| !part.is_empty());
        parts.collect::<Vec<_>>().join("; ")
    }
}

/// The CPU's threads that compute; none where a GPU does.
fn threads(device: &Device) -> Option<usize> {
    match device {
        Device::Cpu(_) => Some(rayon::current_num_threads()),
        Device::Gpu(gpu) if gpu.info.device_type == wgpu::DeviceType::Cpu => {
            // Mesa's variable for lavapipe; it takes all cores without.
            let asked = std::env::var("LP_NUM_THREADS").ok().and_then(|n| n.parse().ok());
            asked.or_else(|| std::thread::available_parallelism().ok().map(usize::from))
        }
        Device::Gpu(_) => None,
    }
}

/// What models are measured on: MNIST where it is on the disk (in `folder`, if one is given), else the built-in digits.
/// At most `pictures` for training, a sixth of that for testing. Errors: files that are none of MNIST's.
pub fn data(folder: Option<&Path>, pictures: Option<usize>, report: &mut Report) -> Result<Dataset> {
    let Some(pictures) = pictures else {
        return data::mnist_or_digits(folder, report);
    };
    let [train, test] = [pictures, (pictures / 6).max(1)];
    Ok(match folder {
        None => digits::dataset([Some(train), Some(test)]),
        Some(_) => {
            let all = data::mnist_or_digits(folder, report)?;
            Dataset { train: all.train.truncated(train), test: all.test.truncated(test), ..all }
        }
    })
}
