//! `elbo encode`

use std::path::PathBuf;

use clap::ValueEnum;
use elbo::data::npy;
use elbo::error::Result;
use elbo::files::write_atomic;
use elbo::picture;

use super::data::DataArgs;
use super::shared::{LabelArgs, ModelArgs, require, wrote};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    label: LabelArgs,
    /// Which pictures or sentences [default: test, of one's own that are not split all]
    #[arg(long, value_enum)]
    split: Option<Which>,
    /// Take the first N only; 0 takes all
    #[arg(long, value_name = "N", default_value_t = 0)]
    limit: usize,
    /// The .npy file of the means (N,Z); the CSV and, for 2 latent dimensions, the scatter picture go beside it
    /// [default: latents.npy in the run folder, or beside the model file]
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    Test,
    Train,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let out = self.model.output(&self.out, "latents.npy");
        let is_npy = out.extension().is_some_and(|extension| extension == "npy");
        require(
            is_npy,
            &format!("--out is {}, but must end in .npy: the other files are named after it", out.display()),
        )?;
        let mut model = self.model.open()?;
        let is_parted = self.split.is_none() || !self.data.has_pictures();
        require(is_parted, "--split is of a data set: leave it out where --pictures are given")?;
        let (data, [of_train, of_test]) = self.data.open_with_files(&self.model, &model, self.split.is_some())?;
        let (all, examples) = (data.train.count == 0, data.examples());
        let (mut split, files, named) = match self.split.unwrap_or(Which::Test) {
            Which::Test => (data.test, of_test, if all { "" } else { "test " }),
            Which::Train => (data.train, of_train, "training "),
        };
        if self.limit > 0 {
            split = split.truncated(self.limit);
        }
        let told = self.label.given(&model, "encode")?;
        let mut encoded = match told {
            // A label of the pictures that stands in for their own.
            Some(label) => {
                let classes = model.classes("encode")?.expect("the view takes labels");
                model.codes_split(&split.clone().with_labels(vec![label as u8; split.count], classes))?
            }
            None => model.codes_split(&split)?,
        };
        let names: Vec<&str> = model.find_view("encode")?.outputs.iter().map(|port| port.name).collect();
        let rows = split.count;
        let what = format!("{rows} {named}{examples} of {}", data.name);

        let first = match model.is_of_sentences() {
            true => vec![("sentence", model.shown(&split)?)],
            false => what_they_are(split.labels(), rows, &data.class_names, &files),
        };
        let csv = table(&first, &names, &encoded);
        let values = encoded.swap_remove(0);
        let latent = values.len() / rows;
        let matrix = npy::Matrix { rows, columns: latent, values };
        npy::write(&out, &matrix)?;
        wrote(&out, &format!("{} of {what}, shape ({rows}, {latent})", plural(names[0])));
        let path = out.with_extension("csv");
        write_atomic(&path, &csv)?;
        let columns: Vec<String> = names.iter().map(|name| plural(name)).collect();
        let heads: Vec<&str> = first.iter().map(|(head, _)| *head).collect();
        wrote(&path, &format!("{}, {} of {what}", heads.join(", "), columns.join(" and ")));
        if latent == 2 && names[0] == "mean" {
            let points: Vec<[f32; 2]> = matrix.values.chunks_exact(2).map(|z| [z[0], z[1]]).collect();
            let path = out.with_extension("png");
            let title = format!("{} ({})", data.name, if all { "all" } else { named.trim() });
            picture::scatter(&points, split.labels(), &data.class_names, &title).save(&path)?;
            wrote(&path, &format!("means of {what} by label"));
        }
        Ok(())
    }
}

/// As in `means`; what ends in an s stays.
fn plural(name: &str) -> String {
    if name.ends_with('s') { name.into() } else { format!("{name}s") }
}

/// The first columns of examples that are no sentences: the label, empty where there is none, and where it is known
/// which files they are of, the name of the class and the file.
fn what_they_are(
    labels: Option<&[u8]>,
    rows: usize,
    class_names: &[String],
    files: &[PathBuf],
) -> Vec<(&'static str, Vec<String>)> {
    let by_row =
        |text: &dyn Fn(u8) -> String| (0..rows).map(|i| labels.map_or(String::new(), |of| text(of[i]))).collect();
    let mut columns = vec![("label", by_row(&|label| label.to_string()))];
    if !files.is_empty() {
        let class = |label: u8| class_names.get(usize::from(label)).cloned().unwrap_or_default();
        columns.push(("class", by_row(&class)));
        columns.push(("file", files.iter().take(rows).map(|file| file.display().to_string()).collect()));
    }
    columns
}

/// `label,mean_0,..,logvar_0,..`, a row an example, for outputs of these names. `first` has the heads and the texts of
/// the first columns.
fn table(first: &[(&str, Vec<String>)], names: &[&str], outputs: &[Vec<f32>]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let rows = first[0].1.len();
    let widths = outputs.iter().map(|values| values.len() / rows);
    let columns = names.iter().zip(widths.clone()).flat_map(|(stem, n)| (0..n).map(move |j| format!("{stem}_{j}")));
    let heads = first.iter().map(|(head, _)| head.to_string());
    writer.write_record(heads.chain(columns)).expect("memory takes every row");
    for i in 0..rows {
        let values = outputs.iter().zip(widths.clone()).flat_map(|(values, n)| &values[i * n..(i + 1) * n]);
        let row = first.iter().map(|(_, texts)| texts[i].clone()).chain(values.map(f32::to_string));
        writer.write_record(row).expect("every row has the header's length");
    }
    writer.into_inner().expect("memory takes every row")
}
