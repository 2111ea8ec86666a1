//! `elbo compare`

use std::path::PathBuf;

use elbo::error::Result;
use elbo::mean::Spread;
use elbo::messages::notice;
use elbo::picture::{Curves, Format, Picture, Series, curve_panels};
use elbo::train::history::{Comparison, History};
use elbo::train::metrics::{EpochMetrics, Means};
use serde_json::{Map, Value, json};

use super::shared::wrote;
use super::table::{Column, table};

/// What `--help` says beside the options.
const HELP: &str = "\
The table has the settings in which the runs differ, test loss and terms of the last epoch and the loss of the best \
one, in nats, and the seconds of all epochs. Runs that differ in nothing but their seed have a row more, with mean \
and standard deviation. Runs of different models have the columns that they share. It can be asked while runs go on.";

#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// Run folders
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// The PNG or JPEG file to write
    #[arg(long, value_name = "FILE", default_value = "comparison.png")]
    out: PathBuf,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        Format::of(&self.out)?;
        let runs = self.runs.iter().map(|root| History::read(root)).collect::<Result<_>>()?;
        let compared = Comparison::of(runs);
        drawn(&compared).save(&self.out)?;
        if self.json {
            super::print_json(&to_json(&compared));
            return Ok(());
        }
        print(&compared);
        wrote(&self.out, &format!("the curves of {} runs", compared.runs.len()));
        Ok(())
    }
}

/// The table of these runs, and a line for each without an epoch.
pub fn print(compared: &Comparison) {
    super::print(&as_table(compared));
    for run in compared.runs.iter().filter(|run| run.rows.is_empty()) {
        notice(&format!("{}: no epoch of it has ended yet", run.name));
    }
}

/// A row a run, and one for each group of several seeds.
fn as_table(compared: &Comparison) -> String {
    let Comparison { runs, differing, columns, groups: _ } = compared;
    let mut heads = vec![("run".to_string(), Column::Left)];
    heads.extend(differing.iter().map(|key| (key.clone(), Column::Right)));
    heads.push(("epochs".into(), Column::Right));
    heads.extend(columns.iter().map(|name| (format!("test {name}"), Column::Right)));
    heads.extend(["best loss", "of epoch", "seconds"].map(|head| (head.to_string(), Column::Right)));
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let settings = differing.iter().map(|key| compared.setting(i, key));
        let mut row: Vec<String> = std::iter::once(run.name.clone()).chain(settings).collect();
        row.push(run.rows.len().to_string());
        let value = |of: Option<f64>| of.map_or("-".into(), |value| format!("{value:.4}"));
        row.extend(columns.iter().map(|name| value(run.rows.last().map(|last| run.value(name, &last.test)))));
        row.push(value(run.best().map(|best| best.test.loss)));
        row.push(run.best().map_or("-".into(), |best| best.epoch.to_string()));
        row.push(format!("{:.1}", run.seconds()));
        rows.push(row);
    }
    for group in compared.repeated() {
        let told = |spread: Spread, decimals: usize| {
            format!("{:.decimals$} ± {:.decimals$}", spread.mean, spread.standard_deviation)
        };
        let mut row = vec![format!("mean of {} seeds", group.len())];
        row.extend(
            differing.iter().map(|key| if key == "seed" { String::new() } else { compared.setting(group[0], key) }),
        );
        row.push(String::new());
        row.extend(columns.iter().map(|name| told(spread(compared, group, |run| last(run, name)), 4)));
        row.push(told(spread(compared, group, |run| run.best().map_or(f64::NAN, |best| best.test.loss)), 4));
        row.push(String::new());
        row.push(told(spread(compared, group, History::seconds), 1));
        rows.push(row);
    }
    let heads: Vec<(&str, Column)> = heads.iter().map(|(head, column)| (head.as_str(), *column)).collect();
    table(&heads, &rows)
}

/// The last test value of a column, NaN before the first epoch has ended.
fn last(run: &History, column: &str) -> f64 {
    run.rows.last().map_or(f64::NAN, |row| run.value(column, &row.test))
}

fn spread(compared: &Comparison, group: &[usize], value: impl Fn(&History) -> f64) -> Spread {
    Spread::of_sample(&group.iter().map(|run| value(&compared.runs[*run])).collect::<Vec<_>>())
}

/// A chart of each common column of the test set, and below of the training, with a line a run.
fn drawn(compared: &Comparison) -> Picture {
    let charts = |split: &str, of: fn(&EpochMetrics) -> &Means| {
        let chart = |name: &String| {
            let line = |run: &History| -> Series {
                let points = run.rows.iter().map(|row| (row.epoch as f64, run.value(name, of(row))));
                (run.name.clone(), points.collect())
            };
            Curves { title: format!("{split} {name}"), series: compared.runs.iter().map(line).collect() }
        };
        compared.columns.iter().map(chart).collect()
    };
    let names: Vec<String> = compared.runs.iter().map(|run| short(&run.name)).collect();
    let blocks = [charts("test", |row| &row.test), charts("train", |row| &row.train)];
    curve_panels(&blocks, &names, &format!("{} runs", names.len()), "epoch")
}

/// The name of a run's folder without the folders that it lies in.
fn short(name: &str) -> String {
    let path = std::path::Path::new(name);
    path.file_name().map_or(name.to_string(), |name| name.to_string_lossy().into_owned())
}

/// What a program reads of the runs.
pub fn to_json(compared: &Comparison) -> Value {
    let Comparison { runs, differing, columns, .. } = compared;
    let settings = |run: usize, keys: &mut dyn Iterator<Item = &String>| -> Map<String, Value> {
        keys.map(|key| (key.clone(), compared.setting(run, key).into())).collect()
    };
    let of_epoch = |run: &History, row: &EpochMetrics| {
        let values = columns.iter().map(|name| (name.clone(), run.value(name, &row.test).into()));
        let mut object: Map<String, Value> = values.collect();
        object.insert("epoch".into(), row.epoch.into());
        Value::Object(object)
    };
    let run = |(i, run): (usize, &History)| {
        json!({
            "run": run.name, "settings": settings(i, &mut differing.iter()), "epochs": run.rows.len(),
            "last": run.rows.last().map(|row| of_epoch(run, row)), "best": run.best().map(|row| of_epoch(run, row)),
            "seconds": run.seconds(),
        })
    };
    let group = |group: &Vec<usize>| {
        let spread = |value: &dyn Fn(&History) -> f64| {
            let Spread { mean, standard_deviation } = spread(compared, group, value);
            json!({ "mean": mean, "standard_deviation": standard_deviation })
        };
        let last: Map<String, Value> =
            columns.iter().map(|name| (name.clone(), spread(&|run| last(run, name)))).collect();
        let best = spread(&|run| run.best().map_or(f64::NAN, |best| best.test.loss));
        json!({
            "runs": group.iter().map(|run| &runs[*run].name).collect::<Vec<_>>(),
            "settings": settings(group[0], &mut differing.iter().filter(|key| *key != "seed")),
            "last": last, "best": { "loss": best }, "seconds": spread(&History::seconds),
        })
    };
    json!({
        "differing": differing, "columns": columns,
        "runs": runs.iter().enumerate().map(run).collect::<Vec<_>>(),
        "groups": compared.repeated().map(group).collect::<Vec<_>>(),
    })
}
