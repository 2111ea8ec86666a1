//! Filling in the unknown pixels of pictures.

use std::path::Path;

use elbo::error::{Error, Result};
use elbo::inference::{Trained, editing};
use elbo::picture::quality;
use serde_json::json;

use super::super::data::DataArgs;
use super::super::progress;
use super::super::shared::spread_labels;
use super::{Args, COLUMNS};

/// Draws test pictures without the pixels where the mask is white, filled in, and whole.
pub fn run(args: &Args, model: &mut Trained, mask: &Path) -> Result<()> {
    model.find_view("fill")?;
    let dims: usize = model.card.picture()?.iter().product();
    let unknown = DataArgs::of(mask).open(&args.model, model, false)?.test.values(0..1);
    let hidden = unknown.iter().filter(|&&v| v >= 0.5).count();
    if hidden == 0 || hidden == dims {
        let what = if hidden == 0 { "no pixel is white: nothing is hidden" } else { "all is white: nothing is known" };
        return Err(Error::file(mask, format!("in this mask {what}")));
    }
    let seen_of_one: Vec<f32> = unknown.iter().map(|&v| f32::from(v < 0.5)).collect();
    let data = args.open(model)?;
    let count = args.count.min(data.test.count);
    args.picture.check([3 * count.div_ceil(COLUMNS), COLUMNS.min(count)], "--count", model)?;
    let originals = data.test.spread(count);
    let labels = spread_labels(model, "fill", &data, count)?;
    let seen = seen_of_one.repeat(count);

    let bar = progress::counting("", "steps", editing::STEPS);
    let filled = model.fill([&originals, &seen], labels.as_deref(), &mut |step| bar.set_position(step as u64));
    bar.finish_and_clear();
    let (filled, _) = filled?;
    // Hidden pixels are drawn grey.
    let shown: Vec<f32> = originals.iter().zip(&seen).map(|(x, seen)| x * seen + 0.5 * (1.0 - seen)).collect();
    let of_hidden = |values: &[f32]| -> Vec<f32> {
        values.iter().zip(&seen).filter(|(_, seen)| **seen == 0.0).map(|(v, _)| *v).collect()
    };
    let psnr = quality::psnr(&of_hidden(&filled), &of_hidden(&originals));
    let sets = [("hidden", shown.as_slice()), ("filled", filled.as_slice()), ("original", originals.as_slice())];
    let path = args.picture.write_bands(&args.model, "inpainted.png", model, &sets, COLUMNS)?;
    if !args.json {
        super::super::print(&format!("{hidden} of {dims} pixels are filled in: PSNR {psnr:.2} dB of these alone"));
    }
    let what = format!("{count} test pictures of {}, hidden above filled in above whole", data.name);
    let object = json!({ "dataset": data.name, "pictures": count, "hidden": hidden, "psnr_hidden": psnr });
    args.tell(&path, &what, object);
    Ok(())
}
