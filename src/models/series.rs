//! The VAE of series: a window of steps as one point of a space, read by an LSTM and drawn by another (the LSTM-VAE of
//! Park et al. 2018, arXiv 1711.00614, with z for the whole window), of numbers of which some may be missing.
//!
//! A window is x_1 .. x_T of C numbers each, and m_tc is 1 where x_tc was seen. Minimised is, in nats a window,
//!
//!   -ELBO(x) = E_q(z|x)[sum_tc -m_tc log p(x_tc | z)] + kl_weight KL(q(z|x) || N(0,1))
//!
//!   q(z|x) = N(mean(h_n), e^logvar(h_n))                h_n the encoder's state after (m x, m) of the last step shown
//!   p(x_tc | z) = N(mean_c(s_t), e^logvar_c(s_t))       s_t = LSTM(z, s_t-1), s_0 = W_0 z + b_0, c_0 = 0
//!   logvar_c(s) = 6 tanh(W s + b)                       so that no deviation is below a twentieth of the channel's
//!
//! What is missing costs nothing, and the encoder is told that it is. With `hide`, the encoder is not shown the last
//! steps of half of the training windows, and the decoder draws all: the model learns to complete a window whose end is
//! missing, which is a forecast.
//!
//! B windows, T steps, C channels, H numbers of a state, Z of a latent. Steps are time-major: row t*B + b is step t of
//! window b.

use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use toml::Table;

use super::batch::{Batch, Steps};
use super::draw::Draw;
use super::parts::gaussian::Gaussian;
use super::parts::networks::{Divergence, LARGEST_SIZE, require};
use super::parts::{complete, read, reads};
use super::vae::{KL, RECON};
use super::{Entry, Knob, Losses, Model, Term, View, Weight, presets};
use crate::arena::Arena;
use crate::data::table::{Columns, Kind, STEPS};
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::{gaussian_nll, joint, recurrent, reduce, steps, tail_dropout};
use crate::layers::Mode;
use crate::layers::linear::{self, Linear};
use crate::layers::lstm::{self, Lstm};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// Of each window, what nats a number are taken over.
const NUMBERS: Term = Term { name: "numbers", weight: Weight::Zero, about: "numbers of a window that were seen" };

/// What a log variance is at most, and at least with a minus: deviations from 0.05 to 20 of a channel's own.
const LOGVAR_RANGE: f32 = 6.0;

/// The share of training windows whose end is hidden.
const HIDDEN_SHARE: f32 = 0.5;

/// In the list of models.
pub static ENTRY: Entry = Entry {
    name: "series",
    about: "a VAE of windows of series, read and drawn by LSTMs, of numbers of which some may be missing",
    formula: "-ELBO(x) = E_q[sum_tc -m_tc log N(x_tc|z)] + kl_weight KL(q(z|x) || N(0,1))   (arXiv 1711.00614)",
    takes: &[STEPS],
    terms: |_| &[RECON, KL, NUMBERS],
    keys: &[Recurrent::KEYS, Divergence::KEYS],
    defaults: || complete(&Config::default()),
    reads: reads::<Config>,
    check: |table| read::<Config>(table)?.check(),
    overlay: |_, _| (),
    fill_in: |_, _| Ok(()),
    presets: &presets::SERIES,
    open: |arena, table, columns| Ok(Box::new(Series::open(arena, read(table)?, columns)?)),
};

crate::keys! {
    /// The networks, and what the encoder is not shown.
    Recurrent {
        "Model" {
            hidden: usize = 64, "N", "Size of the state of encoder and decoder";
            latent: usize = 8, "N", "Number of latent dimensions";
            hide: usize = 0, "N",
                "Hide up to N steps at the end of half of the training windows from the encoder, so that the model \
                 learns to forecast as many";
        }
    }
}

/// Its settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The networks.
    #[serde(flatten)]
    pub recurrent: Recurrent,
    /// The KL term.
    #[serde(flatten)]
    pub divergence: Divergence,
}

impl Config {
    fn check(&self) -> Result<()> {
        let Recurrent { hidden, latent, .. } = self.recurrent;
        for (key, size) in [("hidden", hidden), ("latent", latent)] {
            require((1..=LARGEST_SIZE).contains(&size), key, size, &format!("must be 1 to {LARGEST_SIZE}"))?;
        }
        self.divergence.check()
    }
}

/// The model.
pub struct Series {
    config: Config,
    /// C and the steps of a window.
    sizes: [usize; 2],
    encoder: Lstm,
    latent: Gaussian,
    /// From z to s_0.
    start: Linear,
    decoder: Lstm,
    /// From a state to the means of the channels.
    mean: Linear,
    /// From a state to their log variances, before the range.
    logvar: Linear,
}

