//! A variational recurrent network (Chung et al. 2015, arXiv 1506.02216): a latent z_t at each step of a sequence,
//! whose prior is learned and hangs on all that came before.
//!
//! ```text
//! -ELBO(x) = sum_t E_q[-log p(x_t|z_t,h_t-1)] + kl_weight KL(q(z_t|x_t,h_t-1) || p(z_t|h_t-1))
//!
//!   p(z_t|h_t-1)     = N(mean, e^logvar),   (mean, logvar) = prior(h_t-1)
//!   q(z_t|x_t,h_t-1) = N(mean, e^logvar),   (mean, logvar) = encoder(f_t, h_t-1)     f_t = phi_x(x_t)
//!   p(x_t|z_t,h_t-1) = the emission of        decoder(g_t, h_t-1)                    g_t = phi_z(z_t)
//!   h_t              = GRU((f_t, g_t), h_t-1), h_0 = 0
//! ```
//!
//! The paper's recurrence is any; the GRU has one state. z_t must be drawn before h_t is known, so encoder and GRU go
//! step by step. Prior and decoder need h_t-1 and g_t alone: they take all steps at once, after that.
//!
//! B sequences, T steps, C numbers of a step, F of a feature, H of the state, Z of a latent. Steps are time-major: row
//! t*B + b is step t of sequence b. A step behind a row's end costs nothing and moves nothing.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::{Batch, Steps};
use super::draw::Draw;
use super::parts::emission::{self, Counted, Emission};
use super::parts::networks::{Divergence, LARGEST_SIZE, require};
use super::parts::pair::{Pair, PairSaved};
use super::parts::{complete, read, reads};
use super::{Entry, Knob, Losses, Model, View, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, STEPS, Table as Examples};
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::rows::Rows;
use crate::kernels::{fill, gaussian_pair_kl, joint, recurrent, reparameterise, slots, steps};
use crate::layers::gru::{self, Gru};
use crate::layers::linear::{self, Linear};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "vrnn",
    about: "a recurrent network with a latent at each step, whose prior hangs on the past (Chung et al. 2015)",
    formula: "-ELBO(x) = sum_t E_q[-log p(x_t|z_t,h_t-1)] + kl_weight KL(q(z_t|x_t,h_t-1) || p(z_t|h_t-1))   \
              (arXiv 1506.02216)",
    takes: &[STEPS],
    terms: |_| &emission::TERMS,
    keys: &[Sizes::KEYS, Emission::KEYS, Divergence::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: |_, _| (),
    fill_in: |_, _| Ok(()),
    presets: &presets::VRNN,
    open: |arena, table, columns| Ok(Box::new(Vrnn::open(arena, read(table)?, columns)?)),
};

