//! A deep Markov model (Krishnan, Shalit & Sontag 2017, arXiv 1609.09869): a state z_t that moves from step to step, of
//! which each step's numbers are a picture. What is inferred of z_t hangs on the state before and on all that follows.
//!
//! ```text
//! -ELBO(x) = sum_t E_q[-log p(x_t|z_t)] + kl_weight KL(q(z_t|z_t-1,x_t..x_T) || p(z_t|z_t-1))
//!
//!   p(z_t|z_t-1)          a gated transition (parts/transition.rs), from a trained z_0 on
//!   p(x_t|z_t)            the emission of emitter(z_t)
//!   b_t                 = GRU over x_T, ..., x_t: what lies ahead
//!   c_t                 = (tanh(W z_t-1 + v) + b_t) / 2
//!   q(z_t|z_t-1,x_t..x_T) = N(mean, e^logvar),   (mean, logvar) = encoder(c_t)
//! ```
//!
//! Only z_t hangs on z_t-1, so the loop over time holds two small layers. The GRU reads all steps before it, and
//! transition and emitter take all steps at once after it.
//!
//! B sequences, T steps, C numbers of a step, H of the GRU's state, Z of a latent. Steps are time-major: row t*B + b is
//! step t of sequence b. A step behind a row's end costs nothing and moves nothing.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::{Batch, Steps};
use super::draw::Draw;
use super::parts::emission::{self, Counted, Emission};
use super::parts::networks::{Divergence, LARGEST_SIZE, require};
use super::parts::transition::Transition;
use super::parts::{complete, read, reads};
use super::{Entry, Knob, Losses, Model, View, presets};
use crate::arena::{Arena, Parameter};
use crate::data::table::{Columns, Kind, STEPS, Table as Examples};
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::rows::Rows;
use crate::kernels::{conv2d, fill, gaussian_pair_kl, joint, reduce, reparameterise, slots, steps};
use crate::layers::Mode;
use crate::layers::gru::{self, Gru};
use crate::layers::linear::{self, Linear};
use crate::layers::sequential::{Layer, Sequential};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "deep_markov",
    about: "a deep Markov model: a state that moves step by step, inferred from what follows (Krishnan et al. 2017)",
    formula: "-ELBO(x) = sum_t E_q[-log p(x_t|z_t)] + kl_weight KL(q(z_t|z_t-1,x_t..x_T) || p(z_t|z_t-1))   \
              (arXiv 1609.09869)",
    takes: &[STEPS],
    terms: |_| &emission::TERMS,
    keys: &[Sizes::KEYS, Emission::KEYS, Divergence::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: |_, _| (),
    fill_in: |_, _| Ok(()),
    presets: &presets::DEEP_MARKOV,
    open: |arena, table, columns| Ok(Box::new(DeepMarkov::open(arena, read(table)?, columns)?)),
};

crate::keys! {
    /// The networks.
    Sizes {
        "Model" {
            hidden: usize = 256, "N", "Size of the state of the GRU that reads what follows";
            latent: usize = 64, "N", "Number of latent dimensions of a step";
            transition: usize = 128, "N", "Size of the transition's hidden layers";
            emitter: usize = 100, "N", "Size of the emitter's two hidden layers";
            activation: Activation = Activation::Relu, "NAME", "Nonlinearity after each hidden layer";
        }
    }
}

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The networks.
    #[serde(flatten)]
    pub sizes: Sizes,
    /// The distribution of a step.
    #[serde(flatten)]
    pub emission: Emission,
    /// The KL term.
    #[serde(flatten)]
    pub divergence: Divergence,
}

impl Config {
    fn check(&self) -> Result<()> {
        let Sizes { hidden, latent, transition, emitter, .. } = self.sizes;
        let sizes = [("hidden", hidden), ("latent", latent), ("transition", transition), ("emitter", emitter)];
        for (key, size) in sizes {
            require((1..=LARGEST_SIZE).contains(&size), key, size, &format!("must be 1 to {LARGEST_SIZE}"))?;
        }
        self.divergence.check_without_free_bits("where the prior is learned: take a kl_schedule")
    }
}

/// The model.
pub struct DeepMarkov {
    config: Config,
    /// C and the longest sequence.
    shape: [usize; 2],
    /// (Z)
    z_0: Parameter,
    transition: Transition,
    emitter: Sequential,
    /// From x_T to x_t.
    rnn: Gru,
    combiner: Linear,
    encoder: Linear,
}

/// What is inferred, of all steps, and what the way back needs.
struct Inferred {
    /// (T*B,Z)
    z: Tensor,
    /// (T*B,Z): z_t-1.
    z_before: Tensor,
    /// (T*B,Z): mean and logvar of q.
    q: [Tensor; 2],
    rnn: gru::Saved,
    steps: Vec<Step>,
}

/// What the way back through one step needs.
struct Step {
    combiner: linear::Saved,
    encoder: linear::Saved,
    /// (B,Z): logvar of q, and the noise of z.
    drawn: [Tensor; 2],
}

