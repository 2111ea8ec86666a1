//! `elbo eval`

use std::time::Instant;

use elbo::data::binarise::is_binary;
use elbo::data::table::Table;
use elbo::data::{Dataset, Selection};
use elbo::error::{Error, Result};
use elbo::inference::evidence::Evidence;
use elbo::inference::latents::{ACTIVE, Dimension, Latents, by_kl, dimensions};
use elbo::inference::levels::LevelError;
use elbo::inference::{Trained, neighbours};
use elbo::mean::Mean;
use elbo::models::Term;
use elbo::models::parts::likelihood::Likelihood;
use elbo::train::evaluation::Latent;
use serde_json::{Value, json};

use super::data::DataArgs;
use super::metrics::{self, MetricArgs};
use super::progress;
use super::shared::{CROSS_ENTROPY, ModelArgs, bound_name, require};
use super::table::{Column, table};

/// Below so many nats a sentence the KL says that the decoder goes without z.
const COLLAPSED: f64 = 0.1;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    data: DataArgs,
    /// Take N test pictures only: the first ones, of a folder or array a share of all; 0 takes all
    #[arg(long, value_name = "N", default_value_t = 0, visible_alias = "limit")]
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
    /// Estimate -log p(x) of each example too, by importance sampling with S samples of z (5000 is usual), and print
    /// its mean with the standard error
    #[arg(long, value_name = "S")]
    nll: Option<usize>,
    /// Print what the latent dimensions are used for: their KL, how much their means move, mean and variance of q(z),
    /// how many are active, and the information that z has of the picture
    #[arg(long)]
    latent_report: bool,
    /// Of labelled data, print how often the nearest training example, by the mean of q(z|x), has the test example's
    /// label
    #[arg(long)]
    nearest_neighbour: bool,
    #[command(flatten)]
    metrics: MetricArgs,
    /// Print JSON for a program to read
    #[arg(long)]
    json: bool,
}

