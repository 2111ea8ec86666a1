//! `elbo export`

use std::fs;
use std::path::PathBuf;

use elbo::backend::Device;
use elbo::backend::cpu::Cpu;
use elbo::error::{Error, Result};
use elbo::files::write_atomic;
use elbo::inference::{Trained, model_file};
use elbo::messages::notice;
use elbo::onnx;

use super::shared::{describe, wrote};

#[derive(clap::Args)]
pub struct Args {
    /// A run folder, or a model file of pictures (.safetensors)
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// Of a run folder, take the model of the best epoch instead of the last one's
    #[arg(long)]
    best: bool,
    /// The folder for encoder.onnx, x (batch,C,H,W) with values from 0 to 1 to mean and logvar (batch,Z), and for
    /// decoder.onnx, z (batch,Z) to the picture x. A model that is told the label takes it as (batch,K), 1 at the label
    #[arg(long, value_name = "DIR")]
    onnx: PathBuf,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let file = model_file(&self.model, self.best)?;
        // Nothing runs: the device does not matter.
        let mut model = Trained::open(&file, &Device::Cpu(Cpu::Accelerated))?;
        model.notices().iter().for_each(|line| notice(line));
        notice(&format!("model: {}, {}", file.display(), describe(&model)));
        // Both or none.
        let files = [("encode", "encoder.onnx"), ("decode", "decoder.onnx")];
        let files = files.map(|(view, name)| Ok((name, onnx::export(&mut model, view)?)));
        let files = files.into_iter().collect::<Result<Vec<_>>>()?;
        fs::create_dir_all(&self.onnx).map_err(Error::io("create the folder", &self.onnx))?;
        for (name, (bytes, text)) in files {
            let path = self.onnx.join(name);
            write_atomic(&path, &bytes)?;
            wrote(&path, &text);
        }
        Ok(())
    }
}
