//! `elbo decode`

use std::path::PathBuf;

use elbo::data::npy;
use elbo::data::table::Kind;
use elbo::error::{Error, Result};

use super::shared::{LabelArgs, ModelArgs, PictureArgs, describe, require, wrote};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Latent points, a .npy file of little-endian float32 and shape (N, Z), as `elbo encode` writes it
    #[arg(value_name = "LATENTS")]
    latents: PathBuf,
    #[command(flatten)]
    label: LabelArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// Columns of the grid
    #[arg(long, value_name = "N", default_value_t = 16)]
    columns: usize,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let mut model = self.model.open()?;
        model.find_view("decode")?;
        let path = &self.latents;
        let z = npy::read(path)?;
        let latent = model.latent()?;
        if z.columns != latent {
            let problem = format!("its rows have {} numbers, the model has {latent} latent dimensions", z.columns);
            return Err(Error::file(path, problem));
        }
        if z.rows == 0 {
            return Err(Error::file(path, "holds no rows, so there is nothing to decode"));
        }
        if let Some(i) = z.values.iter().position(|v| !v.is_finite()) {
            return Err(Error::file(path, format!("row {}, column {} is {}", i / latent, i % latent, z.values[i])));
        }
        if let Kind::Codes { codes, .. } = model.latent_kind()?
            && let Some(i) = z.values.iter().position(|&v| v.fract() != 0.0 || v < 0.0 || v >= codes as f32)
        {
            let problem = format!("row {}, column {} is {}", i / latent, i % latent, z.values[i]);
            return Err(Error::file(
                path,
                format!("{problem}, but the codes are whole numbers from 0 to {}", codes - 1),
            ));
        }
        require(self.columns > 0, "--columns is 0, but must be at least 1")?;
        let columns = self.columns.min(z.rows);
        self.picture.check([z.rows.div_ceil(columns), columns], "--columns", &model)?;
        let labels = self.label.needed(&model, "decode", z.rows)?;
        let pictures = model.decode(&z.values, labels.as_deref())?;
        let written = self.picture.write(&self.model, "decoded.png", &model, &pictures, columns)?;
        wrote(&written, &format!("{} latent points of {}; model {}", z.rows, path.display(), describe(&model)));
        Ok(())
    }
}
