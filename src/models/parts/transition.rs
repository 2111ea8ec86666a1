//! p(z_t|z_t-1) of a deep Markov model, the gated transition of Krishnan, Shalit & Sontag 2017 (arXiv 1609.09869,
//! section 4.1): a gate chooses, number by number, between a linear move and one that a network proposes.
//!
//! ```text
//! g = sigmoid(gate(z)),  m = proposed(z),  l = W z + b
//! mean = (1 - g) l + g m,  logvar = V act(m) + c
//! ```
//!
//! The paper has softplus for the variance; the logvar is what all other Gaussians here have. R rows, Z latent
//! dimensions. W begins as the identity, so that a state stays what it is until something is learned.

use rand_chacha::ChaCha8Rng;

use super::pair::{Pair, PairSaved};
use crate::arena::Arena;
use crate::kernels::activation::{self, Activation};
use crate::kernels::joint;
use crate::layers::linear::{self, Linear};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The networks of a transition.
pub struct Transition {
    activation: Activation,
    gate: Pair,
    proposed: Pair,
    linear: Linear,
    logvar: Linear,
}

/// What the way back needs.
pub struct Saved {
    gate: PairSaved,
    proposed: PairSaved,
    linear: linear::Saved,
    logvar: linear::Saved,
    /// (R,Z): g, m - l, act(m), and m.
    gated: [Tensor; 4],
}

impl Transition {
    /// Declares the parameters under `name.`, with hidden layers of so many numbers.
    pub fn new(arena: &mut Arena, name: &str, latent: usize, hidden: usize, activation: Activation) -> Transition {
        let sizes = [latent, hidden, latent];
        let linear = |arena: &mut Arena, part: &str| {
            Linear::new(arena, &format!("{name}.{part}"), latent, latent, Activation::Identity)
        };
        Transition {
            activation,
            gate: Pair::new(arena, &format!("{name}.gate"), sizes, activation),
            proposed: Pair::new(arena, &format!("{name}.proposed"), sizes, activation),
            linear: linear(arena, "linear"),
            logvar: linear(arena, "logvar"),
        }
    }

    /// PyTorch's defaults, but the identity for W and zeros for b.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        let [w, b] = self.linear.values();
        let [latent, _] = w.matrix();
        let identity = (0..latent * latent).map(|i| f32::from(i % (latent + 1) == 0)).collect();
        let mut values = [self.gate.initial(rng), self.proposed.initial(rng), self.logvar.initial(rng)].concat();
        values.extend([(w, identity), (b, vec![0.0; latent])]);
        values
    }

    // ANCHOR: transition
    /// z_t-1 (R,Z) to mean and logvar (R,Z) of z_t.
    pub fn forward(&self, r: &mut Recorder, z: Tensor) -> ([Tensor; 2], Saved) {
        r.scope("transition");
        let (gate_logits, gate) = self.gate.forward(r, z);
        let g = activation::forward(r, gate_logits, Activation::Sigmoid);
        let (m, proposed) = self.proposed.forward(r, z);
        let (l, linear) = self.linear.forward(r, z);
        r.scope("transition");
        let change = joint::add(r, m, l, -1.0);
        let gated = joint::multiply(r, g, change);
        let mean = joint::add(r, l, gated, 1.0); // l + g (m - l)
        let bent = activation::forward(r, m, self.activation);
        let (logvar, saved) = self.logvar.forward(r, bent);
        ([mean, logvar], Saved { gate, proposed, linear, logvar: saved, gated: [g, change, bent, m] })
    }

    /// dz (R,Z), from the gradients of mean and logvar. Adds to the parameters' gradients.
    pub fn backward(&self, r: &mut Recorder, saved: Saved, [dmean, dlogvar]: [Tensor; 2]) -> Tensor {
        let [g, change, bent, m] = saved.gated;
        let dbent = self.logvar.backward(r, saved.logvar, dlogvar);
        r.scope("transition");
        let kept = if self.activation.saves_output() { bent } else { m };
        let dm = activation::backward(r, kept, dbent, self.activation);
        let (dg, dchange) = joint::backward_multiply(r, g, change, dmean);
        let dm = joint::add(r, dm, dchange, 1.0);
        let dl = joint::add(r, dmean, dchange, -1.0);
        let dz = self.linear.backward(r, saved.linear, dl);
        let through_proposed = self.proposed.backward(r, saved.proposed, dm);
        let dgate = activation::backward(r, g, dg, Activation::Sigmoid);
        let through_gate = self.gate.backward(r, saved.gate, dgate);
        r.scope("transition");
        let dz = joint::add(r, dz, through_proposed, 1.0);
        joint::add(r, dz, through_gate, 1.0)
    }
    // ANCHOR_END: transition
}
