//! Drawing pictures larger, beside bicubic interpolation.

use elbo::data::table::Kind;
use elbo::error::{Error, Result};
use elbo::inference::Trained;
use elbo::picture::enlarge;
use elbo::picture::quality::Near;
use serde_json::json;

use super::super::data::DataArgs;
use super::super::progress;
use super::{Args, COLUMNS};

/// Pictures that go through the model between two moves of the bar.
const CHUNK: usize = 256;

pub fn run(args: &Args, model: &mut Trained) -> Result<()> {
    let Some(Kind::Picture(low)) = model.find_view("enlarge")?.input("low") else { unreachable!("it takes a picture") };
    if !args.small.is_empty() {
        return small(args, model, low);
    }
    let shape @ [c, h, w] = model.card.picture()?;
    let dims = c * h * w;
    let data = args.open(model)?;
    let (there, drawn) = (data.test.count, args.count.min(data.test.count));
    args.picture.check([4 * drawn.div_ceil(COLUMNS), COLUMNS.min(drawn)], "--count", model)?;
    let wanted: Vec<usize> = data.test.spread_indices(drawn).collect();
    let mut rows = vec![Vec::new(); 4];
    let (mut of_model, mut of_bicubic) = (Near::default(), Near::default());
    let bar = progress::counting("", "pictures", there);
    for start in (0..there).step_by(CHUNK) {
        let range = start..(start + CHUNK).min(there);
        let originals = data.test.values(range.clone());
        let small = model.view("shrink", &[("x", &originals)], 0)?.remove(0);
        let made = larger(model, &small)?;
        let [cubic, blocks] = [enlarge::bicubic, enlarge::blocks].map(|by| by(&small, low, [h, w]));
        for (at, i) in range.clone().enumerate() {
            let of = |values: &[f32]| values[at * dims..(at + 1) * dims].to_vec();
            let [original, made, cubic, blocks] = [&originals, &made, &cubic, &blocks].map(|values| of(values));
            of_model.add(&made, &original, shape);
            of_bicubic.add(&cubic, &original, shape);
            if wanted.contains(&i) {
                rows.iter_mut().zip([blocks, cubic, made, original]).for_each(|(row, picture)| row.extend(picture));
            }
        }
        bar.set_position(range.end as u64);
    }
    bar.finish_and_clear();
    let names = ["small", "bicubic", "enlarged", "original"];
    let sets: Vec<(&str, &[f32])> = names.into_iter().zip(rows.iter().map(Vec::as_slice)).collect();
    let path = args.picture.write_bands(&args.model, "super_resolution.png", model, &sets, COLUMNS)?;
    let [[psnr, ssim], [psnr_bicubic, ssim_bicubic]] =
        [of_model, of_bicubic].map(|near| [near.psnr(), near.ssim().unwrap_or(f64::NAN)]);
    if !args.json {
        super::super::print(&format!("{there} test pictures of {}, made small and large again", data.name));
        super::super::print(&format!("          PSNR (dB)  SSIM\nbicubic   {psnr_bicubic:<9.4}  {ssim_bicubic:.4}"));
        super::super::print(&format!("the model {psnr:<9.4}  {ssim:.4}"));
    }
    let number = |value: f64| Some(value).filter(|v| v.is_finite());
    let object = json!({
        "dataset": data.name, "pictures": there, "psnr": number(psnr), "ssim": number(ssim),
        "psnr_bicubic": number(psnr_bicubic), "ssim_bicubic": number(ssim_bicubic),
    });
    args.tell(&path, &format!("{drawn} pictures of {}: small, bicubic, by the model, as they were", data.name), object);
    Ok(())
}

/// Small pictures of files above what they become.
fn small(args: &Args, model: &mut Trained, low @ [_, h, w]: [usize; 3]) -> Result<()> {
    let mut pictures = Vec::new();
    for file in &args.small {
        let read = DataArgs::read(file, low[0])?;
        let found = read.test.shape().unwrap_or_default();
        if found != low {
            let problem = format!("a picture of {}x{}, and the model enlarges those of {h}x{w}", found[1], found[2]);
            return Err(Error::file(file, problem));
        }
        pictures.extend(read.test.values(0..read.test.count));
    }
    let [_, large_h, large_w] = model.card.picture()?;
    let made = larger(model, &pictures)?;
    let blocks = enlarge::blocks(&pictures, low, [large_h, large_w]);
    let sets = [("small", blocks.as_slice()), ("enlarged", made.as_slice())];
    let path = args.picture.write_bands(&args.model, "super_resolution.png", model, &sets, COLUMNS)?;
    let count = pictures.len() / low.iter().product::<usize>();
    let what = format!("{count} pictures of {h}x{w} above the same of {large_h}x{large_w}");
    args.tell(&path, &what, json!({ "pictures": count }));
    Ok(())
}

/// The mean of p(x|z,low) at the middle of the prior, with values in `[0,1]`.
fn larger(model: &mut Trained, low: &[f32]) -> Result<Vec<f32>> {
    let view = model.find_view("enlarge")?;
    let width = |name: &str| view.input(name).map_or(0, |kind| kind.width());
    let z = vec![0.0; low.len() / width("low") * width("z")];
    let made = model.view("enlarge", &[("low", low), ("z", &z)], 0)?.remove(0);
    Ok(made.into_iter().map(|v| v.clamp(0.0, 1.0)).collect())
}
