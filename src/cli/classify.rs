//! `elbo classify`

use std::time::Duration;

use elbo::data::Selection;
use elbo::error::Result;
use elbo::inference::kl_by_row;
use indicatif::{ProgressBar, ProgressStyle};

use super::shared::{DataArgs, ModelArgs};
use super::table::{Column, table};

/// Pictures that go through the model between two moves of the bar.
const CHUNK: usize = 256;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    /// Take N test pictures only: the first ones, of a folder or array a share of all; 0 takes all
    #[arg(long, value_name = "N", default_value_t = 0)]
    test_limit: usize,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The label y of the lowest -ELBO(x|y), decoded from the mean of q(z|x,y): with classes that are equally frequent
    /// the most probable one by Bayes' rule, as far as the bound is tight.
    pub fn run(self) -> Result<()> {
        let mut model = self.model.open()?;
        let view = model.find_view("score")?.clone();
        let classes = model.classes("score")?.expect("a score is of a label");
        let latent = view.output("mean").map_or(0, |kind| kind.width());
        let data = self.data.open(&self.model, &model, false)?;
        let limit = Some(self.test_limit).filter(|&n| n > 0);
        let data = data.limited(Selection::ByName, [None, limit]);
        let own = model.labels_of("score", &data.test, 0..data.test.count)?.expect("the view takes labels");

        let style = "{bar:30} {pos}/{len} pictures, {eta} left";
        let bar = ProgressBar::new(data.test.count as u64)
            .with_style(ProgressStyle::with_template(style).expect("a valid template"));
        bar.enable_steady_tick(Duration::from_millis(200));
        // By label, then by what it was taken for.
        let mut counts = vec![vec![0usize; classes]; classes];
        for start in (0..data.test.count).step_by(CHUNK) {
            let pictures = start..(start + CHUNK).min(data.test.count);
            let values = data.test.values(pictures.clone());
            let mut lowest = vec![(f64::INFINITY, 0); pictures.len()];
            for label in 0..classes {
                let outputs = model.told("score", ("x", &values), Some(&vec![label; pictures.len()]), 0)?;
                let kl = kl_by_row(&outputs[1], &outputs[2], latent);
                for ((best, &recon), kl) in lowest.iter_mut().zip(&outputs[0]).zip(kl) {
                    let loss = f64::from(recon) + kl;
                    if loss < best.0 {
                        *best = (loss, label);
                    }
                }
            }
            for (&(_, taken), &label) in lowest.iter().zip(&own[pictures.clone()]) {
                counts[label][taken] += 1;
            }
            bar.inc(pictures.len() as u64);
        }
        bar.finish_and_clear();

        let right: usize = (0..classes).map(|label| counts[label][label]).sum();
        let accuracy = right as f64 / data.test.count as f64;
        if self.json {
            super::print_json(&serde_json::json!({
                "dataset": data.name, "pictures": data.test.count, "accuracy": accuracy, "confusion": counts,
            }));
            return Ok(());
        }
        super::print(&format!(
            "{right} of {} test pictures of {} cost least under their own label: {:.2} %\n",
            data.test.count,
            data.name,
            100.0 * accuracy
        ));
        let names: Vec<String> = (0..classes).map(|label| label.to_string()).collect();
        let heads: Vec<(&str, Column)> = std::iter::once(("label", Column::Right))
            .chain(names.iter().map(|name| (&**name, Column::Right)))
            .collect();
        let row = |(label, counts): (usize, &Vec<usize>)| {
            std::iter::once(label.to_string()).chain(counts.iter().map(usize::to_string)).collect()
        };
        super::print(&table(&heads, &counts.iter().enumerate().map(row).collect::<Vec<_>>()));
        Ok(())
    }
}
