//! q(z|x), a Gaussian of diagonal covariance whose mean and logvar a network gives; its sample by reparameterisation
//! and its KL to N(0,1). Kingma & Welling 2013 (arXiv 1312.6114), section 2.4 and appendix B. [`bound`](super::bound)
//! makes a loss of them.
//!
//!   z = mean + e^(logvar/2) noise,   KL = sum_j (mean_j^2 + e^logvar_j - 1 - logvar_j) / 2

use rand_chacha::ChaCha8Rng;

use super::bound::{Estimator, Importance};
use super::divergence::Form;
use super::mlp;
use super::network::Shape;
use super::networks::{Head, Networks};
use crate::arena::Arena;
use crate::kernels::activation::Activation;
use crate::kernels::rows::Rows;
use crate::kernels::{channels, gaussian_kl, importance, joint, reparameterise};
use crate::layers::Mode;
use crate::layers::linear::{self, Linear};
use crate::layers::sequential::{self, Sequential};
use crate::models::batch::Batch;
use crate::models::draw::Draw;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The encoder. It takes rows, channels first; listed networks see them as (B,H,W,C).
pub struct Gaussian {
    /// (C,H,W) of the pictures that listed networks see.
    picture: Option<[usize; 3]>,
    latent: usize,
    free_bits: f32,
    /// K, samples of z that are drawn of a picture's q.
    pub(super) samples: usize,
    pub(super) estimator: Estimator,
    /// What its KL is taken for.
    pub(super) form: Form,
    network: Sequential,
    heads: Heads,
}

#[expect(clippy::large_enum_variant, reason = "a model has one")]
enum Heads {
    /// fc21 and fc22 of pytorch/examples.
    Split {
        mean: Linear,
        logvar: Linear,
    },
    /// One layer whose first Z outputs are the mean, the others the logvar.
    Fused(Linear),
    Direct,
}

/// q(z|x) of a batch, and what its backward needs.
pub struct Posterior {
    /// (B,Z)
    pub mean: Tensor,
    /// (B,Z)
    pub logvar: Tensor,
    /// (B*K,Z), of the samples that were drawn: their noise, and they themselves.
    drawn: Option<[Tensor; 2]>,
    saved: Saved,
}

impl Posterior {
    /// (B*K,Z). Panics where no sample was drawn.
    pub fn noise(&self) -> Tensor {
        self.drawn.expect("a sample of q was drawn")[0]
    }

    /// (B*K,Z). Panics where no sample was drawn.
    pub fn z(&self) -> Tensor {
        self.drawn.expect("a sample of q was drawn")[1]
    }
}

struct Saved {
    network: sequential::Saved,
    /// (C,H,W) where the network leaves a picture.
    picture: Option<[usize; 3]>,
    heads: HeadsSaved,
}

enum HeadsSaved {
    Split { mean: linear::Saved, logvar: linear::Saved },
    Fused(linear::Saved),
    Direct,
}

impl Gaussian {
    /// Declares the parameters, under the names of pytorch/examples' VAE where the model has its shape: fc1, fc21,
    /// fc22, or fc2 for a fused head. A listed network is called encoder. Panics where [`Networks::fit`] gives an
    /// error.
    pub fn new(arena: &mut Arena, networks: &Networks, input: Shape, free_bits: f64) -> Gaussian {
        let latent = networks.latent;
        let (network, encoded) = match &networks.encoder {
            Some(network) => {
                let (encoded, _) = network.sizes("encoder", input).unwrap_or_else(|e| panic!("{e}"));
                (network.build(arena, "encoder", input), encoded.len())
            }
            None => {
                let last = *networks.hidden.last().expect("an MLP has at least one hidden layer");
                (mlp::encoder(arena, networks, input.len()), last)
            }
        };
        let mut linear = |name, outputs| Linear::new(arena, name, encoded, outputs, Activation::Identity);
        let heads = match networks.head {
            Head::Split => Heads::Split { mean: linear("fc21", latent), logvar: linear("fc22", latent) },
            Head::Fused => Heads::Fused(linear("fc2", 2 * latent)),
            Head::Direct => Heads::Direct,
        };
        let picture = match (&networks.encoder, input) {
            (Some(_), Shape::Picture(shape)) => Some(shape),
            _ => None,
        };
        let (samples, estimator, form) = (1, Estimator::Iwae, Form::Whole);
        Gaussian { picture, latent, free_bits: free_bits as f32, samples, estimator, form, network, heads }
    }

