//! How the time of a step grows: with the batch, the hidden layer, the latent space; and that memory does not.

use super::row::Row;
use super::steps::{self, Steps};
use super::windows::Spread;
use super::{Bench, Item, memory};
use crate::data::Dataset;
use crate::error::Result;
use crate::picture::{Picture, Series, powers};
use crate::train::settings::Settings;

/// A size of the model and what a step of it costs.
pub struct Sweep {
    /// What grows: batch, hidden or latent.
    pub name: &'static str,
    /// One line for the axis of the picture.
    pub about: &'static str,
    values: &'static [usize],
    /// The setting.
    key: &'static str,
}

/// Every sweep.
pub static SWEEPS: [Sweep; 3] = [
    Sweep {
        name: "batch",
        about: "pictures a step",
        values: &[32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384],
        key: "batch_size",
    },
    Sweep {
        name: "hidden",
        about: "units of the hidden layers",
        values: &[64, 128, 256, 512, 1024, 2048, 4096],
        key: "hidden",
    },
    Sweep { name: "latent", about: "latent dimensions", values: &[2, 4, 8, 16, 32, 64, 128, 256, 512], key: "latent" },
];

/// Steps after which memory must be what it was.
const MANY: usize = 10_000;

impl Sweep {
    /// The settings with this size. Errors: a model without it.
    fn with(&self, settings: &Settings, value: usize) -> Result<Settings> {
        let value = if self.key == "hidden" { format!("[{value}]") } else { value.to_string() };
        settings.with(&format!("{} = {value}", self.key))
    }

    /// The case of a value: the batch has a column of its own.
    fn case(&self, model: &str, value: usize) -> String {
        if self.name == "batch" { model.into() } else { format!("{model} {}={value}", self.name) }
    }

    /// The value that a row is of, where it is one of this sweep of that model.
    fn value(&self, model: &str, row: &Row) -> Option<f64> {
        let mut values = self.values.iter();
        let is_of = |&&value: &&usize| {
            row.case == self.case(model, value) && (self.name != "batch" || row.batch == Some(value))
        };
        values.find(is_of).map(|&value| value as f64)
    }

    /// The steps' time over the sweep, if there are two points to join, with a line in proportion to the last.
    pub fn picture(&self, model: &str, rows: &[Row], device: &str) -> Option<Picture> {
        let steps = rows.iter().filter(|row| row.metric == "step");
        let mut points: Vec<(f64, f64)> = steps.filter_map(|row| Some((self.value(model, row)?, row.median))).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (&(first, _), &(last, seconds)) = (points.first()?, points.last()?);
        if points.len() < 2 {
            return None;
        }
        let in_proportion = vec![(first, seconds * first / last), (last, seconds)];
        let lines: [Series; 2] = [("measured".into(), points), ("in proportion".into(), in_proportion)];
        Some(powers(&lines, &format!("{model} on {device}"), self.about, "seconds a step"))
    }
}

/// The sweeps over a model, the values that the data allow, every third where it must be quick; then memory after many
/// steps, unless it must be quick.
pub fn items<'a>(bench: &'a Bench, settings: &'a Settings, data: &'a Dataset, is_quick: bool) -> Vec<Item<'a>> {
    let mut items = Vec::new();
    for sweep in &SWEEPS {
        let values = sweep.values.iter().step_by(if is_quick { 3 } else { 1 });
        for &value in values {
            let Ok(settings) = sweep.with(settings, value) else { continue };
            if settings.batch_size > data.train.count {
                continue;
            }
            let case = sweep.case(&settings.preset, value);
            let label = format!("{} {}={value}", settings.preset, sweep.name);
            items.push(Item::new(label, move || {
                let mut rows = steps::measure(bench, &settings, data, &case)?;
                rows.retain(|row| ["step", "arena"].contains(&row.metric.as_str()));
                Ok(rows)
            }));
        }
    }
    if !is_quick {
        let label = format!("memory after {MANY} steps");
        items.push(Item::new(label, move || growth(bench, settings, data)));
    }
    items
}

/// What the process gains over many small steps, after as many as fill whatever is kept.
fn growth(bench: &Bench, settings: &Settings, data: &Dataset) -> Result<Vec<Row>> {
    let settings = settings.with("hidden = [16]\nlatent = 2\nbatch_size = 32")?;
    let mut steps = Steps::new(&bench.device, &settings, data)?;
    steps.take(MANY / 10)?;
    let Some(before) = memory::resident() else { return Ok(Vec::new()) };
    steps.take(MANY)?;
    let after = memory::resident().unwrap_or(before);
    let case = format!("{} hidden=16 latent=2", settings.preset);
    let gained = Spread::single(after as f64 - before as f64);
    Ok(vec![bench.origin.row(&case, Some(settings.batch_size), "growth", gained, &bench.note(data))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_of_its_sweep_alone() {
        let origin = crate::instruments::bench::row::Origin {
            date: String::new(),
            peer: "elbo".into(),
            version: String::new(),
            device: "cpu".into(),
            driver: String::new(),
            threads: None,
        };
        let row = |case: &str, batch| origin.row(case, Some(batch), "step", Spread::single(1.0), "");
        let [batch, hidden, latent] = &SWEEPS;
        assert_eq!(batch.value("mnist-mlp", &row("mnist-mlp", 512)), Some(512.0));
        assert_eq!(hidden.value("mnist-mlp", &row("mnist-mlp", 512)), None);
        assert_eq!(hidden.value("mnist-mlp", &row("mnist-mlp hidden=64", 128)), Some(64.0));
        assert_eq!(latent.value("mnist-mlp", &row("mnist-mlp hidden=64", 128)), None);
        assert_eq!(latent.value("mnist-2d", &row("mnist-mlp latent=2", 128)), None);
        let rows = [row("mnist-mlp", 64), row("mnist-mlp", 128), row("mnist-mlp hidden=64", 128)];
        assert!(batch.picture("mnist-mlp", &rows, "cpu").is_some());
        assert!(hidden.picture("mnist-mlp", &rows, "cpu").is_none() && latent.picture("x", &rows, "cpu").is_none());
    }

    #[test]
    fn a_sweep_changes_its_own_size() {
        let settings = Settings::of_preset("mnist-mlp").unwrap();
        let changed = SWEEPS.each_ref().map(|sweep| sweep.with(&settings, 64).unwrap());
        assert_eq!(changed[0].batch_size, 64);
        assert_eq!(changed[0].own, settings.own);
        assert_eq!(changed[1], settings.with("hidden = [64]").unwrap());
        assert_eq!(changed[2], settings.with("latent = 64").unwrap());
    }
}
