//! `elbo traverse`

use elbo::error::Result;
use elbo::picture::latent::traverse_points;

use super::data::DataArgs;
use super::shared::{
    LabelArgs, ModelArgs, PictureArgs, describe, evenly, picture_name, require, require_picture, wrote,
};

#[derive(clap::Args)]
#[command(allow_negative_numbers = true)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    label: LabelArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// Index of the test picture whose code is varied
    #[arg(long, value_name = "I", default_value_t = 0)]
    index: usize,
    /// Vary the middle of the prior, zero in all dimensions, instead of a picture's code; needs no data
    #[arg(long, conflicts_with_all = ["index", "dataset", "data"])]
    prior: bool,
    /// First value of the dimension
    #[arg(long, value_name = "X", default_value_t = -3.0)]
    low: f32,
    /// Last value of the dimension
    #[arg(long, value_name = "X", default_value_t = 3.0)]
    high: f32,
    /// Values of each dimension, both ends included
    #[arg(long, value_name = "N", default_value_t = 9)]
    steps: usize,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let Args { index, low, high, steps, .. } = self;
        let ordered = low < high && low.is_finite() && high.is_finite();
        require(ordered, &format!("--low is {low} and --high {high}, but they must be two numbers, the lower first"))?;
        require(steps >= 2, &format!("--steps is {steps}, but must be at least 2: the two ends"))?;
        let mut model = self.model.open()?;
        let latent = model.numbers()?;
        self.picture.check([latent, steps], "--steps", &model)?;
        let (base, label, around) = if self.prior {
            let label = self.label.needed(&model, "decode", 1)?;
            (vec![0.0; latent], label, format!("the prior's middle; model {}", describe(&model)))
        } else {
            let data = self.data.open(&self.model, &model, false)?;
            require_picture("--index", index, &data)?;
            let own = model.labels_of("encode", &data.test, index..index + 1)?;
            let [mean, _] = model.encode(&data.test.values(index..index + 1), own.as_deref())?;
            let label = self.label.given(&model, "decode")?.map(|label| vec![label]).or(own);
            (mean, label, format!("test picture {} of {}", picture_name(index, &data), data.name))
        };
        let z = traverse_points(&base, &evenly(low, high, steps)).concat();
        let labels = label.map(|label| vec![label[0]; latent * steps]);
        let pictures = model.decode(&z, labels.as_deref())?;
        let path = self.picture.write(&self.model, "traversal.png", &model, &pictures, steps)?;
        wrote(&path, &format!("a row for each of {latent} dimensions, from {low} to {high} around {around}"));
        Ok(())
    }
}
