//! How far two recordings are apart.

use std::collections::BTreeMap;

use serde::Serialize;

use super::exchange::Exchange;
use super::recording::{Recording, Trace, norm};

/// The largest relative difference of the loss, at any step, that counts as the same training.
pub const TARGET: f64 = 1e-4;
/// Where elbo computes no gradient because it is zero but for rounding, PyTorch's may have at most this share of the
/// norm of its layer's weight gradient; more is a gradient, and is compared.
const ROUNDING: f64 = 1e-3;

/// How far two recordings of one exchange are apart.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`About::name`](super::About::name)
    pub model: String,
    /// [`About::data`](super::About::data)
    pub data: String,
    /// B, pictures a step.
    pub batch_size: usize,
    /// Who took the steps here: the device, in words.
    pub here: String,
    /// Who took them there: PyTorch with its version, device and precision.
    pub there: String,
    /// Whether each step here starts from the parameters there.
    pub follows: bool,
    /// [`TARGET`]
    pub target: f64,
    /// Whether the loss keeps to the target at every step.
    pub passes: bool,
    /// From the first to the last.
    pub steps: Vec<Difference>,
    /// Biases in front of a batch norm, not compared: their gradient is zero, and there they move by its rounding.
    pub left_out: Vec<String>,
    /// The largest norm of such a gradient there, by that of its layer's weight.
    pub left_out_gradient: f64,
}

/// One step. Losses are nats a picture, here and there.
#[derive(Clone, Debug, Serialize)]
pub struct Difference {
    /// From 1.
    pub step: usize,
    /// What training minimises.
    pub loss: [f64; 2],
    /// The model's terms by name, without their weights.
    #[serde(flatten)]
    pub terms: BTreeMap<&'static str, [f64; 2]>,
    /// |here - there| / |there| of the loss.
    pub loss_difference: f64,
    /// Relative, of the gradient that is furthest apart: the root mean square of the differences of its recorded
    /// elements over that of the gradient, or the difference of the norms over the norm, if that is larger.
    pub gradient: Worst,
    /// Absolute, of the recorded element of a parameter that is furthest apart after the step.
    pub parameter: Worst,
}

/// The largest difference among the tensors.
#[derive(Clone, Debug, Serialize)]
pub struct Worst {
    /// Relative for a gradient, absolute for a parameter; NaN counts as the largest.
    pub difference: f64,
    /// Whose it is.
    pub tensor: String,
}

impl Report {
    /// Compares what was done here, following or not, with what was done there, by step. Panics on recordings of
    /// different exchanges.
    pub fn new(exchange: &Exchange, here: &Recording, there: &Recording, follows: bool) -> Report {
        let names = here.tensors.keys().eq(there.tensors.keys());
        assert!(names && here.losses.len() == there.losses.len(), "these are recordings of different exchanges");
        let share = |name: &String| rounding_share(there, name);
        let left_out: Vec<String> = here.without_gradient.iter().filter(|n| share(n) <= ROUNDING).cloned().collect();
        let left_out_gradient = largest(left_out.iter().map(share));

        let per_picture = exchange.per_picture();
        let batch_size = exchange.about.settings.batch_size;
        let difference = |s: usize| {
            let pair = |i: usize, scale: f64| [here, there].map(|recording| scale * recording.losses[s][i]);
            let compared = here.tensors.iter().filter(|(name, _)| !left_out.contains(name));
            let compared = compared.map(|(name, traces)| (name, traces, &there.tensors[name]));
            let gradients = compared.clone().map(|(name, here, there)| (relative(&here[0], &there[0], s), name));
            let parameters =
                compared.map(|(name, here, there)| (absolute(&here[1].elements[s], &there[1].elements[s]), name));
            let loss = pair(0, per_picture);
            Difference {
                step: s + 1,
                loss,
                terms: (1..)
                    .zip(exchange.terms())
                    .map(|(i, term)| (term.name, pair(i, 1.0 / batch_size as f64)))
                    .collect(),
                loss_difference: (loss[0] - loss[1]).abs() / loss[1].abs(),
                gradient: worst(gradients),
                parameter: worst(parameters),
            }
        };
        let steps: Vec<Difference> = (0..here.losses.len()).map(difference).collect();
        Report {
            model: exchange.about.name.clone(),
            data: exchange.about.data.clone(),
            batch_size,
            here: here.by.clone(),
            there: there.by.clone(),
            follows,
            target: TARGET,
            passes: steps.iter().all(|step| step.loss_difference <= TARGET),
            steps,
            left_out,
            left_out_gradient,
        }
    }

    /// The step at which a difference is largest; NaN is larger than any.
    pub fn worst(&self, of: impl Fn(&Difference) -> f64) -> &Difference {
        self.steps.iter().max_by(|a, b| order(of(a), of(b))).expect("an exchange has a step")
    }
}

/// NaN last.
fn order(a: f64, b: f64) -> std::cmp::Ordering {
    a.is_nan().cmp(&b.is_nan()).then(a.total_cmp(&b))
}

fn worst<'a>(differences: impl Iterator<Item = (f64, &'a String)>) -> Worst {
    let (difference, tensor) = differences.max_by(|a, b| order(a.0, b.0)).expect("a model has parameters");
    Worst { difference, tensor: tensor.clone() }
}

/// The largest norm of a bias's gradient over the steps, by that of its layer's weight at the same step.
fn rounding_share(recording: &Recording, bias: &str) -> f64 {
    let norms = |name: &str| recording.tensors.get(name).map(|[gradient, _]| gradient.norms.as_slice());
    let (Some(bias), Some(weight)) = (norms(bias), norms(&bias.replace(".bias", ".weight"))) else {
        return f64::INFINITY;
    };
    largest(bias.iter().zip(weight).map(|(b, w)| b / w))
}

/// Of numbers from 0 on; NaN is larger than any.
fn largest(values: impl Iterator<Item = f64>) -> f64 {
    values.max_by(|a, b| order(*a, *b)).unwrap_or(0.0)
}

/// Of two gradients at step `s`: [`Difference::gradient`] says how.
fn relative(here: &Trace, there: &Trace, s: usize) -> f64 {
    let reference = there.norms[s];
    let differences = here.elements[s].iter().zip(&there.elements[s]).map(|(&a, &b)| f64::from(a) - f64::from(b));
    // The last step has all elements, and its count of them; the steps before it have a sample.
    let share = here.elements[s].len() as f64 / here.elements.last().expect("a step").len() as f64;
    let apart = [norm(differences) / share.sqrt(), (here.norms[s] - reference).abs()];
    // A gradient that is zero on both sides (of a unit that nothing activates) is the same.
    largest(apart.map(|difference| if difference == 0.0 { 0.0 } else { difference / reference }).into_iter())
}

fn absolute(here: &[f32], there: &[f32]) -> f64 {
    assert!(here.len() == there.len(), "both sides keep the same elements");
    largest(here.iter().zip(there).map(|(&a, &b)| (f64::from(a) - f64::from(b)).abs()))
}