/// What the decoder's backward needs of its forward.
struct Decoded {
    start: linear::Saved,
    lstm: lstm::Saved,
    mean: linear::Saved,
    logvar: linear::Saved,
}

impl Series {
    /// Declares the parameters for the windows of the columns. Errors: settings out of range, no column of sequences,
    /// more steps to hide than a window has.
    pub fn open(arena: &mut Arena, config: Config, columns: &Columns) -> Result<Series> {
        let sizes = columns.steps(STEPS)?;
        config.check()?;
        let [channels, longest] = sizes;
        let Recurrent { hidden, latent, hide } = config.recurrent;
        require(hide < longest, "hide", hide, &format!("must be less than the {longest} steps of a window"))?;
        Ok(Series {
            encoder: Lstm::new(arena, "encoder", 2 * channels, hidden),
            latent: Gaussian::of_features(arena, hidden, latent, config.divergence.free_bits),
            start: Linear::new(arena, "fc3", latent, hidden, Activation::Identity),
            decoder: Lstm::new(arena, "decoder", latent, hidden),
            mean: Linear::new(arena, "mean", hidden, channels, Activation::Identity),
            logvar: Linear::new(arena, "logvar", hidden, channels, Activation::Tanh),
            config,
            sizes,
        })
    }

    // ANCHOR: read
    /// h_n (B,H), the encoder's state after the last step of each window that it is shown, and what a backward needs.
    fn read(&self, r: &mut Recorder, window: Steps) -> (Tensor, lstm::Saved) {
        let inputs = joint::concat(r, window.x, window.seen); // (T*B,2C)
        let (states, saved) = self.encoder.forward(r, inputs, window.lengths, None);
        (states.last[0], saved)
    }

    /// What the encoder is shown of the windows: all, but where training hides ends.
    fn shown(&self, r: &mut Recorder, window: Steps, draw: &mut Draw) -> Steps {
        let hide = self.config.recurrent.hide;
        if hide == 0 {
            return window;
        }
        let noise = draw.uniform(r, &[window.lengths.len(), 1]);
        // The LSTM stops at the end of what is shown, so the numbers behind it need not go.
        let lengths = tail_dropout::forward(r, window.lengths, noise, hide, HIDDEN_SHARE);
        Steps { lengths, ..window }
    }
    // ANCHOR_END: read

    // ANCHOR: decoder
    /// Mean and logvar (T*B,C) of the numbers of z (B,Z) in T steps, of rows of these lengths (B).
    fn decode(&self, r: &mut Recorder, z: Tensor, lengths: Tensor, steps: usize) -> ([Tensor; 2], Decoded) {
        let (h0, start) = self.start.forward(r, z); // (B,H)
        r.scope("decoder");
        let c0 = r.zeros("c0", h0.shape());
        let z = recurrent::at_each_step(r, z, steps); // (T*B,Z)
        let (states, lstm) = self.decoder.forward(r, z, lengths, Some([h0, c0]));
        let (mean, mean_saved) = self.mean.forward(r, states.h);
        let (share, logvar_saved) = self.logvar.forward(r, states.h);
        let logvar = joint::scale(r, share, LOGVAR_RANGE);
        ([mean, logvar], Decoded { start, lstm, mean: mean_saved, logvar: logvar_saved })
    }

    /// dmean and dlogvar (T*B,C) to dz (B,Z); adds to the parameters' gradients.
    fn decode_backward(&self, r: &mut Recorder, saved: Decoded, [dmean, dlogvar]: [Tensor; 2]) -> Tensor {
        let Decoded { start, lstm, mean, logvar } = saved;
        let of_mean = self.mean.backward(r, mean, dmean);
        let dshare = joint::scale(r, dlogvar, LOGVAR_RANGE);
        let of_logvar = self.logvar.backward(r, logvar, dshare);
        let dh = joint::add(r, of_mean, of_logvar, 1.0); // (T*B,H)
        let lstm::Gradients { dx, dstart: [dh0, _] } = self.decoder.backward(r, lstm, Some(dh), None);
        let dz = self.start.backward(r, start, dh0); // (B,Z)
        let of_steps = recurrent::over_steps(r, dx, dz.matrix()[0]);
        joint::add(r, dz, of_steps, 1.0)
    }
    // ANCHOR_END: decoder

    /// Mean and logvar, (B,T*C) each, of the numbers of whole windows of z (B,Z).
    fn drawn(&self, r: &mut Recorder, z: Tensor) -> [Tensor; 2] {
        let [b, _] = z.matrix();
        let lengths = recurrent::endless(r, b);
        let (drawn, _) = self.decode(r, z, lengths, self.sizes[1]);
        drawn.map(|of| steps::by_row(r, of, b))
    }
}

