//! `elbo nearest`

use elbo::error::{Error, Result};

use super::sentences::note_unknown;
use super::shared::{DataArgs, ModelArgs, require};
use super::table::{Column, table};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// The sentence whose neighbours are asked for
    #[arg(value_name = "SENTENCE")]
    sentence: String,
    #[command(flatten)]
    data: DataArgs,
    /// How many test sentences
    #[arg(long, value_name = "N", default_value_t = 10)]
    count: usize,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The test sentences whose means of q(z|x) are nearest to the sentence's.
    pub fn run(self) -> Result<()> {
        require(self.count > 0, "--count is 0, but must be at least 1")?;
        let mut model = self.model.open()?;
        if !model.is_of_sentences() {
            let of = &model.card.columns;
            return Err(Error::Usage(format!("nearest asks for a model of sentences, and this one is of {of}")));
        }
        let given = [self.sentence];
        let read = model.read_lines(&given)?;
        note_unknown(&model, &given)?;
        let data = self.data.open(&self.model, &model, false)?;
        let [mean, _] = model.encode(&read.values(0..1), None)?;
        let [means, _] = model.encode_split(&data.test)?;
        let distance = |of: &[f32]| of.iter().zip(&mean).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        let mut found: Vec<(usize, f64)> = means.chunks(mean.len()).map(distance).enumerate().collect();
        found.sort_by(|a, b| a.1.total_cmp(&b.1));
        found.truncate(self.count);
        let (sentence, shown) = (model.shown(&read)?.remove(0), model.shown(&data.test)?);

        if self.json {
            let row = |&(n, distance): &(usize, f64)| serde_json::json!({ "distance": distance, "sentence": shown[n] });
            super::print_json(&serde_json::json!({
                "dataset": data.name, "sentence": sentence, "nearest": found.iter().map(row).collect::<Vec<_>>(),
            }));
            return Ok(());
        }
        super::print(&format!("nearest to: {sentence}\n"));
        let row = |&(n, distance): &(usize, f64)| vec![format!("{distance:.4}"), shown[n].clone()];
        let heads = [("distance", Column::Right), ("sentence", Column::Left)];
        super::print(&table(&heads, &found.iter().map(row).collect::<Vec<_>>()));
        Ok(())
    }
}
