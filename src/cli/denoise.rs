//! `elbo denoise`

use std::path::PathBuf;

use elbo::data::Selection;
use elbo::error::{Error, Result};
use elbo::picture;
use elbo::picture::quality::Near;

use super::data::DataArgs;
use super::progress;
use super::shared::{ModelArgs, PictureArgs, require, wrote};

/// Pictures side by side at most.
const COLUMNS: usize = 16;
/// Pictures that go through the model between two moves of the bar.
const CHUNK: usize = 256;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    #[command(flatten)]
    picture: PictureArgs,
    /// The pictures are noisy as they are: none is added, and nothing is measured
    #[arg(long)]
    as_is: bool,
    /// How many pictures to draw, spread evenly over the set; all are measured
    #[arg(long, value_name = "N", default_value_t = 16)]
    count: usize,
    /// Take N test pictures only: the first ones, of a folder or array a share of all; 0 takes all
    #[arg(long, value_name = "N", default_value_t = 0)]
    test_limit: usize,
    /// Seed of the noise
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Write each denoised picture to this folder too, as a PNG file of its number
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        require(self.count > 0, "--count is 0, but must be at least 1")?;
        let mut model = self.model.open()?;
        model.find_view("denoise")?;
        let shape = model.card.picture()?;
        let data = self.data.open(&self.model, &model, false)?;
        let limit = Some(self.test_limit).filter(|&n| n > 0);
        let data = data.limited(Selection::ByName, [None, limit]);
        let (there, dims) = (data.test.count, data.test.dims());
        let drawn = self.count.min(there);
        let bands = if self.as_is { 2 } else { 3 };
        self.picture.check([drawn.div_ceil(COLUMNS) * bands, COLUMNS.min(drawn)], "--count", &model)?;
        if let Some(folder) = &self.save {
            std::fs::create_dir_all(folder).map_err(Error::io("create the folder", folder))?;
        }

        let bar = progress::counting("", "pictures", there);
        let wanted: Vec<usize> = data.test.spread_indices(drawn).collect();
        // Of the pictures that are drawn: noisy, denoised, and where it is known clean.
        let mut rows = vec![Vec::new(); bands];
        let (mut before, mut after) = (Near::default(), Near::default());
        for start in (0..there).step_by(CHUNK) {
            let pictures = start..(start + CHUNK).min(there);
            let given = data.test.values(pictures.clone());
            let (noisy, denoised) = match self.as_is {
                true => {
                    let denoised = model.view("denoise", &[("x", &given)], self.seed)?.remove(0);
                    (given.clone(), denoised)
                }
                false => {
                    // Each chunk has noise of its own.
                    let seed = self.seed.wrapping_add((start as u64) << 32);
                    let outputs = model.view("reconstruct", &[("x", &given)], seed)?;
                    <[_; 2]>::try_from(outputs).expect("noisy and denoised pictures").into()
                }
            };
            for (at, i) in pictures.enumerate() {
                let of = |values: &[f32]| values[at * dims..(at + 1) * dims].to_vec();
                let (noisy, denoised, clean) = (of(&noisy), of(&denoised), of(&given));
                if !self.as_is {
                    before.add(&noisy, &clean, shape);
                    after.add(&denoised, &clean, shape);
                }
                if let Some(folder) = &self.save {
                    let [c, h, w] = shape;
                    picture::plain(&denoised, [c, h, w])?.save(folder.join(format!("{i:05}.png")))?;
                }
                if wanted.contains(&i) {
                    rows.iter_mut().zip([noisy, denoised, clean]).for_each(|(row, picture)| row.extend(picture));
                }
            }
            bar.inc((there - start).min(CHUNK) as u64);
        }
        bar.finish_and_clear();

        let sets: Vec<(&str, &[f32])> =
            ["noisy", "denoised", "clean"].into_iter().zip(rows.iter().map(Vec::as_slice)).collect();
        let path = self.picture.write_bands(&self.model, "denoised.png", &model, &sets, COLUMNS)?;
        let [[psnr_before, ssim_before], [psnr, ssim]] =
            [before, after].map(|near| [near.psnr(), near.ssim().unwrap_or(f64::NAN)]);
        if self.json {
            let number = |value: f64| Some(value).filter(|v| v.is_finite() && !self.as_is);
            super::print_json(&serde_json::json!({
                "dataset": data.name, "pictures": there, "seed": self.seed, "as_is": self.as_is,
                "psnr_noisy": number(psnr_before), "psnr": number(psnr),
                "ssim_noisy": number(ssim_before), "ssim": number(ssim), "picture": path,
            }));
            return Ok(());
        }
        if !self.as_is {
            super::print(&format!("{there} test pictures of {}, against the clean ones", data.name));
            super::print(&format!("          PSNR (dB)  SSIM\nnoisy     {psnr_before:<9.4}  {ssim_before:.4}"));
            super::print(&format!("denoised  {psnr:<9.4}  {ssim:.4}"));
        }
        let what = if self.as_is { "noisy above denoised" } else { "noisy above denoised above clean" };
        wrote(&path, &format!("{drawn} pictures of {}, {what}", data.name));
        if let Some(folder) = &self.save {
            wrote(folder, &format!("{there} denoised pictures"));
        }
        Ok(())
    }
}
