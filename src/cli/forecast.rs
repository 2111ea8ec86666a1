//! `elbo forecast`

use std::path::PathBuf;

use elbo::data::sequences::series::Series;
use elbo::error::Result;
use elbo::files::write_atomic;
use elbo::inference::series::Forecast;
use elbo::picture;
use serde_json::json;

use super::data::DataArgs;
use super::series::{BAND, Drawn, check_panels, panels};
use super::shared::{ModelArgs, require, wrote};

/// Steps before a forecast that its chart shows, in windows.
const SHOWN: usize = 2;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The series to go on with, a .csv or .csv.gz file with the model's channels [default: the run's; of several the
    /// first]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// How many steps to go on for: as many as the model has learned by its setting `hide`, or fewer
    #[arg(long, value_name = "N")]
    steps: usize,
    /// Go on from this step of the series, counted from 0, as if it and those behind it were not known; the chart shows
    /// them [default: behind the last]
    #[arg(long, value_name = "STEP")]
    from: Option<usize>,
    /// Latent points that are drawn of what was seen
    #[arg(long, value_name = "N", default_value_t = 64)]
    samples: usize,
    /// Seed of the samples
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// The CSV file to write, a line a step; the chart stands beside it [default: forecast.csv, in the run folder or
    /// beside the model file]
    #[arg(long, value_name = "FILE.csv")]
    out: Option<PathBuf>,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let out = self.model.output(&self.out, "forecast.csv");
        require(out.extension().is_some_and(|ending| ending == "csv"), "the file of --out must end in .csv")?;
        let mut model = self.model.open()?;
        let [channels, longest] = model.series_sizes()?;
        check_panels(channels, "the model has as many channels")?;
        let data = self.file.as_ref().map_or(DataArgs::default(), |file| DataArgs::of_series(file));
        let series = data.series(&self.model, &model)?.swap_remove(0);
        let numbers = model.standardised(&series)?;
        let from = self.from.unwrap_or(series.steps());
        let problem = format!("--from is {from}, and must be 1 to the {} steps of {}", series.steps(), series.name);
        require((1..=series.steps()).contains(&from), &problem)?;
        let Forecast { mean, deviation } =
            model.forecast(&numbers[..from * channels], self.steps, self.samples, self.seed)?;
        let (drawn, features) = (Drawn { mean, deviation }, model.step_features().clone());

        let rows: Vec<Vec<[f64; 3]>> = (0..self.steps)
            .map(|step| (0..channels).map(|channel| drawn.band(&features, step * channels + channel)).collect())
            .collect();
        write_atomic(&out, &csv_of(&rows, &features.names, from))?;
        let start = from.saturating_sub(SHOWN * longest);
        let end = (from + self.steps).min(series.steps());
        let seen = &series.values[start * channels..end * channels];
        let charts = panels("", seen, &drawn, &features, from - start, true);
        let title = format!("{}, and {} steps from step {from} on", series.name, self.steps);
        let band = format!("{:.0} % of forecasts", 100.0 * BAND);
        let chart = out.with_extension("png");
        picture::panels(&charts, &["series".into(), band], start, &title).save(&chart)?;
        if self.json {
            self.print_json(&series, &rows, &features.names, from);
            return Ok(());
        }
        wrote(
            &out,
            &format!(
                "{} steps from step {from} of {} on, with the {:.0} % band of each",
                self.steps,
                series.name,
                100.0 * BAND
            ),
        );
        wrote(&chart, "the same as a chart, behind the steps before");
        Ok(())
    }

    fn print_json(&self, series: &Series, rows: &[Vec<[f64; 3]>], names: &[String], from: usize) {
        let row = |(number, row): (usize, &Vec<[f64; 3]>)| {
            let channels = names
                .iter()
                .zip(row)
                .map(|(name, [mean, low, high])| json!({ "channel": name, "mean": mean, "low": low, "high": high }));
            json!({ "step": from + number, "channels": channels.collect::<Vec<_>>() })
        };
        let rows: Vec<_> = rows.iter().enumerate().map(row).collect();
        super::print_json(&json!({ "series": series.name, "band": BAND, "samples": self.samples, "steps": rows }));
    }
}

/// `step,x1,x1_low,x1_high,...`, a line a step.
fn csv_of(rows: &[Vec<[f64; 3]>], names: &[String], from: usize) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let heads = names.iter().flat_map(|name| [name.clone(), format!("{name}_low"), format!("{name}_high")]);
    writer.write_record(std::iter::once("step".to_string()).chain(heads)).expect("memory takes every row");
    for (number, row) in rows.iter().enumerate() {
        let cells = row.iter().flatten().map(f64::to_string);
        writer.write_record(std::iter::once((from + number).to_string()).chain(cells)).expect("memory takes every row");
    }
    writer.into_inner().expect("memory takes every row")
}
