//! The linear-Gaussian VAE, of which everything is known: x = W z + b + sigma e, z and e standard normal. Where the
//! columns of W are orthogonal, p(z|x) has independent dimensions, so that q(z|x) can be it, or miss it by a known
//! step.
//!
//!   precision_j = 1 + |w_j|^2 / sigma^2,   mean_j = w_j (x - b) / (sigma^2 precision_j)
//!   log p(x) = log N(x; b, W W' + sigma^2 I)

use super::*;
use crate::backend::Device;
use crate::backend::cpu::Cpu;
use crate::data::table::Columns;
use crate::inference::scores::Score;
use crate::models::vae;
use crate::train::checkpoint::{Checkpoint, MODEL, ModelCard};
use crate::train::evaluation::Latent;

const DEVICE: Device = Device::Cpu(Cpu::Accelerated);
const SHAPE: [usize; 3] = [1, 2, 3];
const D: usize = 6;
const Z: usize = 2;
const SIGMA: f64 = 0.25;
/// Orthogonal columns of W, (Z,D).
const W: [[f64; D]; Z] = [[0.4, -0.2, 0.1, 0.3, 0.0, 0.2], [0.1, 0.2, 0.0, 0.0, 0.5, 0.0]];
const B: [f64; D] = [0.5, 0.4, 0.6, 0.3, 0.5, 0.7];

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Of p(z|x).
fn precision(j: usize) -> f64 {
    1.0 + dot(&W[j], &W[j]) / SIGMA.powi(2)
}

/// -log p(x) in nats, by the determinant and the inverse of W W' + sigma^2 I.
fn exact(x: &[f64]) -> f64 {
    let away: Vec<f64> = x.iter().zip(B).map(|(x, b)| x - b).collect();
    let variance = SIGMA.powi(2);
    let log_determinant = D as f64 * variance.ln() + (0..Z).map(|j| precision(j).ln()).sum::<f64>();
    let explained: f64 = (0..Z).map(|j| dot(&W[j], &away).powi(2) / (variance.powi(2) * precision(j))).sum();
    0.5 * (D as f64 * std::f64::consts::TAU.ln() + log_determinant + dot(&away, &away) / variance - explained)
}

/// How q misses p(z|x), in each dimension alike: its mean by so many standard deviations, its logvar by so much.
#[derive(Clone, Copy)]
struct Miss {
    deviations: f64,
    logvar: f64,
}

const NONE: Miss = Miss { deviations: 0.0, logvar: 0.0 };
const WIDE: Miss = Miss { deviations: 0.3, logvar: 0.4 };

impl Miss {
    /// KL(q(z|x) || p(z|x)) in nats: by how much the ELBO misses the evidence.
    fn divergence(self) -> f64 {
        Z as f64 * 0.5 * (self.logvar.exp() - 1.0 - self.logvar + self.deviations.powi(2))
    }
}

/// The model with such a q, whose loss is the bound of `samples` samples.
fn open(miss: Miss, samples: usize) -> Trained {
    open_with(miss, &format!("importance = {samples}"), &[])
}

/// The same with other settings, and pseudo-inputs before their sigmoid.
fn open_with(miss: Miss, more: &str, pseudo_inputs: &[[f64; D]]) -> Trained {
    let text = format!(
        "head = 'direct'\nlatent = {Z}\nencoder = 'flatten, linear 4'\ndecoder = 'flatten, linear {D}, view 1 2 3'\n\
         output = 'gaussian'\nsigma = {SIGMA}\n{more}"
    );
    let settings = (vae::ENTRY.reads)(text.parse().unwrap()).unwrap();
    let mut checkpoint = Checkpoint::default();
    let mut tensor = |name: &str, shape: &[usize], values: Vec<f64>| {
        let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
        checkpoint.tensors.insert(name.into(), (shape.to_vec(), values));
    };
    let gain = |j: usize| 1.0 / (SIGMA.powi(2) * precision(j));
    let means = (0..Z).flat_map(|j| W[j].map(|w| w * gain(j)));
    tensor("encoder.1.weight", &[2 * Z, D], means.chain([0.0; Z * D]).collect());
    let shifts = (0..Z).map(|j| miss.deviations / precision(j).sqrt() - dot(&W[j], &B) * gain(j));
    let logvars = (0..Z).map(|j| miss.logvar - precision(j).ln());
    tensor("encoder.1.bias", &[2 * Z], shifts.chain(logvars).collect());
    tensor("decoder.1.weight", &[D, Z], (0..D).flat_map(|d| [W[0][d], W[1][d]]).collect());
    tensor("decoder.1.bias", &[D], B.to_vec());
    if !pseudo_inputs.is_empty() {
        tensor("pseudo_inputs", &[pseudo_inputs.len(), D], pseudo_inputs.concat());
    }
    let columns = Columns::of_pictures(SHAPE, 0);
    let card = ModelCard {
        model: vae::ENTRY.name.into(),
        settings,
        columns,
        dataset: "drawn".into(),
        epoch: 1,
        features: None,
        vocabulary: None,
        spectrogram: None,
    };
    checkpoint.metadata.insert(MODEL.into(), serde_json::to_string(&card).unwrap());

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    checkpoint.write(&path).unwrap();
    Trained::open(&path, &DEVICE).unwrap()
}