crate::keys! {
    /// The networks.
    Sizes {
        "Model" {
            features: usize = 128, "N", "Numbers of phi_x and phi_z, and of the hidden layers of all networks";
            hidden: usize = 256, "N", "Size of the GRU's state";
            latent: usize = 16, "N", "Number of latent dimensions of a step";
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
        let Sizes { features, hidden, latent, .. } = self.sizes;
        for (key, size) in [("features", features), ("hidden", hidden), ("latent", latent)] {
            require((1..=LARGEST_SIZE).contains(&size), key, size, &format!("must be 1 to {LARGEST_SIZE}"))?;
        }
        self.divergence.check_without_free_bits("where the prior is learned: take a kl_schedule")
    }
}

/// The model.
pub struct Vrnn {
    config: Config,
    /// C and the longest sequence.
    shape: [usize; 2],
    phi_x: Linear,
    phi_z: Linear,
    encoder: Pair,
    prior: Pair,
    decoder: Pair,
    rnn: Gru,
}

/// What is inferred step by step, of all steps, and what the way back needs.
struct Inferred {
    /// (T*B,H): h_t-1.
    h: Tensor,
    /// (T*B,F): phi_z(z_t).
    g: Tensor,
    /// (T*B,Z): mean and logvar of q(z_t|x_t,h_t-1).
    q: [Tensor; 2],
    phi_x: linear::Saved,
    steps: Vec<Step>,
}

/// What the way back through one step needs.
struct Step {
    encoder: PairSaved,
    /// (B,Z): logvar of q, and the noise of z.
    drawn: [Tensor; 2],
    phi_z: linear::Saved,
    rnn: gru::Saved,
}

impl Vrnn {
    /// Declares the parameters for the sequences of the columns. Errors: settings out of range, no column of sequences.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Vrnn> {
        let shape = columns.steps(STEPS)?;
        config.check()?;
        config.emission.check(shape[0])?;
        let Sizes { features: f, hidden: h, latent: z, activation } = config.sizes;
        let outputs = config.emission.outputs(shape[0]);
        Ok(Vrnn {
            phi_x: Linear::new(arena, "phi_x", shape[0], f, activation),
            phi_z: Linear::new(arena, "phi_z", z, f, activation),
            encoder: Pair::new(arena, "encoder", [f + h, f, 2 * z], activation),
            prior: Pair::new(arena, "prior", [h, f, 2 * z], activation),
            decoder: Pair::new(arena, "decoder", [f + h, f, outputs], activation),
            rnn: Gru::new(arena, "rnn", 2 * f, h),
            config,
            shape,
        })
    }

    // ANCHOR: infer
    /// z_t ~ q(z_t|x_t,h_t-1) and h_t, step by step.
    fn infer(&self, r: &mut Recorder, x: &Steps, draw: &mut Draw) -> Inferred {
        let Sizes { features, hidden, latent, .. } = self.config.sizes;
        let ([rows, _], b) = (x.x.matrix(), x.lengths.len());
        let (f, phi_x) = self.phi_x.forward(r, x.x); // (T*B,F)
        r.scope("latent");
        let noise = draw.latent(r, &[rows, latent]);
        let all = |r: &mut Recorder, name: &str, width: usize| r.tensor(name, &[rows, width]);
        let (h_before, g) = (all(r, "h", hidden), all(r, "g", features));
        let q = ["mean", "logvar"].map(|name| all(r, name, latent));
        let h = r.tensor("state", &[b, hidden]);
        fill::forward(r, h, 0.0);
        let step = |t: usize| {
            r.scope("latent");
            slots::put(r, h, h_before, t);
            let f_t = slots::take(r, f, b, t);
            let (mean, logvar, encoder) = self.encode(r, f_t, h); // (B,Z) each
            r.scope("latent");
            let noise = slots::take(r, noise, b, t);
            let z = reparameterise::forward(r, mean, logvar, noise);
            let (g_t, phi_z) = self.phi_z.forward(r, z); // (B,F)
            let joined = joint::concat(r, f_t, g_t);
            let (_, rnn) = self.rnn.step(r, joined, h, x.lengths, t); // updates h
            slots::put(r, g_t, g, t);
            slots::put(r, mean, q[0], t);
            slots::put(r, logvar, q[1], t);
            Step { encoder, drawn: [logvar, noise], phi_z, rnn }
        };
        let steps = (0..rows / b).map(step).collect();
        Inferred { h: h_before, g, q, phi_x, steps }
    }

    /// The way back, from dg (T*B,F) and dh (T*B,H), the gradients of g and of h_t-1 through prior and decoder, and
    /// those of q's mean and logvar through the KL. Adds to the parameters' gradients.
    fn infer_backward(&self, r: &mut Recorder, inferred: Inferred, [dg, dh_before]: [Tensor; 2], dq: [Tensor; 2]) {
        let Sizes { features, hidden, .. } = self.config.sizes;
        let Inferred { phi_x, steps, .. } = inferred;
        let ([rows, _], b) = (dg.matrix(), dg.matrix()[0] / steps.len());
        let df = r.tensor("df", &[rows, features]);
        let mut dh = r.tensor("dstate", &[b, hidden]);
        fill::forward(r, dh, 0.0);
        for (t, Step { encoder, drawn: [logvar, noise], phi_z, rnn }) in steps.into_iter().enumerate().rev() {
            let djoined = self.rnn.backward_step(r, rnn, None, dh); // dh: of h_t, then of h_t-1 through the GRU
            let (df_t, dg_t) = joint::split(r, djoined, features);
            let through_decoder = slots::take(r, dg, b, t);
            let dg_t = joint::add(r, dg_t, through_decoder, 1.0);
            let dz = self.phi_z.backward(r, phi_z, dg_t);
            r.scope("latent");
            let [dmean, dlogvar] = dq.map(|dq| slots::take(r, dq, b, t));
            reparameterise::backward(r, logvar, noise, dz, dmean, dlogvar); // added: q feeds the KL and z
            let of_q = joint::concat(r, dmean, dlogvar);
            let djoined = self.encoder.backward(r, encoder, of_q);
            let (through_encoder, dh_encoder) = joint::split(r, djoined, features);
            let df_t = joint::add(r, df_t, through_encoder, 1.0);
            slots::put(r, df_t, df, t);
            let dh_others = slots::take(r, dh_before, b, t);
            dh = joint::add(r, dh, dh_encoder, 1.0);
            dh = joint::add(r, dh, dh_others, 1.0);
        }
        self.phi_x.backward_parameters(r, phi_x, df);
    }
    // ANCHOR_END: infer

    /// Mean and logvar (B,Z) of q(z_t|x_t,h_t-1), from f_t (B,F) and h_t-1 (B,H).
    fn encode(&self, r: &mut Recorder, f: Tensor, h: Tensor) -> (Tensor, Tensor, PairSaved) {
        r.scope("encoder");
        let joined = joint::concat(r, f, h);
        let (q, saved) = self.encoder.forward(r, joined);
        let (mean, logvar) = joint::split(r, q, self.config.sizes.latent);
        (mean, logvar, saved)
    }

    /// Mean and logvar (R,Z) of p(z_t|h_t-1), from h_t-1 (R,H).
    fn prior(&self, r: &mut Recorder, h: Tensor) -> ([Tensor; 2], PairSaved) {
        let (p, saved) = self.prior.forward(r, h);
        (joint::split(r, p, self.config.sizes.latent).into(), saved)
    }

    /// What the emission takes, (R,O), from g_t (R,F) and h_t-1 (R,H).
    fn decode(&self, r: &mut Recorder, g: Tensor, h: Tensor) -> (Tensor, PairSaved) {
        r.scope("decoder");
        let joined = joint::concat(r, g, h);
        self.decoder.forward(r, joined)
    }
}

