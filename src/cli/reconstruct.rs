//! `elbo reconstruct`

use elbo::error::Result;

use super::shared::{DataArgs, ModelArgs, PictureArgs, require, wrote};

/// Pictures side by side at most.
const COLUMNS: usize = 16;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// How many test pictures, spread evenly over the set
    #[arg(long, value_name = "N", default_value_t = 16)]
    count: usize,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let count = self.count;
        let mut model = self.model.open()?;
        let grid = [count.div_ceil(COLUMNS).saturating_mul(2), COLUMNS.min(count)];
        self.picture.check(grid, "--count", &model.card)?;
        let data = self.data.open(&self.model, &model.card)?;
        let there = data.test.count;
        require(count <= there, &format!("--count is {count}, but {} has {there} test pictures", data.name))?;
        let originals = data.test.spread(count);
        let (mean, _) = model.encode(&originals)?;
        let made = model.decode(&mean)?;
        let pairs = [&originals[..], &made];
        let path = self.picture.write_pairs(&self.model, "reconstructions.png", &model.card, pairs, COLUMNS)?;
        wrote(&path, &format!("{count} test pictures of {} above their reconstructions", data.name));
        Ok(())
    }
}
