//! `elbo eval`

use elbo::data::Selection;
use elbo::error::Result;
use elbo::inference::kl_by_dimension;
use elbo::models::parts::likelihood::Likelihood;
use elbo::train::evaluation::Latent;

use super::shared::{CROSS_ENTROPY, DataArgs, ModelArgs, require};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    /// Take N test pictures only: the first ones, of a folder or array a share of all; 0 takes all
    #[arg(long, value_name = "N", default_value_t = 0)]
    test_limit: usize,
    /// Pictures a step
    #[arg(long, value_name = "N", default_value_t = 128)]
    batch_size: usize,
    /// Seed of the noise that z is sampled with
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Decode the mean of q(z|x) instead of a sample; the lower loss this gives bounds nothing
    #[arg(long)]
    mean: bool,
    /// Print the KL of each latent dimension too, the largest first
    #[arg(long)]
    dimensions: bool,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        require(self.batch_size > 0, "--batch-size is 0, but must be at least 1")?;
        let mut model = self.model.open()?;
        let data = self.data.open(&self.model, &model, false)?;
        let limit = Some(self.test_limit).filter(|&n| n > 0);
        let data = data.limited(Selection::ByName, [None, limit]);
        let latent = if self.mean { Latent::Mean } else { Latent::Sampled };
        let means = model.evaluate(&data.test, latent, self.seed, self.batch_size)?;
        let dimensions = if self.dimensions { sorted(&mut model, &data.test)? } else { Vec::new() };
        let count = data.test.count;
        let (output, terms) = (model.output, elbo::models::find(&model.card.model)?.terms);
        let nats = means.sum(terms);
        let bits = output.and_then(|output| output.bits_per_dimension(nats, data.test.dims()));
        let is_likelihood = output.is_some_and(Likelihood::is_likelihood);
        if self.json {
            let mut object = serde_json::json!({
                "dataset": data.name, "pictures": count, "latent": if self.mean { "mean" } else { "sampled" },
                "is_bound": !self.mean && is_likelihood, "seed": self.seed, "batch_size": self.batch_size,
                "test_loss": means.loss, "output": output, "nats": nats, "bits_per_dimension": bits,
            });
            for (term, value) in terms.iter().zip(&means.terms) {
                object[format!("test_{}", term.name)] = (*value).into();
            }
            if self.dimensions {
                let row = |(dimension, kl): &(usize, f64)| serde_json::json!({ "dimension": dimension, "kl": kl });
                object["dimensions"] = dimensions.iter().map(row).collect();
            }
            super::print_json(&object);
            return Ok(());
        }
        let z = if self.mean { "z is the mean".into() } else { format!("z sampled with seed {}", self.seed) };
        let what = match (is_likelihood, self.mean) {
            (true, false) => "-ELBO",
            (true, true) => "not a bound on log p(x)",
            (false, _) => CROSS_ENTROPY,
        };
        super::print(&format!("{count} test pictures of {}, nats a picture, {z}: {what}", data.name));
        let named = terms.iter().zip(&means.terms).map(|(term, value)| format!(" {} {value:.4}", term.name));
        super::print(&format!("test_loss {:.4}{}", means.loss, named.collect::<String>()));
        if let Some(bits) = bits {
            let of = match output {
                Some(Likelihood::DiscretisedLogistic) => "of probabilities of the grey levels",
                _ => "of a density, taken at the grey levels without dequantisation noise",
            };
            super::print(&format!("bits a dimension {bits:.4}, {of}"));
        }
        for (dimension, kl) in dimensions {
            super::print(&format!("kl of dimension {dimension}: {kl:.4}"));
        }
        Ok(())
    }
}

/// Each latent dimension with its KL, the largest first.
fn sorted(model: &mut elbo::inference::Trained, split: &elbo::data::table::Table) -> Result<Vec<(usize, f64)>> {
    let [mean, logvar] = model.encode_split(split)?;
    let kl = kl_by_dimension(&mean, &logvar, model.latent()?);
    let mut dimensions: Vec<(usize, f64)> = kl.into_iter().enumerate().collect();
    dimensions.sort_by(|a, b| b.1.total_cmp(&a.1));
    Ok(dimensions)
}
