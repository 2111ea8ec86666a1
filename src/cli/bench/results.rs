//! Where `elbo bench` puts what it measures: rows, a description of the machine, pictures; and what it prints.

use std::path::{Path, PathBuf};

use elbo::data::Dataset;
use elbo::error::{Error, Result};
use elbo::files::write_atomic;
use elbo::instruments::bench::Bench;
use elbo::instruments::bench::file;
use elbo::instruments::bench::row::{Origin, Row, processor};
use elbo::instruments::bench::scale::SWEEPS;
use elbo::messages::notice;
use elbo::models::presets::DEFAULT;
use elbo::train::run_folder::{git_revision, now_utc};
use elbo::units::metric;
use serde::Serialize;

use crate::cli::shared::wrote;
use crate::cli::table::{Column, table};

/// The results of a run, in a folder.
pub struct Results {
    folder: PathBuf,
    rows: Vec<Row>,
    /// What failed, and why.
    missing: Vec<String>,
    /// A failure that is a mistake, not a device too small.
    is_wrong: bool,
}

/// `machine.toml`: what the numbers are of.
#[derive(Serialize)]
struct Machine {
    finished: String,
    processor: String,
    cores: usize,
    system: &'static str,
    architecture: &'static str,
    device: String,
    driver: String,
    elbo: String,
    git: Option<String>,
    wgpu: &'static str,
    data: String,
    windows: usize,
    seconds: f64,
    not_measured: Vec<String>,
}

impl Results {
    /// Errors: a folder whose file of results is none.
    pub fn open(folder: &Path, bench: &Bench, data: &Dataset) -> Result<Results> {
        let results = Results { folder: folder.into(), rows: Vec::new(), missing: Vec::new(), is_wrong: false };
        file::merge(&results.file(), &[])?;
        results.describe(bench, data)?;
        Ok(results)
    }

    fn file(&self) -> PathBuf {
        self.folder.join("elbo.csv")
    }

    /// Takes what an item came to. Errors: the file cannot be written; a device that is lost.
    pub fn add(&mut self, label: &str, outcome: Result<Vec<Row>>) -> Result<()> {
        match outcome {
            Ok(rows) => {
                file::merge(&self.file(), &rows)?;
                self.rows.extend(rows);
            }
            Err(e) => {
                let first = e.to_string().lines().next().unwrap_or_default().to_string();
                self.is_wrong |= !matches!(e, Error::Device(_) | Error::Usage(_));
                self.missing.push(format!("{label}: {first}"));
            }
        }
        Ok(())
    }

    fn describe(&self, bench: &Bench, data: &Dataset) -> Result<()> {
        let Origin { driver, .. } = bench.origin.clone();
        let machine = Machine {
            finished: now_utc(),
            processor: processor(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            system: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            device: bench.device.description(),
            driver,
            elbo: env!("CARGO_PKG_VERSION").into(),
            git: git_revision(),
            wgpu: crate::cli::WGPU,
            data: format!("{}, {} training pictures", data.name, data.train.count),
            windows: bench.windows.count,
            seconds: bench.windows.seconds,
            not_measured: self.missing.clone(),
        };
        let text = toml::to_string_pretty(&machine).expect("plain data");
        write_atomic(&self.folder.join("machine.toml"), text.as_bytes())
    }

    /// Describes the machine, draws the scale, prints. Errors: something could not be measured that should.
    pub fn finish(self, bench: &Bench, data: &Dataset, json: bool) -> Result<()> {
        self.describe(bench, data)?;
        let pictures = self.draw(bench)?;
        if json {
            crate::cli::print_json(&serde_json::json!({
                "device": bench.device.description(),
                "folder": self.folder,
                "rows": self.rows,
                "not_measured": self.missing,
            }));
        } else {
            self.print(&pictures);
        }
        for missing in &self.missing {
            notice(&format!("not measured: {missing}"));
        }
        if self.is_wrong {
            return Err(Error::Failed(format!("{} could not be measured", self.missing.len())));
        }
        Ok(())
    }

    /// The pictures of the sweeps that the file has.
    fn draw(&self, bench: &Bench) -> Result<Vec<PathBuf>> {
        let mut rows = file::read(&self.file())?;
        rows.retain(|row| row.device == bench.origin.device && row.threads == bench.origin.threads);
        let mut pictures = Vec::new();
        for sweep in &SWEEPS {
            if let Some(picture) = sweep.picture(DEFAULT, &rows, bench.device.name()) {
                let path = self.folder.join(format!("scale_{}.png", sweep.name));
                picture.save(&path)?;
                pictures.push(path);
            }
        }
        Ok(pictures)
    }

    fn print(&self, pictures: &[PathBuf]) {
        let heads = [
            ("case", Column::Left),
            ("batch", Column::Right),
            ("metric", Column::Left),
            ("median", Column::Right),
            ("quartiles", Column::Right),
            ("a second", Column::Right),
        ];
        let rows: Vec<Vec<String>> = self.rows.iter().map(line).collect();
        crate::cli::print(&table(&heads, &rows));
        crate::cli::print("");
        wrote(&self.file(), "every row, for `elbo bench compare`");
        wrote(&self.folder.join("machine.toml"), "the machine and the versions");
        for picture in pictures {
            wrote(picture, "a step over sizes");
        }
    }
}

fn line(row: &Row) -> Vec<String> {
    let number = |value: f64| match row.unit.as_str() {
        "1" => format!("{value}"),
        unit => format!("{}{unit}", metric(value)),
    };
    let spread = if row.windows > 1 { format!("{} to {}", number(row.low), number(row.high)) } else { String::new() };
    let batch = row.batch.map_or(String::new(), |batch| batch.to_string());
    // Of steps, pictures.
    let rate = match row.batch {
        Some(batch) if row.metric == "step" => format!("{}pictures", metric(batch as f64 / row.median)),
        _ => String::new(),
    };
    vec![row.case.clone(), batch, row.metric.clone(), number(row.median), spread, rate]
}
