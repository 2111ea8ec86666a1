//! `elbo nearest`

use elbo::error::{Error, Result};

use super::data::DataArgs;
use super::sentences::note_unknown;
use super::shared::{ModelArgs, picture_name, require};
use super::sounds;
use super::table::{Column, table};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The sentence whose neighbours are asked for; of a model of recordings a .wav file
    #[arg(value_name = "SENTENCE")]
    given: String,
    #[command(flatten)]
    data: DataArgs,
    /// How many test sentences or recordings
    #[arg(long, value_name = "N", default_value_t = 10)]
    count: usize,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The test sentences or recordings whose means of q(z|x) are nearest to that of the given one.
    pub fn run(self) -> Result<()> {
        require(self.count > 0, "--count is 0, but must be at least 1")?;
        let mut model = self.model.open()?;
        let is_of_sentences = model.is_of_sentences();
        if !is_of_sentences && model.spectrogram().is_err() {
            let of = &model.card.columns;
            let problem = format!("nearest asks for a model of sentences or of recordings, and this one is of {of}");
            return Err(Error::Usage(problem));
        }
        let given = [self.given];
        let read = match is_of_sentences {
            true => {
                let read = model.read_lines(&given)?;
                note_unknown(&model, &given)?;
                read
            }
            false => sounds::read(&model, &given)?.test,
        };
        let data = self.data.open(&self.model, &model, false)?;
        let label = model.labels_of("encode", &read, 0..1)?;
        let [mean, _] = model.encode(&read.values(0..1), label.as_deref())?;
        let [means, _] = model.encode_split(&data.test)?;
        let distance = |of: &[f32]| of.iter().zip(&mean).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        let mut found: Vec<(usize, f64)> = means.chunks(mean.len()).map(distance).enumerate().collect();
        found.sort_by(|a, b| a.1.total_cmp(&b.1));
        found.truncate(self.count);
        let (what, asked, shown) = match is_of_sentences {
            true => ("sentence", model.shown(&read)?.remove(0), model.shown(&data.test)?),
            false => {
                let all = (0..data.test.count).map(|n| picture_name(n, &data)).collect();
                let [given] = given;
                ("recording", given, all)
            }
        };

        if self.json {
            let row =
                |&(n, distance): &(usize, f64)| serde_json::json!({ "distance": distance, what: shown[n], "index": n });
            super::print_json(&serde_json::json!({
                "dataset": data.name, what: asked, "nearest": found.iter().map(row).collect::<Vec<_>>(),
            }));
            return Ok(());
        }
        super::print(&format!("nearest to: {asked}\n"));
        let row = |&(n, distance): &(usize, f64)| vec![format!("{distance:.4}"), shown[n].clone()];
        let heads = [("distance", Column::Right), (what, Column::Left)];
        super::print(&table(&heads, &found.iter().map(row).collect::<Vec<_>>()));
        Ok(())
    }
}