impl Args {
    pub fn run(self) -> Result<()> {
        require(self.batch_size > 0, "--batch-size is 0, but must be at least 1")?;
        require(self.nll.is_none_or(|samples| samples > 0), "--nll is 0, but must be at least 1")?;
        let mut model = self.model.open()?;
        for (option, is_asked) in [("--dimensions", self.dimensions), ("--latent-report", self.latent_report)] {
            if is_asked {
                model.require_normal_prior(option)?;
            }
        }
        let data = self.data.open(&self.model, &model, false)?;
        let limit = Some(self.test_limit).filter(|&n| n > 0);
        let data = data.limited(Selection::ByName, [None, limit]);
        let mut asked = self.metrics.prepare(&data, &model.views, self.seed, model.device())?;
        let latent = if self.mean { Latent::Mean } else { Latent::Sampled };
        let means = model.evaluate(&data.test, latent, self.seed, self.batch_size)?;
        let dimensions = if self.dimensions { sorted(&mut model, &data.test)? } else { Vec::new() };
        let evidence = self.nll.map(|samples| self.evidence(&model, &data, samples)).transpose()?;
        let neighbour = if self.nearest_neighbour { Some(neighbour(&mut model, &data)?) } else { None };
        let measured = match &mut asked {
            None => None,
            Some(asked) => {
                let bar = progress::counting("", "pictures", model.to_measure(&data.test, asked.samples));
                let measured = asked.measure(&mut model, &data.test, &bar);
                bar.finish_and_clear();
                Some(measured?)
            }
        };
        let levels = match model.spectrogram() {
            Ok(_) => Some(model.level_error(&data.test, self.seed)?),
            Err(_) => None,
        };
        let latents = if self.latent_report { Some(self.latents(&mut model, &data.test)?) } else { None };

        let count = data.test.count;
        let terms = model.terms();
        let output = model.output;
        let nats = means.sum(terms);
        let is_pictures = data.test.shape().is_some();
        let bits = output.filter(|_| is_pictures).and_then(|o| o.bits_per_dimension(nats, data.test.dims()));
        let sentences = model.is_of_sentences().then(|| Sentences::of(terms, &means.terms, nats));
        let steps = mean_of("steps", terms, &means.terms);
        let is_likelihood = steps.is_some()
            || sentences.is_some()
            || model.is_of_series()
            || output.is_some_and(|o| o.is_likelihood() || (is_pictures && is_binary(&data.test)));
        if self.json {
            let mut object = json!({
                "dataset": data.name, "pictures": count, "latent": if self.mean { "mean" } else { "sampled" },
                "is_bound": !self.mean && is_likelihood, "seed": self.seed, "batch_size": self.batch_size,
                "test_loss": means.loss, "output": output, "nats": nats, "bits_per_dimension": bits,
            });
            for (term, value) in terms.iter().zip(&means.terms) {
                object[format!("test_{}", term.name)] = (*value).into();
            }
            if let Some(Sentences { words, perplexity, is_collapsed, .. }) = &sentences {
                object["words_a_sentence"] = (*words).into();
                object["perplexity"] = (*perplexity).into();
                object["is_collapsed"] = (*is_collapsed).into();
            }
            if let Some(steps) = steps {
                object["steps_a_sequence"] = steps.into();
                object["nats_a_step"] = (nats / steps).into();
            }
            if let Some(LevelError { rms, mean_absolute }) = levels {
                object["level_error_db"] = json!({ "rms": rms, "mean_absolute": mean_absolute });
            }
            if let Some(accuracy) = neighbour {
                object["nearest_neighbour_accuracy"] = accuracy.into();
            }
            if self.dimensions {
                let row = |d: &Dimension| json!({ "dimension": d.index, "kl": d.kl });
                object["dimensions"] = dimensions.iter().map(row).collect();
            }
            if let Some((evidence, seconds)) = &evidence {
                object["nll"] = nll_object(evidence, *seconds, is_likelihood);
            }
            if let Some(measured) = &measured {
                object["metrics"] = metrics::object(measured);
            }
            if let Some(latents) = &latents {
                object["latents"] = latents_object(latents);
            }
            super::print_json(&object);
            return Ok(());
        }
        let z = if self.mean { "z is the mean".into() } else { format!("z sampled with seed {}", self.seed) };
        let what = match (is_likelihood, self.mean) {
            (true, false) => bound_name(&model.card.settings),
            (true, true) => "not a bound on log p(x)".into(),
            (false, _) if output.is_none() => "the terms of its loss".into(),
            (false, _) => CROSS_ENTROPY.into(),
        };
        super::print(&format!(
            "{count} test {} of {}, nats a {}, {z}: {what}",
            data.examples(),
            data.name,
            data.example()
        ));
        let named = terms.iter().zip(&means.terms).map(|(term, value)| format!(" {} {value:.4}", term.name));
        super::print(&format!("test_loss {:.4}{}", means.loss, named.collect::<String>()));
        if let Some(sentences) = &sentences {
            sentences.print(nats);
        }
        if let Some(steps) = steps {
            super::print(&format!("-ELBO {:.4} nats a step, {steps:.2} steps a sequence", nats / steps));
        }
        if let Some(bits) = bits {
            let of = match output {
                Some(Likelihood::DiscretisedLogistic) => "of probabilities of the grey levels",
                _ => "of a density, taken at the grey levels without dequantisation noise",
            };
            super::print(&format!("bits a dimension {bits:.4}, {of}"));
        }
        if let Some(LevelError { rms, mean_absolute }) = levels {
            super::print(&format!(
                "level error {rms:.2} dB (root mean square), {mean_absolute:.2} dB (mean absolute): reconstructions of \
                 the mean of q(z|x) against the spectrograms"
            ));
        }
        if let Some(accuracy) = neighbour {
            super::print(&format!(
                "nearest neighbour {:.2} %: so often the nearest training example, by the mean of q(z|x), has the \
                 label",
                100.0 * accuracy
            ));
        }
        for Dimension { index: dimension, kl, .. } in dimensions {
            super::print(&format!("kl of dimension {dimension}: {kl:.4}"));
        }
        if let Some((evidence, seconds)) = &evidence {
            print_nll(evidence, *seconds, is_likelihood, data.example());
        }
        if let Some(measured) = &measured {
            metrics::print(measured);
        }
        if let Some(latents) = &latents {
            print_latents(latents, count, data.example());
        }
        Ok(())
    }

    /// What importance sampling says of the test pictures, and the seconds that it took.
    fn evidence(&self, model: &Trained, data: &Dataset, samples: usize) -> Result<(Evidence, f64)> {
        let bar = progress::counting("", data.examples(), data.test.count);
        let start = Instant::now();
        let evidence = model.evidence(&data.test, samples, self.seed, &mut |done| bar.set_position(done as u64));
        bar.finish_and_clear();
        Ok((evidence?, start.elapsed().as_secs_f64()))
    }

    fn latents(&self, model: &mut Trained, split: &Table) -> Result<Latents> {
        let [mean, logvar] = model.encode_split(split)?;
        let bar = progress::counting("", "rows", split.count);
        let latents = Latents::of(&mean, &logvar, model.latent()?, self.seed, &|_| bar.inc(1));
        bar.finish_and_clear();
        Ok(latents)
    }
}

/// 1-NN accuracy from the training to the test examples. Errors: no labels, no training examples.
fn neighbour(model: &mut Trained, data: &Dataset) -> Result<f64> {
    let of = |table: &Table| table.labels().map(<[u8]>::to_vec);
    let (Some(train), Some(test)) = (of(&data.train).filter(|labels| !labels.is_empty()), of(&data.test)) else {
        let problem = format!("--nearest-neighbour needs training and test {} with labels", data.examples());
        return Err(Error::Usage(format!("{problem}, and {} has none", data.name)));
    };
    let [train_means, _] = model.encode_split(&data.train)?;
    let [test_means, _] = model.encode_split(&data.test)?;
    Ok(neighbours::accuracy((&train_means, &train), (&test_means, &test), model.latent()?))
}