impl DeepMarkov {
    /// Declares the parameters for the sequences of the columns. Errors: settings out of range, no column of sequences.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<DeepMarkov> {
        let shape = columns.steps(STEPS)?;
        config.check()?;
        config.emission.check(shape[0])?;
        let Sizes { hidden: h, latent: z, transition, emitter: e, activation } = config.sizes;
        let z_0 = arena.parameter("z_0", &[z]);
        let transition = Transition::new(arena, "transition", z, transition, activation);
        let mut layer = |index: usize, inputs: usize, outputs: usize, activation: Activation| {
            Layer::Linear(Linear::new(arena, &format!("emitter.{}", 2 * index), inputs, outputs, activation))
        };
        let emitter = Sequential::new(vec![
            layer(0, z, e, activation),
            layer(1, e, e, activation),
            layer(2, e, config.emission.outputs(shape[0]), Activation::Identity),
        ]);
        Ok(DeepMarkov {
            z_0,
            transition,
            emitter,
            rnn: Gru::reversed(arena, "rnn", shape[0], h),
            combiner: Linear::new(arena, "combiner", z, h, Activation::Tanh),
            encoder: Linear::new(arena, "encoder", h, 2 * z, Activation::Identity),
            config,
            shape,
        })
    }

    /// z_0 for `rows` sequences, (rows,Z).
    fn first(&self, r: &mut Recorder, rows: usize) -> Tensor {
        r.scope("latent");
        reduce::backward_columns(r, self.z_0.value, [rows, self.config.sizes.latent])
    }

    // ANCHOR: infer
    /// z_t ~ q(z_t|z_t-1,x_t..x_T), step by step.
    fn infer(&self, r: &mut Recorder, x: &Steps, draw: &mut Draw) -> Inferred {
        let latent = self.config.sizes.latent;
        let ([rows, _], b) = (x.x.matrix(), x.lengths.len());
        let (ahead, rnn) = self.rnn.forward(r, x.x, x.lengths, None); // b_t: (T*B,H)
        r.scope("latent");
        let noise = draw.latent(r, &[rows, latent]);
        let [z, z_before, mean, logvar] =
            ["z", "z_before", "mean", "logvar"].map(|name| r.tensor(name, &[rows, latent]));
        let mut before = self.first(r, b);
        let step = |t: usize| {
            slots::put(r, before, z_before, t);
            let (c, combiner) = self.combiner.forward(r, before); // (B,H)
            let ahead_t = slots::take(r, ahead.h, b, t);
            let c = joint::add(r, c, ahead_t, 1.0);
            let c = joint::scale(r, c, 0.5);
            let (q, encoder) = self.encoder.forward(r, c);
            r.scope("latent");
            let (mean_t, logvar_t) = joint::split(r, q, latent);
            let noise_t = slots::take(r, noise, b, t);
            before = reparameterise::forward(r, mean_t, logvar_t, noise_t);
            slots::put(r, before, z, t);
            slots::put(r, mean_t, mean, t);
            slots::put(r, logvar_t, logvar, t);
            Step { combiner, encoder, drawn: [logvar_t, noise_t] }
        };
        let steps = (0..rows / b).map(step).collect();
        Inferred { z, z_before, q: [mean, logvar], rnn, steps }
    }

    /// The way back, from dz and dz_before (T*B,Z), the gradients of z_t through the emitter and of z_t-1 through the
    /// transition, and those of q's mean and logvar through the KL. Adds to the parameters' gradients.
    fn infer_backward(&self, r: &mut Recorder, inferred: Inferred, [dz, dz_before]: [Tensor; 2], dq: [Tensor; 2]) {
        let Sizes { hidden, latent, .. } = self.config.sizes;
        let Inferred { rnn, steps, .. } = inferred;
        let ([rows, _], b) = (dz.matrix(), dz.matrix()[0] / steps.len());
        let dahead = r.tensor("dahead", &[rows, hidden]);
        let mut through_next = r.tensor("dz_next", &[b, latent]); // z_t's share from step t+1
        fill::forward(r, through_next, 0.0);
        for (t, Step { combiner, encoder, drawn: [logvar, noise] }) in steps.into_iter().enumerate().rev() {
            r.scope("latent");
            let through_emitter = slots::take(r, dz, b, t);
            let dz_t = joint::add(r, through_emitter, through_next, 1.0);
            let [dmean, dlogvar] = dq.map(|dq| slots::take(r, dq, b, t));
            reparameterise::backward(r, logvar, noise, dz_t, dmean, dlogvar); // added: q feeds the KL and z
            let of_q = joint::concat(r, dmean, dlogvar);
            let dc = self.encoder.backward(r, encoder, of_q);
            let dc = joint::scale(r, dc, 0.5);
            slots::put(r, dc, dahead, t);
            let through_combiner = self.combiner.backward(r, combiner, dc);
            let through_transition = slots::take(r, dz_before, b, t);
            through_next = joint::add(r, through_combiner, through_transition, 1.0);
        }
        // The column sums of what is left, (B,Z), are added to the gradient of z_0.
        conv2d::backward_b(r, through_next.reshape(&[b, 1, 1, latent]), self.z_0.grad);
        self.rnn.backward_parameters(r, rnn, Some(dahead), None);
    }
    // ANCHOR_END: infer
}

