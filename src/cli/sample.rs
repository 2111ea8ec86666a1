//! `elbo sample`

use elbo::error::Result;
use elbo::kernels::random;

use super::shared::{ModelArgs, PictureArgs, describe, require, wrote};

/// The site of the trainer's sample pictures: with the seed of a run, these are its latent points.
const SITE: u32 = 0;

#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// Rows of the grid
    #[arg(long, value_name = "N", default_value_t = 8)]
    rows: usize,
    /// Columns of the grid
    #[arg(long, value_name = "N", default_value_t = 8)]
    columns: usize,
    /// Seed of the latent points
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Standard deviation of the latent points; the prior has 1, less gives plainer pictures
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    temperature: f32,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let Args { rows, columns, seed, temperature, .. } = self;
        let problem = format!("--temperature is {temperature}, but must be 0 or a positive number");
        require(temperature >= 0.0 && temperature.is_finite(), &problem)?;
        let mut model = self.model.open()?;
        self.picture.check([rows, columns], "--rows and --columns", &model.card)?;
        let mut z = random::host_normal(seed, SITE, rows * columns * model.card.config.latent);
        z.iter_mut().for_each(|z| *z *= temperature);
        let pictures = model.decode(&z)?;
        let path = self.picture.write(&self.model, "samples.png", &model.card, &pictures, columns)?;
        let what = format!("{} samples, seed {seed}, temperature {temperature}", rows * columns);
        wrote(&path, &format!("{what}; model {}", describe(&model.card)));
        Ok(())
    }
}