impl Model for Vrnn {
    fn check_values(&self, train: &Examples) -> Result<()> {
        self.config.emission.check_values(train)
    }

    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let emission = &self.config.emission;
        let x = batch.steps(r, STEPS); // x (T*B,C), lengths (B)
        let counted = Counted::of(r, batch, &x); // (T*B)

        let inferred = self.infer(r, &x, draw); // z_t ~ q(z_t|x_t,h_t-1), h_t: step by step
        let (q, h) = (inferred.q, inferred.h);
        let (p, prior) = self.prior(r, h); // p(z_t|h_t-1): all steps at once
        let (y, decoder) = self.decode(r, inferred.g, h); // (T*B,O)
        r.scope("loss");
        let recon = emission.loss(r, y, &x, counted); // (T*B): -log p(x_t|z_t,h_t-1)
        let kl = gaussian_pair_kl::rows(r, q, p); // (T*B): KL(q || p)
        let kl = counted.rows(r, kl);

        let weight = Rows::Weights(counted.weight);
        let dy = emission.backward(r, recon, counted);
        let djoined = self.decoder.backward(r, decoder, dy);
        let (dg, dh) = joint::split(r, djoined, self.config.sizes.features);
        let [dmean, dlogvar] = gaussian_pair_kl::backward_p(r, q, p, batch.clock, weight);
        let of_p = joint::concat(r, dmean, dlogvar);
        let dh_prior = self.prior.backward(r, prior, of_p);
        let dh = joint::add(r, dh, dh_prior, 1.0); // (T*B,H): h_t-1 feeds decoder and prior
        let dq = gaussian_pair_kl::backward_q(r, q, p, batch.clock, weight);
        self.infer_backward(r, inferred, [dg, dh], dq);
        vec![recon.rows, kl, counted.steps]
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let x = batch.steps(r, STEPS);
        let counted = Counted::of(r, batch, &x);
        let Inferred { h, g, q, .. } = self.infer(r, &x, draw);
        let (p, _) = self.prior(r, h);
        let (y, _) = self.decode(r, g, h);
        r.scope("loss");
        let recon = self.config.emission.loss(r, y, &x, counted);
        let kl = gaussian_pair_kl::rows(r, q, p);
        vec![recon.rows, counted.rows(r, kl), counted.steps]
    }

    fn views(&self) -> Vec<View> {
        let [channels, longest] = self.shape;
        let outputs = self.config.emission.outputs(channels);
        let Sizes { hidden, latent, .. } = self.config.sizes;
        let (x, step) = (Kind::Steps { channels, longest }, Kind::Vector(channels));
        let (z, state) = (Kind::Vector(latent), Kind::Vector(hidden));
        vec![
            View::new("reconstruct").takes(STEPS, x).gives("outputs", Kind::Vector(longest * outputs)),
            View::new("start").takes("row", Kind::Vector(1)).gives("state", state),
            View::new("emit").takes("state", state).gives("z", z).gives("outputs", Kind::Vector(outputs)),
            View::new("advance").takes("state", state).takes("z", z).takes("x", step).gives("state", state),
        ]
    }

    /// `start` gives h_0; `emit` draws z_t of its prior and gives it with what the emission takes; `advance` gives h_t.
    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], draw: &mut Draw) -> Vec<Tensor> {
        let Sizes { hidden, latent, .. } = self.config.sizes;
        match (name, inputs) {
            ("reconstruct", &[x]) => {
                let [b, _] = x.matrix();
                let x = Steps::given(r, x, self.shape);
                let Inferred { h, g, .. } = self.infer(r, &x, &mut draw.mean());
                let (y, _) = self.decode(r, g, h);
                vec![steps::by_row(r, y, b)]
            }
            ("start", &[row]) => vec![r.zeros("state", &[row.matrix()[0], hidden])],
            ("emit", &[h]) => {
                let ([mean, logvar], _) = self.prior(r, h);
                r.scope("latent");
                let noise = draw.latent(r, &[h.matrix()[0], latent]);
                let z = reparameterise::forward(r, mean, logvar, noise);
                let (g, _) = self.phi_z.forward(r, z);
                vec![z, self.decode(r, g, h).0]
            }
            ("advance", &[h, z, x]) => {
                let (f, _) = self.phi_x.forward(r, x);
                let (g, _) = self.phi_z.forward(r, z);
                let joined = joint::concat(r, f, g);
                // A step updates its state in place, and inputs stay.
                let h = joint::scale(r, h, 1.0);
                let lengths = recurrent::endless(r, h.matrix()[0]);
                self.rnn.step(r, joined, h, lengths, 0);
                vec![h]
            }
            _ => panic!("vrnn has no view {name} of {} inputs", inputs.len()),
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        let Sizes { features, hidden, latent, .. } = self.config.sizes;
        format!("{} numbers a step, {features}-{hidden}-{latent}", self.shape[0])
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        [
            self.phi_x.initial(rng),
            self.phi_z.initial(rng),
            self.encoder.initial(rng),
            self.prior.initial(rng),
            self.decoder.initial(rng),
            self.rnn.initial(rng),
        ]
        .concat()
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.divergence.knob()]
    }
}
