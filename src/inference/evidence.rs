//! log p(x) of pictures by importance sampling (Burda, Grosse & Salakhutdinov 2015, arXiv 1509.00519): the bound L_K
//! with so many samples that it is next to tight.
//!
//!   log p(x) ~ log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x),   z_s ~ q(z|x)
//!
//! p(z) is N(0,1), or what the model's view `log_prior` says of it.
//! A picture is encoded once; its samples are drawn and decoded some at a time, of several pictures together, and only
//! a running maximum and two sums stay. Any q gives an estimate that is low in the mean, and a q of a narrower spread
//! than p(z|x) a poor one: the effective number of samples says how poor. Of a denoising model q is that of the clean
//! picture.

use super::Trained;
use crate::arena::Arena;
use crate::backend::{Backend, Loaded};
use crate::data::table::{LABELS, PICTURES, STEPS, TEXT, Table};
use crate::error::{Error, Result};
use crate::kernels::clock::{self, Clock, Row};
use crate::kernels::{importance, joint, mixture, random, repeat};
use crate::mean::Mean;
use crate::models::draw::Draw;
use crate::models::parts::likelihood::Likelihood;
use crate::models::{Model, Port, View};
use crate::program::{Program, Recorder};
use crate::tensor::Tensor;
use crate::train::pictures::one_hot;

/// What is known of log p(x) of some pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Evidence {
    /// S, samples a picture.
    pub samples: usize,
    /// -log p(x), or -log p(x|y), of each picture in nats.
    pub nats: Vec<f64>,
    /// (sum w)^2 / sum w^2 of each picture, 1 to S: of how many equally good samples the estimate is worth (Kong 1992).
    pub effective: Vec<f64>,
}

impl Evidence {
    /// The mean over the pictures.
    pub fn mean(&self) -> Mean {
        Mean::of(&self.nats)
    }

    /// The mean effective number of samples.
    pub fn mean_effective(&self) -> f64 {
        Mean::of(&self.effective).mean
    }
}

/// Rows that the decoder takes at a time: enough to keep a large GPU busy, few enough for the caches of a CPU.
const ROWS: usize = 1024;
/// Samples of a picture among them.
const SAMPLES: usize = 128;
/// The most values of the rows' pictures; of larger pictures there are fewer rows.
const VALUES: usize = 1 << 24;

/// The programs for P pictures at a time.
struct Programs {
    /// (P,D)
    x: Tensor,
    /// (P,K), for a model that is told labels.
    label: Option<Tensor>,
    /// (P,3)
    state: Tensor,
    clock: Tensor,
    /// Encodes the pictures, and repeats what each sample needs.
    encode: Loaded,
    /// So many samples more of each picture, and how often.
    sample: Vec<(Loaded, usize)>,
}

impl Trained {
    /// -log p(x) of each picture of a split, from `samples` samples of z each, with the noise of this seed. `progress`
    /// is told how many pictures are done.
    ///
    /// Errors: no samples; a model without the views `encode` and `likelihood`, or whose p(x|z) is fitted to a batch; a
    /// split without a column that the model takes; no room on the device; an estimate that is not finite.
    pub fn evidence(
        &self,
        split: &Table,
        samples: usize,
        seed: u64,
        progress: &mut dyn FnMut(usize),
    ) -> Result<Evidence> {
        if samples == 0 {
            return Err(Error::Usage("0 samples say nothing of log p(x): take at least 1".into()));
        }
        if self.output == Some(Likelihood::OptimalSigma) {
            return Err(Error::Usage(
                "the sigma of output optimal_sigma is fitted to each batch, so that p(x|z) of one picture depends on \
                 others: log p(x) is defined for a fixed one, as of output gaussian"
                    .into(),
            ));
        }
        let (encode, likelihood) = (self.find_view("encode")?, self.find_view("likelihood")?);
        let labels = self.labels_of("likelihood", split, 0..split.count)?;
        let dims = split.dims();
        let part = SAMPLES.min(samples);
        let pictures = (ROWS.min(VALUES / dims) / part).clamp(1, split.count.max(1));

        let mut arena = Arena::new();
        let model = self.card.open(&mut arena)?;
        let recorded = Recorded::new(&mut arena, &*model, [encode, likelihood], [pictures, samples, part]);
        let mut backend = self.device.backend();
        let programs = recorded.load(&mut backend, &arena)?;
        self.checkpoint.load_model(&arena, &mut backend, &self.path)?;

        let plan: Vec<(Loaded, usize)> = [(programs.encode, 1)].into_iter().chain(programs.sample.clone()).collect();
        let steps: usize = programs.sample.iter().map(|(_, times)| times).sum();
        let mut evidence = Evidence { samples, nats: Vec::new(), effective: Vec::new() };
        for (batch, first) in (0..split.count).step_by(pictures).enumerate() {
            let rows = first..(first + pictures).min(split.count);
            let mut x = split.values(rows.clone());
            x.resize(pictures * dims, 0.0);
            backend.write(programs.x, &x);
            if let (Some(tensor), Some(labels)) = (programs.label, &labels) {
                let mut y = one_hot(labels[rows.clone()].iter().copied(), tensor.matrix()[1]);
                y.resize(tensor.len(), 0.0);
                backend.write(tensor, &y);
            }
            backend.write(programs.state, &importance::EMPTY.repeat(pictures));
            let step = (batch * steps) as u32;
            let time = Clock { seed, step, batch: 0, epoch: 0, rows: vec![Row::default()] };
            backend.write_words(programs.clock, &time.words());
            backend.run(&plan)?;
            let state = backend.read_one(programs.state)?;
            for state in state.chunks(3).take(rows.len()) {
                let [most, sum, squares] = [0, 1, 2].map(|i: usize| f64::from(state[i]));
                evidence.nats.push((samples as f64).ln() - sum.ln() - most);
                evidence.effective.push(sum * sum / squares);
            }
            progress(rows.end);
        }
        match evidence.nats.iter().position(|nats| !nats.is_finite()) {
            None => Ok(evidence),
            Some(example) => {
                let nats = evidence.nats[example];
                Err(Error::file(&self.path, format!("-log p(x) of example {example} is {nats}: it cannot be used")))
            }
        }
    }
}