    /// Of what another network found, (B, inputs): the layers fc21 and fc22 alone.
    pub fn of_features(arena: &mut Arena, inputs: usize, latent: usize, free_bits: f64) -> Gaussian {
        let mut linear = |name| Linear::new(arena, name, inputs, latent, Activation::Identity);
        let heads = Heads::Split { mean: linear("fc21"), logvar: linear("fc22") };
        let (samples, estimator, form, free_bits) = (1, Estimator::Iwae, Form::Whole, free_bits as f32);
        let network = Sequential::new(Vec::new());
        Gaussian { picture: None, latent, free_bits, samples, estimator, form, network, heads }
    }

    /// The same that draws as many samples of a picture as the settings say.
    pub fn weighing(self, importance: &Importance) -> Gaussian {
        Gaussian { samples: importance.importance, estimator: importance.estimator, ..self }
    }

    /// The same whose KL is taken for something else.
    pub fn taking(self, form: Form) -> Gaussian {
        Gaussian { form, ..self }
    }

    /// The initial values of every parameter.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        let mut values = self.network.initial(rng);
        match &self.heads {
            Heads::Split { mean, logvar } => {
                values.extend(mean.initial(rng));
                values.extend(logvar.initial(rng));
            }
            Heads::Fused(both) => values.extend(both.initial(rng)),
            Heads::Direct => {}
        }
        if let Form::Sampled(vamp) = &self.form {
            values.extend(vamp.initial(rng));
        }
        values
    }

    /// x (B, inputs) to q(z|x).
    pub fn forward(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> Posterior {
        r.scope("encoder");
        let x = self.picture.map_or(x, |shape| channels::last(r, x, shape));
        let (h, network) = self.network.forward(r, x, mode);
        r.scope("encoder");
        let (h, picture) = match *h.shape() {
            [_, height, width, c] => (channels::first(r, h), Some([c, height, width])),
            _ => (h, None),
        };
        let (mean, logvar, heads) = match &self.heads {
            Heads::Split { mean, logvar } => {
                let (m, mean) = mean.forward(r, h);
                let (v, logvar) = logvar.forward(r, h);
                (m, v, HeadsSaved::Split { mean, logvar })
            }
            Heads::Fused(both) => {
                let (y, saved) = both.forward(r, h);
                let (mean, logvar) = joint::split(r, y, self.latent);
                (mean, logvar, HeadsSaved::Fused(saved))
            }
            Heads::Direct => {
                let (mean, logvar) = joint::split(r, h, self.latent);
                (mean, logvar, HeadsSaved::Direct)
            }
        };
        Posterior { mean, logvar, drawn: None, saved: Saved { network, picture, heads } }
    }

    /// x (B, inputs) to z ~ q(z|x), (B*K,Z), the K of a picture one after another, and to q.
    pub fn sample(&self, r: &mut Recorder, x: Tensor, draw: &mut Draw, mode: Mode) -> (Tensor, Posterior) {
        let q = self.forward(r, x, mode);
        let [b, latent] = q.mean.matrix();
        r.scope("latent");
        let noise = draw.latent(r, &[b * self.samples, latent]);
        let z = match self.samples {
            1 => reparameterise::forward(r, q.mean, q.logvar, noise),
            _ => importance::sample(r, q.mean, q.logvar, noise),
        };
        (z, Posterior { drawn: Some([noise, z]), ..q })
    }

    /// (Z): KL(q(z|x) || N(0,1)) of each dimension in nats, summed over the batch, as it is optimised: with free bits.
    pub fn kl(&self, r: &mut Recorder, q: &Posterior) -> Tensor {
        r.scope("loss");
        gaussian_kl::loss(r, q.mean, q.logvar, self.free_bits)
    }

    /// The same as it is.
    pub fn whole_kl(&self, r: &mut Recorder, q: &Posterior) -> Tensor {
        r.scope("loss");
        gaussian_kl::loss(r, q.mean, q.logvar, 0.0)
    }

    /// The parameters' gradients, from the KL, whose weight is the clock's first knob, and from dz (B,Z). Panics on a q
    /// of which no sample was drawn.
    pub fn backward(&self, r: &mut Recorder, q: Posterior, kl: Tensor, dz: Tensor, batch: &Batch) {
        let of_q = self.backward_sample(r, &q, kl, dz, batch);
        self.backward_network(r, q, of_q);
    }

    /// The same, and the gradient of what was encoded, (B, inputs).
    pub fn backward_features(&self, r: &mut Recorder, q: Posterior, kl: Tensor, dz: Tensor, batch: &Batch) -> Tensor {
        let of_q = self.backward_sample(r, &q, kl, dz, batch);
        self.backward_to_input(r, q, of_q)
    }

    /// The gradients of mean and logvar, (B,Z) each.
    fn backward_sample(&self, r: &mut Recorder, q: &Posterior, kl: Tensor, dz: Tensor, batch: &Batch) -> [Tensor; 2] {
        let (mean, logvar) = (q.mean, q.logvar);
        r.scope("latent");
        let (dmean, dlogvar) = match batch.weight {
            Rows::Scale(scale) => gaussian_kl::backward(r, [mean, logvar, kl], batch.clock, scale, self.free_bits),
            weights => gaussian_kl::backward_rows(r, [mean, logvar], batch.clock, weights),
        };
        reparameterise::backward(r, logvar, q.noise(), dz, dmean, dlogvar);
        [dmean, dlogvar]
    }

    /// The parameters' gradients, from those of mean and logvar, (B,Z) each.
    pub(super) fn backward_network(&self, r: &mut Recorder, q: Posterior, of_q: [Tensor; 2]) {
        let (network, dh) = self.backward_heads(r, q.saved, of_q);
        self.network.backward_parameters(r, network, dh);
    }

    /// The same, and the gradient of what was encoded, (B, inputs).
    pub(super) fn backward_to_input(&self, r: &mut Recorder, q: Posterior, of_q: [Tensor; 2]) -> Tensor {
        let (network, dh) = self.backward_heads(r, q.saved, of_q);
        let dx = self.network.backward(r, network, dh);
        self.picture.map_or(dx, |_| channels::first(r, dx))
    }

    /// From the gradients of mean and logvar to that of what the network left, and what this saved.
    fn backward_heads(
        &self,
        r: &mut Recorder,
        saved: Saved,
        [dmean, dlogvar]: [Tensor; 2],
    ) -> (sequential::Saved, Tensor) {
        r.scope("encoder");
        let dh = match (&self.heads, saved.heads) {
            (Heads::Split { mean, logvar }, HeadsSaved::Split { mean: m, logvar: v }) => {
                let dh = mean.backward(r, m, dmean);
                logvar.backward_into(r, v, dlogvar, dh);
                dh
            }
            (Heads::Fused(both), HeadsSaved::Fused(s)) => {
                let dy = joint::concat(r, dmean, dlogvar);
                both.backward(r, s, dy)
            }
            (Heads::Direct, HeadsSaved::Direct) => joint::concat(r, dmean, dlogvar),
            _ => unreachable!("a model's saved heads are its own"),
        };
        (saved.network, saved.picture.map_or(dh, |shape| channels::last(r, dh, shape)))
    }
}
