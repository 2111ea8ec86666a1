//! The prior of a Gaussian latent: N(0,1), or a mixture that is learned, the VampPrior of Tomczak & Welling (2018,
//! arXiv 1705.07120).
//!
//!   p(z) = 1/K sum_k q(z|u_k),   KL ~ log q(z|x) - log p(z),   z ~ q(z|x)
//!
//! u_k are pseudo-inputs: pictures that are parameters, kept within 0 and 1 by a sigmoid. The encoder sees them as a
//! second batch, and has a gradient from each of the two. B batch, K components, D pixels, Z latent dimensions.

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use super::divergence::{Form, scale};
use super::gaussian::{Gaussian, Posterior};
use super::networks::{LARGEST_SIZE, Networks, require};
use crate::arena::{Arena, Parameter};
use crate::data::table::Kind;
use crate::error::{Error, Result};
use crate::kernels::{matmul, mixture, pseudo_inputs, random, reparameterise};
use crate::keys;
use crate::layers::Mode;
use crate::models::batch::Batch;
use crate::models::{Term, View, vae};
use crate::program::Recorder;
use crate::tensor::Tensor;

keys! {
    /// The prior.
    PriorKeys {
        "Model" {
            prior: Prior = Prior::Normal, "NAME",
                "p(z): normal, N(0,1), or vamp, the mean of q(z|u) over pseudo-inputs u that are trained (Tomczak & \
                 Welling 2018)";
            components: usize = 500, "K", "Pseudo-inputs of prior vamp";
        }
    }
}

/// p(z).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prior {
    /// N(0,1)
    Normal,
    /// The mean of q(z|u_k).
    Vamp,
}

/// The terms of a VAE with a VampPrior.
pub const SAMPLED: &[Term] = &[vae::RECON, Term { about: "log q(z|x) - log p(z), p the mixture", ..vae::KL }];

impl PriorKeys {
    pub(super) fn check(&self) -> Result<()> {
        let rule = format!("must be 1 to {LARGEST_SIZE}");
        require((1..=LARGEST_SIZE).contains(&self.components), "components", self.components, &rule)
    }

    /// Declares the pseudo-inputs for examples of this kind, if the prior has any. Errors: no pictures; an encoder that
    /// would mix them with the batch's pictures.
    pub fn open(&self, arena: &mut Arena, networks: &Networks, x: Kind) -> Result<Option<Vamp>> {
        if self.prior == Prior::Normal {
            return Ok(None);
        }
        let usage = |problem: &str| Err(Error::Usage(format!("prior is vamp, {problem}")));
        if !matches!(x, Kind::Picture(_)) {
            return usage("but its pseudo-inputs are pictures, and this data set has none: take prior normal");
        }
        if networks.encoder.as_ref().is_some_and(|encoder| encoder.to_string().contains("batchnorm")) {
            return usage(
                "but the encoder has a batchnorm, whose statistics of pseudo-inputs are not those of pictures: take \
                 groupnorm",
            );
        }
        let inputs = arena.parameter("pseudo_inputs", &[self.components, x.width()]);
        Ok(Some(Vamp { inputs, x }))
    }
}

/// The pseudo-inputs.
pub struct Vamp {
    /// (K,D), before the sigmoid.
    inputs: Parameter,
    x: Kind,
}

/// log q(z|x) - log p(z) of a batch, and what its backward needs.
pub struct Sampled {
    /// (B)
    pub kl: Tensor,
    /// (B,K)
    shares: Tensor,
    components: Components,
}

/// q(z|u_k) of all k.
struct Components {
    /// (K,D)
    u: Tensor,
    /// (K,D): where the gradient of what u is made of is added up.
    dw: Tensor,
    /// (K,Z)
    q: Posterior,
}

/// The initial values of the pseudo-inputs before the sigmoid: standard deviation around [`START`].
const SPREAD: f32 = 0.01;
const START: f32 = -0.05;

impl Vamp {
    /// K
    pub fn components(&self) -> usize {
        self.inputs.value.matrix()[0]
    }