impl Model for Series {
    // ANCHOR: step
    fn step(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let window = batch.steps(r, STEPS); // x, seen (T*B,C), lengths (B)
        let shown = self.shown(r, window, draw);

        let (last, encoder) = self.read(r, shown); // (B,H)
        let (z, q) = self.latent.sample(r, last, draw, batch.mode); // (B,Z): z ~ q(z|x)
        let (p, decoder) = self.decode(r, z, window.lengths, batch.longest); // (T*B,C): mean, logvar
        let recon = gaussian_nll::loss(r, p, window.x, window.seen); // (T*B)
        let kl = self.latent.kl(r, &q); // (Z)

        let dp = gaussian_nll::backward(r, p, window.x, window.seen, batch.weight);
        let dz = self.decode_backward(r, decoder, dp);
        let dlast = self.latent.backward_features(r, q, kl, dz, batch); // (B,H)
        r.scope("encoder");
        let dc = r.zeros("dc", dlast.shape());
        self.encoder.backward_parameters(r, encoder, None, Some([dlast, dc]));
        vec![recon, kl, reduce::rows(r, window.seen)]
    }
    // ANCHOR_END: step

    fn evaluate(&self, r: &mut Recorder, batch: &Batch, draw: &mut Draw) -> Losses {
        let window = batch.steps(r, STEPS);
        let (last, _) = self.read(r, window);
        let (z, q) = self.latent.sample(r, last, draw, Mode::Evaluate);
        let (p, _) = self.decode(r, z, window.lengths, batch.longest);
        let recon = gaussian_nll::loss(r, p, window.x, window.seen);
        vec![recon, self.latent.whole_kl(r, &q), reduce::rows(r, window.seen)]
    }

    fn views(&self) -> Vec<View> {
        let [channels, longest] = self.sizes;
        let (window, z) = (Kind::Steps { channels, longest }, Kind::Vector(self.config.recurrent.latent));
        let numbers = Kind::Vector(channels * longest);
        vec![
            View::new("encode").takes(STEPS, window).gives("mean", z).gives("logvar", z),
            View::new("decode").takes("z", z).gives("mean", numbers).gives("logvar", numbers),
            View::new("reconstruct").takes(STEPS, window).gives("mean", numbers).gives("logvar", numbers),
            View::new("likelihood").takes(STEPS, window).takes("z", z).gives("recon", Kind::Vector(1)),
        ]
    }

    /// `decode` gives mean and logvar of every number of the windows of z, `reconstruct` those of the mean of q(z|x).
    fn view(&self, r: &mut Recorder, name: &str, inputs: &[Tensor], _: &mut Draw) -> Vec<Tensor> {
        let encode = |r: &mut Recorder, rows: Tensor| {
            let window = Steps::given(r, rows, self.sizes);
            let (last, _) = self.read(r, window);
            self.latent.forward(r, last, Mode::Evaluate)
        };
        match (name, inputs) {
            ("encode", &[rows]) => {
                let q = encode(r, rows);
                vec![q.mean, q.logvar]
            }
            ("decode", &[z]) => self.drawn(r, z).into(),
            ("reconstruct", &[rows]) => {
                let q = encode(r, rows);
                self.drawn(r, q.mean).into()
            }
            ("likelihood", &[rows, z]) => {
                let window = Steps::given(r, rows, self.sizes);
                let (p, _) = self.decode(r, z, window.lengths, self.sizes[1]);
                let [b, _] = z.matrix();
                let recon = gaussian_nll::loss(r, p, window.x, window.seen);
                vec![recurrent::over_steps(r, recon.reshape(&[recon.len(), 1]), b)]
            }
            _ => panic!("series has no view {name} of {} inputs", inputs.len()),
        }
    }

    fn entry(&self) -> &'static Entry {
        &ENTRY
    }

    fn settings(&self) -> Table {
        complete(&self.config)
    }

    fn describe(&self) -> String {
        let [channels, longest] = self.sizes;
        let Recurrent { hidden, latent, .. } = self.config.recurrent;
        format!("windows of {longest}x{channels}, {hidden}-{latent}")
    }

    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        [
            self.encoder.initial(rng),
            self.latent.initial(rng),
            self.start.initial(rng),
            self.decoder.initial(rng),
            self.mean.initial(rng),
            self.logvar.initial(rng),
        ]
        .concat()
    }

    fn knobs(&self) -> Vec<Knob> {
        vec![self.config.divergence.knob()]
    }
}
