//! `elbo manifold`

use elbo::error::Result;
use elbo::picture::latent::{MANIFOLD_HIGH, MANIFOLD_LOW, manifold_points};

use super::shared::{LabelArgs, ModelArgs, PictureArgs, describe, require, wrote};

#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    label: LabelArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// Rows and columns of the grid
    #[arg(long, value_name = "N", default_value_t = 15)]
    size: usize,
    /// Quantile of N(0,1) at the left and lower edges
    #[arg(long, value_name = "P", default_value_t = MANIFOLD_LOW)]
    low: f64,
    /// Quantile of N(0,1) at the right and upper edges
    #[arg(long, value_name = "P", default_value_t = MANIFOLD_HIGH)]
    high: f64,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let Args { size, low, high, .. } = self;
        let ordered = 0.0 < low && low < high && high < 1.0;
        let rule = "but both must lie inside (0,1), the lower first";
        require(ordered, &format!("--low is {low} and --high {high}, {rule}"))?;
        let mut model = self.model.open()?;
        let latent = model.numbers()?;
        let rule = "a manifold needs 2: take `elbo traverse` instead";
        require(latent == 2, &format!("the model has {latent} latent dimensions, {rule}"))?;
        self.picture.check([size, size], "--size", &model)?;
        let labels = self.label.needed(&model, "decode", size * size)?;
        let pictures = model.decode(&manifold_points(size, low, high).concat(), labels.as_deref())?;
        let path = self.picture.write(&self.model, "manifold.png", &model, &pictures, size)?;
        let what = format!("{size} x {size} latent points, quantiles {low} to {high}");
        wrote(&path, &format!("{what}; model {}", describe(&model)));
        Ok(())
    }
}
