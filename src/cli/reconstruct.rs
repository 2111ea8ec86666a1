//! `elbo reconstruct`

use elbo::error::Result;
use elbo::inference::Trained;
use elbo::messages::notice;

use super::shared::{DataArgs, ModelArgs, PictureArgs, require, wrote};

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
    picture: PictureArgs,
    /// How many test pictures, spread evenly over the set [default: 16, or all where there are fewer]
    #[arg(long, value_name = "N")]
    count: Option<usize>,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let mut model = self.model.open()?;
        let check = |count: usize, model: &Trained| {
            let grid = [count.div_ceil(COLUMNS).saturating_mul(2), COLUMNS.min(count)];
            self.picture.check(grid, "--count", &model.card)
        };
        if let Some(count) = self.count {
            check(count, &model)?;
        }
        let data = self.data.open(&self.model, &model.card, false)?;
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
        let (mean, _) = model.encode(&originals)?;
        let made = model.decode(&mean)?;
        let pairs = [&originals[..], &made];
        let path = self.picture.write_pairs(&self.model, "reconstructions.png", &model.card, pairs, COLUMNS)?;
        wrote(&path, &format!("{count} test pictures of {} above their reconstructions", data.name));
        Ok(())
    }
}
