//! `elbo report`

use std::path::{Path, PathBuf};

use elbo::backend::{Device, choose};
use elbo::error::{Error, Result};
use elbo::messages::notice;
use elbo::report::{self, Examples};
use elbo::train::run_folder::RunFolder;

use super::data::DataArgs;
use super::shared::{ModelArgs, wrote};

/// What `--help` says beside the options.
const HELP: &str = "\
The page needs no network: settings, curves with their numbers, samples and reconstructions, the latent space, \
traversals under sliders, the KL of each dimension, what is unhealthy, the plan of the step, the machine. A model \
has the sections that it has views for; without its data there are no latents. `elbo train` writes the same at its \
end.";

#[derive(clap::Args)]
#[command(after_help = HELP)]
pub struct Args {
    /// A run folder
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The HTML file to write [default: report.html in the run folder]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// auto (a real GPU, else the CPU), cpu, gpu, or part of an adapter's name
    #[arg(long, value_name = "NAME", default_value = "auto")]
    device: String,
}

impl Args {
    pub fn run(self) -> Result<()> {
        let folder = RunFolder::open(&self.run)?;
        let out = self.out.unwrap_or_else(|| folder.report());
        let ending = out.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if !["html", "htm"].contains(&ending) {
            return Err(Error::file(&out, "a report is an HTML file: end its name in .html"));
        }
        let device = choose::open(&self.device)?;
        notice(&format!("device: {}", device.description()));
        let data = if folder.model().is_file() { open_data(&self.run, &device) } else { None };
        let examples = data.as_ref().map(|data| Examples { test: &data.test, class_names: &data.class_names });
        report::write(&self.run, examples, &device, &out)?;
        wrote(&out, "the report of this run");
        Ok(())
    }
}

/// The run's data, read again. Without them a report lacks what needs them, which is said.
fn open_data(run: &Path, device: &Device) -> Option<elbo::data::Dataset> {
    let args = ModelArgs::of_run(run, device);
    let opened =
        elbo::inference::Trained::open(run, device).and_then(|model| DataArgs::default().open(&args, &model, false));
    opened.map_err(|e| notice(&format!("note: there are no latents in the report: {e}"))).ok()
}
