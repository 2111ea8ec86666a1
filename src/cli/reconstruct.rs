//! `elbo reconstruct`

use elbo::error::Result;
use elbo::inference::Trained;
use elbo::messages::notice;

use super::shared::{DataArgs, LabelArgs, ModelArgs, PictureArgs, require, wrote};

/// Pictures side by side at most.
const COLUMNS: usize = 16;
/// Pictures where no count is given and there are as many.
const COUNT: usize = 16;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    label: LabelArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// How many test pictures, spread evenly over the set [default: 16, or all where there are fewer]
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Seed of the noise that a denoising model puts on the pictures
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let mut model = self.model.open()?;
        let view = model.find_view("reconstruct")?.clone();
        let label = self.label.given(&model, "decode")?;
        let check = |count: usize, model: &Trained| {
            let bands = 1 + view.outputs.len();
            let grid = [count.div_ceil(COLUMNS).saturating_mul(bands), COLUMNS.min(count)];
            self.picture.check(grid, "--count", model)
        };
        if let Some(count) = self.count {
            check(count, &model)?;
        }
        let data = self.data.open(&self.model, &model, false)?;
        let there = data.test.count;
        if there < COUNT && self.count.is_none() {
            notice(&format!(
                "note: {} has {there} test pictures, fewer than {COUNT}: all of them are drawn",
                data.name
            ));
        }
        let count = self.count.unwrap_or(COUNT.min(there));
        require(count <= there, &format!("--count is {count}, but {} has {there} test pictures", data.name))?;
        check(count, &model)?;
        let originals = data.test.spread(count);
        // Encoded under its own label; under another the same z becomes another digit in the same hand.
        let own = |view: &str| {
            let labels = data.test.spread_indices(count).map(|i| model.labels_of(view, &data.test, i..i + 1));
            labels.map(|label| Ok(label?.map(|label| label[0]))).collect::<Result<Option<Vec<usize>>>>()
        };
        let own = own("reconstruct")?;
        let (made, what) = match label {
            Some(label) => {
                let [mean, _] = model.encode(&originals, own.as_deref())?;
                let labels = vec![label; count];
                (vec![model.decode(&mean, Some(&labels))?], format!("their reconstructions under label {label}"))
            }
            None => {
                let made = model.told("reconstruct", ("x", &originals), own.as_deref(), self.seed)?;
                let names: Vec<&str> = view.outputs.iter().map(|port| port.name).collect();
                let plain = names == ["reconstruction"];
                let what =
                    if plain { "their reconstructions".into() } else { format!("{} of each", names.join(" and ")) };
                (made, what)
            }
        };
        let sets: Vec<&[f32]> = std::iter::once(&originals).chain(&made).map(Vec::as_slice).collect();
        let path = self.picture.write_bands(&self.model, "reconstructions.png", &model, &sets, COLUMNS)?;
        wrote(&path, &format!("{count} test pictures of {} above {what}", data.name));
        Ok(())
    }
}