/// Pictures, and -log p(x) of each.
fn pictures(count: usize) -> (Table, Vec<f64>) {
    let pixels = (0..count * D).map(|i| (i * i * 31 / 7 % 256) as u8).collect();
    let table = Table::of_pictures(SHAPE, pixels, None);
    let values: Vec<f64> = table.values(0..count).into_iter().map(f64::from).collect();
    let exact = values.chunks(D).map(exact).collect();
    (table, exact)
}

fn evidence(model: &Trained, table: &Table, samples: usize) -> Evidence {
    model.evidence(table, samples, 1, &mut |_| ()).unwrap()
}

/// A rounding of log w, which is a sum of squares of size 100.
const ROUNDING: f64 = 1e-4;

#[test]
fn samples_of_the_exact_posterior_give_the_evidence_one_by_one() {
    let (table, exact) = pictures(37);
    let model = open(NONE, 1);
    for samples in [1, 300] {
        let evidence = evidence(&model, &table, samples);
        for (i, (nats, exact)) in evidence.nats.iter().zip(&exact).enumerate() {
            assert!((nats - exact).abs() < ROUNDING * exact.abs().max(1.0), "picture {i}: {nats}, exactly {exact}");
        }
        assert!((evidence.mean_effective() - samples as f64).abs() < 1e-2 * samples as f64);
    }
    // And so does each bound of several samples.
    let bound = open(NONE, 4).evaluate(&table, Latent::Sampled, 1, 16).unwrap().loss;
    assert!((bound - Mean::of(&exact).mean).abs() < ROUNDING * Mean::of(&exact).mean.abs(), "{bound}");
}

#[test]
fn bounds_lie_above_the_evidence_and_the_estimate_meets_it() {
    let (table, exact) = pictures(4000);
    let exact = Mean::of(&exact).mean;
    let loss = |samples| open(WIDE, samples).evaluate(&table, Latent::Sampled, 1, 100).unwrap().loss - exact;
    // How far each is above -log p(x). Of one sample a picture the standard error is 0.02.
    let [elbo, five, fifty] = [1, 5, 50].map(loss);
    assert!((elbo - WIDE.divergence()).abs() < 0.08, "{elbo}, by calculus {}", WIDE.divergence());
    assert!(elbo > five + 0.05 && five > fifty && fifty > -0.005, "{elbo} {five} {fifty}");

    let (table, exact) = pictures(103);
    let evidence = evidence(&open(WIDE, 1), &table, 5000);
    assert_eq!(evidence.nats.len(), 103);
    // The variance of log 1/S sum w is that of w/mean(w), over S: 1/effective - 1/S.
    let variance =
        Mean::of(&evidence.effective.iter().map(|effective| 1.0 / effective - 1.0 / 5000.0).collect::<Vec<_>>()).mean;
    let error = (variance / 103.0).sqrt() + ROUNDING;
    assert!(
        (evidence.mean().mean - Mean::of(&exact).mean).abs() < 4.0 * error,
        "{:?} {} {error}",
        evidence.mean(),
        Mean::of(&exact).mean
    );
    assert!(evidence.effective.iter().all(|&effective| effective > 2000.0 && effective < 4990.0));
    // One standard error of the mean is that of the pictures, which differ far more than the estimates.
    let spread = exact.iter().map(|nats| (nats - Mean::of(&exact).mean).powi(2)).sum::<f64>() / 102.0;
    assert!((evidence.mean().standard_error - (spread / 103.0).sqrt()).abs() < 1e-3);
}

/// Before their sigmoid.
const PSEUDO_INPUTS: [[f64; D]; 3] =
    [[0.4, -1.0, 0.8, 0.2, 1.5, 0.0], [-0.5, 0.3, 0.0, 1.0, -1.0, 0.7], [2.0, 0.1, -0.4, -2.0, 0.3, 0.9]];