    /// The initial values, nearly one grey picture.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        let normal = random::host_normal(rng.random(), 0, self.inputs.value.len());
        vec![(self.inputs.value, normal.into_iter().map(|n| START + SPREAD * n).collect())]
    }

    /// (K,D): u, in 0 to 1.
    fn pictures(&self, r: &mut Recorder) -> Tensor {
        r.scope("prior");
        pseudo_inputs::forward(r, self.inputs.value)
    }

    /// The views of the prior: a sample of it, its log density, its pseudo-inputs.
    pub fn views(&self, z: Kind) -> Vec<View> {
        let component = Kind::Label(self.components());
        vec![
            View::new("prior").takes("noise", z).takes("component", component).gives("z", z),
            View::new("log_prior").takes("z", z).gives("log_p", Kind::Vector(1)),
            View::new("pseudo_inputs").takes("component", component).gives("x", self.x),
        ]
    }

    /// The pseudo-inputs (B,D) of components (B,K), one-hot.
    fn chosen(&self, r: &mut Recorder, component: Tensor) -> Tensor {
        let u = self.pictures(r);
        matmul::backward_x(r, component, u) // the product component u
    }
}

impl Gaussian {
    fn components(&self, r: &mut Recorder, vamp: &Vamp, mode: Mode) -> Components {
        let u = vamp.pictures(r);
        Components { u, dw: vamp.inputs.grad, q: self.forward(r, u, mode) }
    }

    /// log p(z), (B), and each component's share of it, (B,K), of z (B,Z).
    fn log_prior(&self, r: &mut Recorder, z: Tensor, components: &Components) -> [Tensor; 2] {
        r.scope("prior");
        let pairs = mixture::pairs(r, z, [components.q.mean, components.q.logvar]);
        mixture::density(r, pairs)
    }

    /// log q(z|x) - log p(z) of the samples of q.
    pub(super) fn sampled(&self, r: &mut Recorder, q: &Posterior, vamp: &Vamp, mode: Mode) -> Sampled {
        let components = self.components(r, vamp, mode);
        let [log_p, shares] = self.log_prior(r, q.z(), &components);
        let kl = mixture::kl(r, q.noise(), q.logvar, log_p);
        Sampled { kl, shares, components }
    }

    /// The parameters' gradients, from that and from dz (B,Z), the reconstruction's, to which that of p(z) is added:
    /// the encoder's from the pictures, the encoder's from the pseudo-inputs, and these'.
    pub(super) fn backward_sampled(&self, r: &mut Recorder, q: Posterior, sampled: Sampled, dz: Tensor, batch: &Batch) {
        let Sampled { shares, components: Components { u, dw, q: p }, .. } = sampled;
        r.scope("prior");
        let [of_q, of_p] = mixture::backward(r, [q.z(), shares, dz], [p.mean, p.logvar], batch.clock, scale(batch));
        r.scope("latent");
        reparameterise::backward(r, q.logvar, q.noise(), dz, of_q[0], of_q[1]);
        self.backward_network(r, q, of_q);
        let du = self.backward_to_input(r, p, of_p); // (K,D)
        r.scope("prior");
        pseudo_inputs::backward(r, u, du, dw);
    }

    /// The views of a prior that is learned.
    pub fn views_of_prior(&self, z: Kind) -> Vec<View> {
        match &self.form {
            Form::Sampled(vamp) => vamp.views(z),
            _ => Vec::new(),
        }
    }

    /// One of these, recorded; `None` where it is none.
    pub fn view_of_prior(&self, r: &mut Recorder, name: &str, inputs: &[Tensor]) -> Option<Tensor> {
        let Form::Sampled(vamp) = &self.form else { return None };
        match (name, inputs) {
            ("pseudo_inputs", &[component]) => Some(vamp.chosen(r, component)),
            ("prior", &[noise, component]) => {
                let u = vamp.chosen(r, component);
                let q = self.forward(r, u, Mode::Evaluate);
                Some(reparameterise::forward(r, q.mean, q.logvar, noise))
            }
            ("log_prior", &[z]) => {
                let components = self.components(r, vamp, Mode::Evaluate);
                let [log_p, _] = self.log_prior(r, z, &components);
                Some(log_p.reshape(&[log_p.len(), 1]))
            }
            _ => None,
        }
    }
}
