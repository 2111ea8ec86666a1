//! `elbo interpolate`

use clap::ValueEnum;
use elbo::data::Dataset;
use elbo::error::Result;
use elbo::inference::Trained;
use elbo::picture::latent::{lerp, slerp};

use super::shared::{
    DataArgs, LabelArgs, ModelArgs, PictureArgs, evenly, picture_name, require, require_picture, wrote,
};

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
    /// Index of the test picture to start from
    #[arg(long, value_name = "I", default_value_t = 0)]
    from: usize,
    /// Index of the test picture to end at [default: the first with another label]
    #[arg(long, value_name = "I")]
    to: Option<usize>,
    /// Pictures from one end to the other, both ends included
    #[arg(long, value_name = "N", default_value_t = 10)]
    steps: usize,
    /// The way through latent space
    #[arg(long, value_enum, default_value_t = Method::Both)]
    method: Method,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Method {
    /// A straight line
    Linear,
    /// A great circle, which keeps to the radii where the prior has its mass
    Spherical,
    /// A row each
    Both,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let Args { from, steps, method, .. } = self;
        require(steps >= 2, &format!("--steps is {steps}, but must be at least 2: the two ends"))?;
        type Path = fn(&[f32], &[f32], f32) -> Vec<f32>;
        let (ways, named): (&[Path], _) = match method {
            Method::Linear => (&[lerp], "linear"),
            Method::Spherical => (&[slerp], "spherical"),
            Method::Both => (&[lerp, slerp], "linear above spherical"),
        };
        let mut model = self.model.open()?;
        self.picture.check([ways.len(), steps], "--steps", &model)?;
        let data = self.data.open(&self.model, &model, false)?;
        require_picture("--from", from, &data)?;
        let to = self.to.unwrap_or_else(|| other_label(from, &data));
        require_picture("--to", to, &data)?;

        let own = |model: &Trained, i: usize| model.labels_of("encode", &data.test, i..i + 1);
        let (label_a, label_b) = (own(&model, from)?, own(&model, to)?);
        let [a, _] = model.encode(&data.test.values(from..from + 1), label_a.as_deref())?;
        let [b, _] = model.encode(&data.test.values(to..to + 1), label_b.as_deref())?;
        let times = evenly(0.0, 1.0, steps);
        let z: Vec<f32> = ways.iter().flat_map(|way| times.iter().flat_map(|&t| way(&a, &b, t))).collect();
        // All of one label: the first picture's, where none is given.
        let label = self.label.given(&model, "decode")?.or(label_a.map(|labels| labels[0]));
        let labels = label.map(|label| vec![label; ways.len() * steps]);
        let pictures = model.decode(&z, labels.as_deref())?;
        let path = self.picture.write(&self.model, "interpolation.png", &model, &pictures, steps)?;
        let (from, to) = (picture_name(from, &data), picture_name(to, &data));
        wrote(&path, &format!("{steps} steps from test picture {from} of {} to {to}, {named}", data.name));
        Ok(())
    }
}

/// The first test picture whose label is not that of `from`; where there is none, the one after it.
fn other_label(from: usize, data: &Dataset) -> usize {
    let labels = data.test.labels().unwrap_or_default();
    labels.iter().position(|label| *label != labels[from]).unwrap_or((from + 1) % data.test.count)
}