/// -log p(x) in nats where p(z) is the mean of q(z|u_k): of each component p(x|k) is a Gaussian, along the columns of W
/// of mean |w_j| mean_kj and variance sigma^2 + |w_j|^2 variance_j, across them of variance sigma^2.
fn exact_of_mixture(x: &[f64], miss: Miss) -> f64 {
    let away: Vec<f64> = x.iter().zip(B).map(|(x, b)| x - b).collect();
    let variance = SIGMA.powi(2);
    let component = |w: &[f64; D]| {
        let u = w.map(|w| 1.0 / (1.0 + (-w).exp()));
        let from_b: Vec<f64> = u.iter().zip(B).map(|(u, b)| u - b).collect();
        let mut nats = D as f64 * std::f64::consts::TAU.ln() + (D - Z) as f64 * variance.ln();
        let mut across = dot(&away, &away);
        for (j, w) in W.iter().enumerate() {
            let length = dot(w, w).sqrt();
            let mean = dot(w, &from_b) / (variance * precision(j)) + miss.deviations / precision(j).sqrt();
            let along = dot(w, &away) / length;
            let spread = variance + length.powi(2) * miss.logvar.exp() / precision(j);
            nats += spread.ln() + (along - length * mean).powi(2) / spread;
            across -= along.powi(2);
        }
        (-0.5 * (nats + across / variance)).exp()
    };
    -(PSEUDO_INPUTS.iter().map(component).sum::<f64>() / PSEUDO_INPUTS.len() as f64).ln()
}

#[test]
fn under_a_learned_prior_the_estimate_meets_the_evidence_and_bounds_lie_above() {
    let (table, _) = pictures(103);
    let values: Vec<f64> = table.values(0..103).into_iter().map(f64::from).collect();
    let exact = Mean::of(&values.chunks(D).map(|x| exact_of_mixture(x, WIDE)).collect::<Vec<_>>()).mean;
    let mut model = open_with(WIDE, "prior = 'vamp'\ncomponents = 3", &PSEUDO_INPUTS);
    let estimate = evidence(&model, &table, 5000);
    let variance =
        Mean::of(&estimate.effective.iter().map(|effective| 1.0 / effective - 1.0 / 5000.0).collect::<Vec<_>>()).mean;
    let error = (variance / 103.0).sqrt() + ROUNDING;
    assert!((estimate.mean().mean - exact).abs() < 4.0 * error, "{:?} {exact} {error}", estimate.mean());

    let scores = model.scores(&table, 500, 1, &mut |_| ()).unwrap();
    let of = |score: Score| Mean::of(scores.of(score).unwrap()).mean;
    let (elbo, bound) = (of(Score::Elbo), of(Score::Bound));
    assert!((bound - exact).abs() < 0.02 && elbo > bound, "{elbo} {bound} {exact}");
    // One sample a picture each, whose -log p(x|z) and KL vary by some nats.
    let evaluated = model.evaluate(&table, Latent::Sampled, 1, 50).unwrap().loss;
    assert!((evaluated - elbo).abs() < 0.6, "{evaluated} {elbo}");
    assert!(model.require_normal_prior("--dimensions").unwrap_err().to_string().contains("prior is learned"));
}

#[test]
fn an_estimate_is_the_seeds_and_not_of_the_pictures_beside_it() {
    let (table, _) = pictures(20);
    let model = open(WIDE, 1);
    let estimate = |seed| model.evidence(&table, 50, seed, &mut |_| ()).unwrap();
    assert_eq!(estimate(1), estimate(1));
    assert_ne!(estimate(1), estimate(2));
    let (mut done, mut seen) = (0, 0);
    model.evidence(&table, 50, 1, &mut |now| (done, seen) = (now, seen + 1)).unwrap();
    assert!(done == 20 && seen > 0);
}

#[test]
fn what_has_no_evidence_is_refused() {
    let (table, _) = pictures(2);
    let problem =
        |model: &Trained, samples| model.evidence(&table, samples, 1, &mut |_| ()).map(|_| ()).unwrap_err().to_string();
    assert!(problem(&open(NONE, 1), 0).contains("0 samples"));
    let mut fitted = open(NONE, 1);
    fitted.output = Some(Likelihood::OptimalSigma);
    assert!(problem(&fitted, 5).contains("optimal_sigma is fitted to each batch"));
}
