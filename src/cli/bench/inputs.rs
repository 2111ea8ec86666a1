//! `elbo bench inputs`

use std::path::PathBuf;

use elbo::error::Result;
use elbo::instruments::bench::{data, inputs};

use super::{MODELS, settings};
use crate::cli::progress;
use crate::cli::shared::wrote;

/// Peers read it, so that all train the same models from the same parameters on the same batches.
#[derive(clap::Args)]
pub struct Args {
    /// The safetensors file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// MNIST's folder [default: $ELBO_DATA, else data/mnist, and the built-in digits where it is in neither]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Training pictures at most
    #[arg(long, value_name = "N")]
    pictures: Option<usize>,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let data = data(self.data.as_deref(), self.pictures, &mut progress::shown())?;
        let models = MODELS.map(settings).into_iter().collect::<Result<Vec<_>>>()?;
        inputs::write(&self.file, &models, &data)?;
        let what = format!("{} {} pictures, orders and initial parameters", data.train.count, data.name);
        wrote(&self.file, &what);
        Ok(())
    }
}
