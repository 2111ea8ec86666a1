//! `elbo encode`

use std::path::PathBuf;

use clap::ValueEnum;
use elbo::data::npy;
use elbo::data::table::Table;
use elbo::error::Result;
use elbo::files::write_atomic;
use elbo::picture;

use super::shared::{DataArgs, LabelArgs, ModelArgs, require, wrote};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    label: LabelArgs,
    /// Which pictures [default: test, of one's own that are not split all]
    #[arg(long, value_enum)]
    split: Option<Which>,
    /// Take the first N pictures only; 0 takes all
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
        let data = self.data.open(&self.model, &model, self.split.is_some())?;
        let all = data.train.count == 0;
        let (mut split, named) = match self.split.unwrap_or(Which::Test) {
            Which::Test => (data.test, if all { "" } else { "test " }),
            Which::Train => (data.train, "training "),
        };
        if self.limit > 0 {
            split = split.truncated(self.limit);
        }
        let told = self.label.given(&model, "encode")?;
        let [mean, logvar] = match told {
            // A label of the pictures that stands in for their own.
            Some(label) => {
                let classes = model.classes("encode")?.expect("the view takes labels");
                model.encode_split(&split.clone().with_labels(vec![label as u8; split.count], classes))?
            }
            None => model.encode_split(&split)?,
        };
        let (rows, latent) = (split.count, model.latent()?);
        let what = format!("{rows} {named}pictures of {}", data.name);

        let csv = table(&split, &mean, &logvar, latent);
        let matrix = npy::Matrix { rows, columns: latent, values: mean };
        npy::write(&out, &matrix)?;
        wrote(&out, &format!("means of {what}, shape ({rows}, {latent})"));
        let path = out.with_extension("csv");
        write_atomic(&path, &csv)?;
        wrote(&path, &format!("label, means and logvars of {what}"));
        if latent == 2 {
            let points: Vec<[f32; 2]> = matrix.values.chunks_exact(2).map(|z| [z[0], z[1]]).collect();
            let path = out.with_extension("png");
            let title = format!("{} ({})", data.name, if all { "all" } else { named.trim() });
            picture::scatter(&points, split.labels(), &data.class_names, &title).save(&path)?;
            wrote(&path, &format!("means of {what} by label"));
        }
        Ok(())
    }
}

/// `label,mean_0,..,logvar_0,..`, a row a picture; the label is empty where the data has none.
fn table(split: &Table, mean: &[f32], logvar: &[f32], latent: usize) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    let names = |stem: &'static str| (0..latent).map(move |j| format!("{stem}_{j}"));
    let header = std::iter::once("label".to_string()).chain(names("mean")).chain(names("logvar"));
    writer.write_record(header).expect("memory takes every row");
    for (i, (mean, logvar)) in mean.chunks(latent).zip(logvar.chunks(latent)).enumerate() {
        let label = split.labels().map_or(String::new(), |labels| labels[i].to_string());
        let row = std::iter::once(label).chain(mean.iter().chain(logvar).map(f32::to_string));
        writer.write_record(row).expect("every row has the header's length");
    }
    writer.into_inner().expect("memory takes every row")
}