impl Model for DeepMarkov {
    fn check_values(&self, train: &Examples) -> Result<()> {
        self.config.emission.check_values(train)
    }

    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let emission = &self.config.emission;
        let x = batch.steps(r, STEPS); // x (T*B,C), lengths (B)
        let counted = Counted::of(r, batch, &x); // (T*B)

        let inferred = self.infer(r, &x, draw); // z_t ~ q: step by step
        let q = inferred.q;
        let (p, transition) = self.transition.forward(r, inferred.z_before); // p(z_t|z_t-1): all steps at once
        r.scope("emitter");
        let (y, emitter) = self.emitter.forward(r, inferred.z, batch.mode); // (T*B,O)
        r.scope("loss");
        let recon = emission.loss(r, y, &x, counted); // (T*B): -log p(x_t|z_t)
        let kl = gaussian_pair_kl::rows(r, q, p); // (T*B): KL(q || p)
        let kl = counted.rows(r, kl);

        let weight = Rows::Weights(counted.weight);
        let dy = emission.backward(r, recon, counted);
        let dz = self.emitter.backward(r, emitter, dy);
        let dp = gaussian_pair_kl::backward_p(r, q, p, batch.clock, weight);
        let dz_before = self.transition.backward(r, transition, dp);
        let dq = gaussian_pair_kl::backward_q(r, q, p, batch.clock, weight);
        self.infer_backward(r, inferred, [dz, dz_before], dq);
        vec![recon.rows, kl, counted.steps]
    }

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.steps(r, STEPS);
        let counted = Counted::of(r, batch, &x);
        let Inferred { z, z_before, q, .. } = self.infer(r, &x, draw);
        let (p, _) = self.transition.forward(r, z_before);
        let (y, _) = self.emitter.forward(r, z, Mode::Evaluate);
        r.scope("loss");
        let recon = self.config.emission.loss(r, y, &x, counted);
        let kl = gaussian_pair_kl::rows(r, q, p);
        vec![recon.rows, counted.rows(r, kl), counted.steps]
    }

    fn views(&self) -> Vec<View> {
        let [channels, longest] = self.shape;
        let outputs = self.config.emission.outputs(channels);
        let Sizes { latent, .. } = self.config.sizes;
        let (x, step, z) = (Kind::Steps { channels, longest }, Kind::Vector(channels), Kind::Vector(latent));
        vec![
            View::new("reconstruct").takes(STEPS, x).gives("outputs", Kind::Vector(longest * outputs)),
            View::new("start").takes("row", Kind::Vector(1)).gives("state", z),
            View::new("emit").takes("state", z).gives("z", z).gives("outputs", Kind::Vector(outputs)),
            View::new("advance").takes("state", z).takes("z", z).takes("x", step).gives("state", z),
        ]
    }

    /// `start` gives z_0; `emit` draws z_t by the transition and gives it with what the emission takes; `advance` gives
    /// the state of the next step, which is z_t, whatever was drawn of it.
    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], draw: &mut Draw) -> Vec<Tensor> {
        match (name, inputs) {
            ("reconstruct", &[x]) => {
                let [b, _] = x.matrix();
                let x = Steps::given(r, x, self.shape);
                let z = self.infer(r, &x, &mut draw.mean()).z;
                let (y, _) = self.emitter.forward(r, z, Mode::Evaluate);
                vec![steps::by_row(r, y, b)]
            }
            ("start", &[row]) => vec![self.first(r, row.matrix()[0])],
            ("emit", &[before]) => {
                let ([mean, logvar], _) = self.transition.forward(r, before);
                r.scope("latent");
                let noise = draw.latent(r, before.shape());
                let z = reparameterise::forward(r, mean, logvar, noise);
                vec![z, self.emitter.forward(r, z, Mode::Evaluate).0]
            }
            ("advance", &[_, z, _]) => vec![joint::scale(r, z, 1.0)],
            _ => panic!("deep_markov has no view {name} of {} inputs", inputs.len()),
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        let Sizes { hidden, latent, .. } = self.config.sizes;
        format!("{} numbers a step, {hidden}-{latent}", self.shape[0])
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        let z_0 = (self.z_0.value, vec![0.0; self.z_0.value.len()]);
        [
            vec![z_0],
            self.transition.initial(rng),
            self.emitter.initial(rng),
            self.rnn.initial(rng),
            self.combiner.initial(rng),
            self.encoder.initial(rng),
        ]
        .concat()
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.divergence.knob()]
    }
}