/// The mean of the term of that name; `None` where there is none.
fn mean_of(name: &str, terms: &[Term], means: &[f64]) -> Option<f64> {
    terms.iter().zip(means).find(|(term, _)| term.name == name).map(|(_, &mean)| mean)
}

/// What the terms of a model of sentences say.
struct Sentences {
    /// Words a sentence, the end counted.
    words: f64,
    kl: f64,
    /// e^(-ELBO / words), an upper bound of the perplexity.
    perplexity: f64,
    /// Whether z says next to nothing of the sentence.
    is_collapsed: bool,
}

impl Sentences {
    /// Of the terms' means, and -ELBO in nats a sentence.
    fn of(terms: &[Term], means: &[f64], nats: f64) -> Sentences {
        let of = |name: &str| mean_of(name, terms, means).unwrap_or(f64::NAN);
        let (words, kl) = (of("words"), of("kl"));
        Sentences { words, kl, perplexity: (nats / words).exp(), is_collapsed: kl < COLLAPSED }
    }

    fn print(&self, nats: f64) {
        let Sentences { words, kl, perplexity, is_collapsed } = self;
        super::print(&format!(
            "-ELBO {nats:.4} nats a sentence, {words:.2} words a sentence, the end counted: perplexity {perplexity:.2}"
        ));
        if *is_collapsed {
            super::print(&format!(
                "the latent space is collapsed: its kl is {kl:.4} nats a sentence, below {COLLAPSED}, so the decoder \
                 writes without it. Train with a slower --kl-schedule, more --set word_dropout=P, or --free-bits"
            ));
        }
    }
}

/// Each latent dimension with its KL, the largest first.
fn sorted(model: &mut Trained, split: &Table) -> Result<Vec<Dimension>> {
    let [mean, logvar] = model.encode_split(split)?;
    Ok(by_kl(&dimensions(&mean, &logvar, model.latent()?)))
}

// ---- log p(x)

fn nll_object(evidence: &Evidence, seconds: f64, is_likelihood: bool) -> Value {
    let Mean { mean, standard_error } = evidence.mean();
    json!({
        "samples": evidence.samples, "pictures": evidence.nats.len(), "nats": mean,
        "standard_error": standard_error, "effective_samples": evidence.mean_effective(),
        "is_likelihood": is_likelihood, "seconds": seconds,
    })
}

fn print_nll(evidence: &Evidence, seconds: f64, is_likelihood: bool, example: &str) {
    let of = if is_likelihood { "" } else { ", of a cross-entropy of grey levels" };
    let Mean { mean, standard_error } = evidence.mean();
    super::print(&format!(
        "nll {mean:.4}, standard error {standard_error:.4}, {} samples a {example}, worth {:.1} on average{of}, \
         {seconds:.1} s",
        evidence.samples,
        evidence.mean_effective(),
    ));
}

// ---- What the latent dimensions are used for

fn latents_object(latents: &Latents) -> Value {
    let row = |d: Dimension| {
        json!({
            "dimension": d.index, "kl": d.kl, "activity": d.activity, "is_active": d.is_active(),
            "mean": d.mean, "variance": d.variance,
        })
    };
    json!({
        "kl": latents.kl, "active": latents.active(), "information": latents.information,
        "marginal_kl": latents.marginal_kl,
        "dimensions": by_kl(&latents.dimensions).into_iter().map(row).collect::<Vec<_>>(),
    })
}

fn print_latents(latents: &Latents, count: usize, example: &str) {
    let heads = [
        ("dimension", Column::Right),
        ("kl", Column::Right),
        ("variance of the mean", Column::Right),
        ("mean of q(z)", Column::Right),
        ("variance of q(z)", Column::Right),
    ];
    let row = |d: Dimension| {
        let numbers = [d.kl, d.activity, d.mean, d.variance].map(|value| format!("{value:.4}"));
        std::iter::once(d.index.to_string()).chain(numbers).collect()
    };
    super::print(&format!("\n{}", table(&heads, &by_kl(&latents.dimensions).into_iter().map(row).collect::<Vec<_>>())));
    super::print(&format!(
        "\n{} of {} dimensions are active: their mean varies by more than {ACTIVE} from {example} to {example}",
        latents.active(),
        latents.dimensions.len(),
    ));
    super::print(&format!(
        "kl {:.4} = information of z about the {example} {:.4} (at most log {count} = {:.4}) + \
         KL(q(z) || N(0,1)) {:.4}",
        latents.kl,
        latents.information,
        (count as f64).ln(),
        latents.marginal_kl,
    ));
}
