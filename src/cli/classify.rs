//! `elbo classify`

use std::path::PathBuf;
use std::time::Duration;

use elbo::data::Selection;
use elbo::error::Result;
use elbo::inference::{Trained, kl_by_row, labels};
use elbo::kernels::cross_entropy::largest;
use elbo::picture::{self, Format};
use indicatif::{ProgressBar, ProgressStyle};

use super::data::DataArgs;
use super::shared::{ModelArgs, require, wrote};
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
    /// The PNG or JPEG file of the confusion matrix [default: confusion.png in the run folder, or beside the model
    /// file]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The class that the model says, where it has a view for that; else the label y of the lowest -ELBO(x|y), decoded
    /// from the mean of q(z|x,y): with classes that are equally frequent the most probable one by Bayes' rule, as far
    /// as the bound is tight.
    pub fn run(self) -> Result<()> {
        self.out.as_ref().map(Format::of).transpose()?;
        let mut model = self.model.open()?;
        let says = model.views.iter().any(|view| view.name == "classify");
        let classes = match says {
            true => model.find_view("classify")?.output("label").map_or(0, |kind| kind.width()),
            false => model.classes("score")?.expect("a score is of a label"),
        };
        let (data, [_, files]) = self.data.open_with_files(&self.model, &model, false)?;
        let limit = Some(self.test_limit).filter(|&n| n > 0);
        let data = data.limited(Selection::ByName, [None, limit]);
        let is_told = data.test.labels().is_some() || !self.data.has_pictures();
        if !is_told {
            let problem = "--out is of a confusion matrix, and these pictures have no labels: leave it out";
            require(self.out.is_none(), problem)?;
            require(self.test_limit == 0, "--test-limit is of a data set: leave it out where --pictures are given")?;
        }
        let own = if is_told { labels(&data.test, 0..data.test.count, classes)? } else { Vec::new() };

        let style = "{bar:30} {pos}/{len} pictures, {eta} left";
        let bar = ProgressBar::new(data.test.count as u64)
            .with_style(ProgressStyle::with_template(style).expect("a valid template"));
        bar.enable_steady_tick(Duration::from_millis(200));
        // By label, then by what it was taken for.
        let mut counts = vec![vec![0usize; classes]; classes];
        let mut all = Vec::new();
        for start in (0..data.test.count).step_by(CHUNK) {
            let pictures = start..(start + CHUNK).min(data.test.count);
            let values = data.test.values(pictures.clone());
            let taken = match says {
                true => said(&mut model, &values, classes)?,
                false => cheapest(&mut model, &values, classes)?,
            };
            own.iter().skip(start).zip(&taken).for_each(|(&label, &taken)| counts[label][taken] += 1);
            all.extend(taken);
            bar.inc(pictures.len() as u64);
        }
        bar.finish_and_clear();
        if !is_told {
            return self.print_each(&data.name, &files, &all);
        }

        let right: usize = (0..classes).map(|label| counts[label][label]).sum();
        let accuracy = right as f64 / data.test.count as f64;
        let numbers = (0..classes).map(|label| label.to_string());
        let names: Vec<String> = match data.class_names.len() == classes {
            true => data.class_names.clone(),
            false => numbers.clone().collect(),
        };
        let title = format!("{right} of {} right: {:.2} %", data.test.count, 100.0 * accuracy);
        let path = self.model.output(&self.out, "confusion.png");
        picture::confusion(&counts, &names, &title).save(&path)?;
        if self.json {
            super::print_json(&serde_json::json!({
                "dataset": data.name, "pictures": data.test.count, "accuracy": accuracy, "confusion": counts,
                "picture": path,
            }));
            return Ok(());
        }
        let what = if says { "are taken for their own label" } else { "cost least under their own label" };
        super::print(&format!(
            "{right} of {} test pictures of {} {what}: {:.2} %\n",
            data.test.count,
            data.name,
            100.0 * accuracy
        ));
        let numbers: Vec<String> = numbers.collect();
        let heads: Vec<(&str, Column)> = std::iter::once(("label", Column::Right))
            .chain(numbers.iter().map(|name| (&**name, Column::Right)))
            .collect();
        let row = |(label, counts): (usize, &Vec<usize>)| {
            std::iter::once(label.to_string()).chain(counts.iter().map(usize::to_string)).collect()
        };
        super::print(&table(&heads, &counts.iter().enumerate().map(row).collect::<Vec<_>>()));
        wrote(&path, "what each label was taken for");
        Ok(())
    }
}

impl Args {
    /// What each of one's own pictures is taken for, whose own labels are not known.
    fn print_each(&self, data: &str, files: &[PathBuf], taken: &[usize]) -> Result<()> {
        let rows = files.iter().map(|file| file.display().to_string()).zip(taken);
        if self.json {
            let each = rows.map(|(file, label)| serde_json::json!({ "file": file, "label": label }));
            super::print_json(&serde_json::json!({ "dataset": data, "each": each.collect::<Vec<_>>() }));
            return Ok(());
        }
        let rows: Vec<Vec<String>> = rows.map(|(file, label)| vec![file, label.to_string()]).collect();
        super::print(&table(&[("file", Column::Left), ("label", Column::Right)], &rows));
        Ok(())
    }
}

/// The class of the largest q(y|x), of each of these pictures.
fn said(model: &mut Trained, values: &[f32], classes: usize) -> Result<Vec<usize>> {
    let probabilities = model.view("classify", &[("x", values)], 0)?.remove(0);
    Ok(probabilities.chunks(classes).map(largest).collect())
}

/// The label of the lowest -ELBO(x|y), of each of these pictures.
fn cheapest(model: &mut Trained, values: &[f32], classes: usize) -> Result<Vec<usize>> {
    let latent = model.find_view("score")?.output("mean").map_or(0, |kind| kind.width());
    let mut lowest: Vec<(f64, usize)> = Vec::new();
    for label in 0..classes {
        let count = values.len() / model.find_view("score")?.inputs[0].kind.width();
        let outputs = model.told("score", ("x", values), Some(&vec![label; count]), 0)?;
        let kl = kl_by_row(&outputs[1], &outputs[2], latent);
        lowest.resize(count, (f64::INFINITY, 0));
        for ((best, &recon), kl) in lowest.iter_mut().zip(&outputs[0]).zip(kl) {
            let loss = f64::from(recon) + kl;
            if loss < best.0 {
                *best = (loss, label);
            }
        }
    }
    Ok(lowest.into_iter().map(|(_, label)| label).collect())
}
