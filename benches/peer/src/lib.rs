//! What the peers share: the method and the schema, which are this project's own files, the inputs that `elbo bench
//! inputs` writes, and the options.

#[path = "../../../src/instruments/bench/memory.rs"]
pub mod memory;
#[path = "../../../src/instruments/bench/row.rs"]
pub mod row;
pub mod start;
#[path = "../../../src/instruments/bench/windows.rs"]
pub mod windows;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use row::{Origin, Row};
use safetensors::SafeTensors;
use windows::{Spread, Windows};

/// What went wrong, for the user.
pub type Result<T> = std::result::Result<T, String>;

#[derive(clap::Args, Clone, Debug)]
pub struct Options {
    /// What `elbo bench inputs FILE` wrote
    #[arg(long, value_name = "FILE", default_value = "inputs.safetensors")]
    pub inputs: PathBuf,
    /// The result file to write
    #[arg(long, value_name = "CSV")]
    pub out: PathBuf,
    /// Models
    #[arg(long, value_name = "NAME,..", value_delimiter = ',')]
    pub model: Vec<String>,
    /// Pictures a step
    #[arg(long, value_name = "N,..", value_delimiter = ',', default_value = "64,128,512,4096")]
    pub batch: Vec<usize>,
    /// Windows of each measurement
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub windows: usize,
    /// Seconds of a window
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    pub seconds: f64,
    /// Threads of the CPU
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
    /// Measure only these: steps, operations, start
    #[arg(long, value_name = "PART,..", value_delimiter = ',', default_value = "steps,operations,start")]
    pub only: Vec<String>,
    /// Take one step of the only --model and --batch, say so, and end: what a start is timed by
    #[arg(long, hide = true)]
    pub first_step: bool,
}

impl Options {
    pub fn measures(&self, part: &str) -> bool {
        self.only.iter().any(|name| name == part)
    }

    pub fn windows(&self) -> Windows {
        Windows { count: self.windows.max(1), seconds: self.seconds }
    }

    /// The chosen models, by default all. Errors: one that there is not.
    pub fn models(&self) -> Result<Vec<&'static Model>> {
        let names = MODELS.each_ref().map(|model| model.name);
        let find = |name: &String| {
            let model = MODELS.iter().find(|model| model.name == name);
            model.ok_or_else(|| format!("no model is called `{name}`: there are {}", names.join(", ")))
        };
        if self.model.is_empty() { Ok(MODELS.iter().collect()) } else { self.model.iter().map(find).collect() }
    }
}

/// A preset of elbo: its optimiser and the batch size it is made for.
#[derive(Debug)]
pub struct Model {
    pub name: &'static str,
    /// Adam's, with learning rate 1e-3 and epsilon 1e-8.
    pub betas: [f32; 2],
    pub weight_decay: f32,
    pub batch: usize,
}

pub static MODELS: [Model; 3] = [
    Model { name: "mnist-mlp", betas: [0.9, 0.999], weight_decay: 0.0, batch: 128 },
    Model { name: "mnist-2d", betas: [0.9, 0.99], weight_decay: 1e-5, batch: 64 },
    Model { name: "mnist-conv", betas: [0.9, 0.999], weight_decay: 0.0, batch: 128 },
];
pub const LEARNING_RATE: f64 = 1e-3;
/// Pixels of a picture.
pub const PIXELS: usize = 784;

/// The file that `elbo bench inputs` writes.
pub struct Inputs {
    bytes: Vec<u8>,
    /// Name of the data set.
    pub data: String,
}

/// Shape and values.
pub type Values = (Vec<usize>, Vec<f32>);

impl Inputs {
    pub fn open(path: &Path) -> Result<Inputs> {
        let advice = "write it with `elbo bench inputs FILE`";
        let bytes = fs::read(path).map_err(|e| format!("cannot read {}: {e}; {advice}", path.display()))?;
        let (_, header) =
            SafeTensors::read_metadata(&bytes).map_err(|e| format!("{}: {e}; {advice}", path.display()))?;
        let data = header.metadata().as_ref().and_then(|texts| texts.get("data").cloned());
        Ok(Inputs { bytes, data: data.unwrap_or_else(|| "unknown".into()) })
    }

    fn file(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).expect("its header was read before")
    }

    fn tensor(&self, name: &str) -> (Vec<usize>, Vec<u8>) {
        let file = self.file();
        let view = file.tensor(name).unwrap_or_else(|e| panic!("{name} of the inputs: {e}"));
        (view.shape().to_vec(), view.data().to_vec())
    }

    /// (N,784): values 0 to 1 of `train` or `test`.
    pub fn pictures(&self, name: &str) -> Values {
        let (shape, bytes) = self.tensor(name);
        (shape, bytes.into_iter().map(|level| f32::from(level) / 255.0).collect())
    }

    /// The order of the pictures in each epoch.
    pub fn order(&self) -> Vec<Vec<i64>> {
        let (shape, bytes) = self.tensor("order");
        let places: Vec<i64> = bytemuck::pod_collect_to_vec(&bytes);
        places.chunks(shape[1]).map(<[i64]>::to_vec).collect()
    }

    /// Initial values of a model's parameters, by PyTorch's names.
    pub fn parameters(&self, model: &str) -> HashMap<String, Values> {
        let file = self.file();
        let names = file.names().into_iter().filter_map(|name| name.strip_prefix(&format!("{model}/")));
        let values = names.map(|name| {
            let (shape, bytes) = self.tensor(&format!("{model}/{name}"));
            (name.to_string(), (shape, bytemuck::pod_collect_to_vec(&bytes)))
        });
        values.collect()
    }
}

/// The day in UTC, as in 2026-01-31.
pub fn today() -> String {
    time::OffsetDateTime::now_utc().date().to_string()
}

/// What was measured so far; the file is written anew with each row.
pub struct Results {
    origin: Origin,
    note: String,
    out: PathBuf,
    rows: Vec<Row>,
}

impl Results {
    pub fn new(origin: Origin, note: &str, out: &Path) -> Results {
        Results { origin, note: note.into(), out: out.into(), rows: Vec::new() }
    }

    /// Adds a row, prints it and writes the file.
    pub fn add(&mut self, case: &str, batch: Option<usize>, metric: &str, spread: Spread) -> Result<()> {
        let row = self.origin.row(case, batch, metric, spread, &self.note);
        let size = batch.map_or(String::new(), |batch| format!(", batch {batch}"));
        println!("{case}{size}: {metric} {:.6e} {} ({:.6e} to {:.6e})", row.median, row.unit, row.low, row.high);
        self.rows.push(row);
        self.write().map_err(|e| format!("cannot write {}: {e}", self.out.display()))
    }

    fn write(&self) -> std::result::Result<(), Box<dyn std::error::Error>> {
        if let Some(folder) = self.out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)?;
        }
        let mut writer = csv::Writer::from_path(&self.out)?;
        for row in &self.rows {
            writer.serialize(row)?;
        }
        Ok(writer.flush()?)
    }
}
