//! A level l of a ladder of latent variables: its networks, q(z_l|x,z_l+1) as the product of what x says of z_l with the
//! prior p(z_l|z_l+1), and the KL of the one to the other. Z_l numbers of level l.

use super::pair::{Pair, PairSaved};
use crate::kernels::{gaussian_kl, gaussian_pair_kl, gaussian_product, joint, reparameterise};
use crate::layers::linear::Linear;
use crate::models::batch::Batch;
use crate::models::draw::Draw;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// A level l.
pub struct Level {
    /// Z_l
    pub latent: usize,
    /// d_l-1 to d_l.
    pub encoder: Linear,
    /// d_l to mean and logvar of s_l, (B,2 Z_l).
    pub seen: Linear,
    /// z_l+1 to mean and logvar of p(z_l|z_l+1), (B,2 Z_l); none at the top.
    pub prior: Option<Pair>,
}

/// q(z_l|x,z_l+1) of a batch, its z, and what the backward needs. Each pair is mean and logvar, (B,Z_l).
pub struct Sampled {
    q: [Tensor; 2],
    seen: [Tensor; 2],
    prior: Option<Prior>,
    noise: Tensor,
    /// (B,Z_l)
    pub z: Tensor,
}

/// p(z_l|z_l+1) of a batch, mean and logvar, and what its backward needs.
pub type Prior = ([Tensor; 2], PairSaved);

impl Level {
    /// p(z_l|z_l+1), mean and logvar, from the z above. Panics at the top.
    pub fn prior(&self, r: &mut Recorder, above: Tensor) -> Prior {
        r.scope("prior");
        let network = self.prior.as_ref().expect("a level below the top has a prior of its own");
        let (h, saved) = network.forward(r, above);
        (joint::split(r, h, self.latent).into(), saved)
    }

    // ANCHOR: level
    /// q(z_l|x,z_l+1) and p(z_l|z_l+1), from what x says of z_l and from the z above. At the top there is none, and q is
    /// what x says.
    pub fn posterior(
        &self,
        r: &mut Recorder,
        seen: [Tensor; 2],
        above: Option<Tensor>,
    ) -> ([Tensor; 2], Option<Prior>) {
        let Some(above) = above else { return (seen, None) };
        let (p, saved) = self.prior(r, above);
        r.scope("latent");
        (gaussian_product::forward(r, seen, p), Some((p, saved))) // precisions add
    }

    /// z_l ~ q(z_l|x,z_l+1).
    pub fn sample(&self, r: &mut Recorder, seen: [Tensor; 2], above: Option<Tensor>, draw: &mut Draw) -> Sampled {
        let (q, prior) = self.posterior(r, seen, above);
        r.scope("latent");
        let noise = draw.latent(r, q[0].shape());
        let z = reparameterise::forward(r, q[0], q[1], noise);
        Sampled { q, seen, prior, noise, z }
    }

    /// (B): KL(q(z_l|x,z_l+1) || p(z_l|z_l+1)), at the top KL(q(z_L|x) || N(0,1)).
    pub fn kl(&self, r: &mut Recorder, s: &Sampled) -> Tensor {
        r.scope("loss");
        match &s.prior {
            None => gaussian_kl::rows(r, s.q[0], s.q[1]),
            Some((p, _)) => gaussian_pair_kl::rows(r, s.q, *p),
        }
    }

    /// The gradients of s_l, dmean and dlogvar, and of the z above, from the KL and from dz.
    pub fn backward(&self, r: &mut Recorder, s: Sampled, dz: Tensor, batch: &Batch) -> ([Tensor; 2], Option<Tensor>) {
        r.scope("latent");
        let [dmean, dlogvar] = match &s.prior {
            None => gaussian_kl::backward_rows(r, s.q, batch.clock, batch.weight).into(),
            Some((p, _)) => gaussian_pair_kl::backward_q(r, s.q, *p, batch.clock, batch.weight),
        };
        reparameterise::backward(r, s.q[1], s.noise, dz, dmean, dlogvar); // added: q feeds the KL and z
        let (Some(network), Some((p, saved))) = (&self.prior, s.prior) else { return ([dmean, dlogvar], None) };
        let [dseen, through_q] = gaussian_product::backward(r, s.seen, p, [dmean, dlogvar]);
        let of_kl = gaussian_pair_kl::backward_p(r, s.q, p, batch.clock, batch.weight);
        let [dmean_p, dlogvar_p] = [0, 1].map(|i| joint::add(r, through_q[i], of_kl[i], 1.0)); // p feeds the KL and q
        let dh = joint::concat(r, dmean_p, dlogvar_p);
        (dseen, Some(network.backward(r, saved, dh)))
    }
    // ANCHOR_END: level
}