/// [`Programs`] before they are loaded.
struct Recorded {
    x: Tensor,
    label: Option<Tensor>,
    state: Tensor,
    clock: Tensor,
    encode: Program,
    sample: Vec<(Program, usize)>,
}

impl Recorded {
    /// For P pictures: encode, then as often as it takes `part` samples of each, then those that are left.
    fn new(
        arena: &mut Arena,
        model: &dyn Model,
        [encode, likelihood]: [&View; 2],
        [pictures, samples, part]: [usize; 3],
    ) -> Recorded {
        let clock = Clock::tensor(arena, "clock", 1);
        let state = arena.tensor("state", &[pictures, 3]);
        let mut input = |name: &str| {
            let kind = likelihood.input(name)?;
            Some(arena.tensor(name, &[pictures, kind.width()]))
        };
        let modelled = [PICTURES, TEXT, STEPS].into_iter().find(|name| likelihood.input(name).is_some());
        let modelled = modelled.expect("a likelihood is of a picture, a sentence or a sequence");
        let x = input(modelled).expect("found above");
        let label = input(LABELS);
        let given = |port: &Port| if port.name == modelled { x } else { label.expect("it is told") };

        let mut r = Recorder::new(arena);
        r.scope("encode");
        let inputs: Vec<Tensor> = encode.inputs.iter().map(given).collect();
        let q = model.view(&mut r, encode.name, &inputs, &mut Draw::Clock(clock));
        let [mean, logvar] = *q else { panic!("encode gives mean and logvar") };
        let parts: Vec<(usize, usize)> = match samples % part {
            0 => vec![(part, samples / part)],
            rest => vec![(part, samples / part), (rest, 1)],
        };
        // What the samples of a part share, in as many rows as they are.
        let repeated: Vec<Vec<Tensor>> = parts
            .iter()
            .map(|&(samples, _)| {
                let shared = likelihood.inputs.iter().filter(|port| port.name != "z");
                shared.map(|port| repeat::forward(&mut r, given(port), samples)).collect()
            })
            .collect();
        let encode = r.finish("encode");

        let sample = parts.into_iter().zip(repeated).map(|((samples, times), shared)| {
            let mut r = Recorder::new(arena);
            r.scope("latent");
            let noise = random::normal(&mut r, clock, &[pictures * samples, mean.matrix()[1]]);
            let z = importance::sample(&mut r, mean, logvar, noise);
            let mut shared = shared.into_iter();
            let inputs = likelihood.inputs.iter().map(|port| match port.name {
                "z" => z,
                _ => shared.next().expect("repeated above"),
            });
            let inputs: Vec<Tensor> = inputs.collect();
            let recon = model.view(&mut r, likelihood.name, &inputs, &mut Draw::Clock(clock))[0];
            let recon = recon.reshape(&[recon.len()]);
            let recon = of_prior(&mut r, model, recon, z, clock);
            r.scope("loss");
            let log_w = importance::log_weights(&mut r, recon, logvar, [noise, z]);
            importance::accumulate(&mut r, log_w, state);
            clock::tick(&mut r, clock);
            (r.finish(&format!("{samples} samples of {pictures} pictures")), times)
        });
        let sample = sample.collect();
        Recorded { x, label, state, clock, encode, sample }
    }

    fn load(self, backend: &mut Backend, arena: &Arena) -> Result<Programs> {
        let Recorded { x, label, state, clock, encode, sample } = self;
        let encode = backend.load(arena, &encode)?;
        let sample = sample.iter().map(|(program, times)| Ok((backend.load(arena, program)?, *times)));
        let sample = sample.collect::<Result<_>>()?;
        Ok(Programs { x, label, state, clock, encode, sample })
    }
}

/// recon (R) of z (R,Z) where p(z) is N(0,1); of a prior that is learned recon - log p(z) + log N(z; 0, 1), for a
/// weight that takes the prior for N(0,1).
fn of_prior(r: &mut Recorder, model: &dyn Model, recon: Tensor, z: Tensor, clock: Tensor) -> Tensor {
    let Some(view) = model.find_view("log_prior") else { return recon };
    let log_p = model.view(r, view.name, &[z], &mut Draw::Clock(clock))[0].reshape(recon.shape());
    r.scope("prior");
    // Zeros: nothing writes them.
    let normal = ["mean", "logvar"].map(|name| r.tensor(name, &[1, z.matrix()[1]]));
    let log_normal = mixture::pairs(r, z, normal).reshape(recon.shape());
    let learned = joint::add(r, log_normal, log_p, -1.0);
    joint::add(r, recon, learned, 1.0)
}

#[cfg(test)]
mod tests;
