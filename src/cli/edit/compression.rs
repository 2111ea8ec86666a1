//! Bits a dimension of pictures that are coded with the model, beside PNG.

use elbo::data::binarise::is_binary;
use elbo::error::{Error, Result};
use elbo::inference::Trained;
use elbo::models::parts::likelihood::Likelihood;
use elbo::picture;
use elbo::train::evaluation::Latent;
use rayon::prelude::*;

use super::super::table::{Column, table};
use super::Args;

/// Pictures of an evaluation step.
const BATCH: usize = 128;

/// Bits back (Townsend, Bird & Barber 2019, arXiv 1901.04866) codes a picture in -ELBO bits, but for the first of a
/// chain and the rounding of z, so the estimate is the test bound in bits.
pub fn run(args: &Args, model: &mut Trained) -> Result<()> {
    let [c, h, w] = model.card.picture()?;
    let dims = c * h * w;
    let data = args.open(model)?;
    let is_binary = is_binary(&data.test);
    let codes = match model.output {
        Some(Likelihood::DiscretisedLogistic) => true,
        Some(Likelihood::Bernoulli) => is_binary,
        _ => false,
    };
    if !codes {
        return Err(Error::Usage(
            "only a distribution of the pixels' levels can code them: train with --output discretised_logistic, or \
             with --binarise static, whose pixels are black or white"
                .into(),
        ));
    }
    let means = model.evaluate(&data.test, Latent::Sampled, 1, BATCH)?;
    let bits = means.sum(model.terms()) / std::f64::consts::LN_2 / dims as f64;
    let count = data.test.count;
    let sizes: Vec<Result<usize>> = (0..count)
        .into_par_iter()
        .map(|i| Ok(picture::plain(&data.test.values(i..i + 1), [c, h, w])?.to_png().len()))
        .collect();
    let bytes: usize = sizes.into_iter().sum::<Result<usize>>()?;
    let png = 8.0 * bytes as f64 / (count * dims) as f64;
    let raw = if is_binary { 1.0 } else { 8.0 };
    if args.json {
        super::super::print_json(&serde_json::json!({
            "dataset": data.name, "pictures": count, "bits_per_dimension": bits, "png_bits_per_dimension": png,
            "raw_bits_per_dimension": raw,
        }));
        return Ok(());
    }
    let rows = [("as they are", raw), ("PNG, each a file", png), ("this model, by bits back", bits)];
    let rows = rows.map(|(name, bits)| vec![name.to_string(), format!("{bits:.4}")]);
    super::super::print(&table(&[("test pictures", Column::Left), ("bits a dimension", Column::Right)], &rows));
    super::super::print(&format!(
        "{count} pictures of {}; that of the model is an estimate: the bound of -log p(x), without the model itself",
        data.name
    ));
    Ok(())
}
