//! What else a VAE can make of its KL than a weighted term.
//!
//! A capacity (Burgess et al. 2018, arXiv 1804.03599): the batch's mean KL is held at C nats, which grow over the run.
//!
//!   gamma |KL - C(t)|,   KL = 1/B sum_b KL(q(z|x_b) || N(0,1))
//!
//! Three parts (Chen, Li, Grosse & Duvenaud 2018, arXiv 1802.04942): q(z) is the mixture of all q(z|x_n), and
//!
//!   E KL(q(z|x) || N(0,1)) = I(z;x) + KL(q(z) || prod_d q(z_d)) + sum_d KL(q(z_d) || N(0,1))
//!
//! mutual information, total correlation, and the KL of each dimension, of which the second is weighed. The densities
//! of q(z) are estimated from the batch, by one sample z_i of each q(z|x_i) and N, the examples of the data set:
//!
//!   log q(z_i) = log sum_j q(z_i|x_j) - log(N B)
//!
//! N shifts the values of the three parts, each by a constant, and neither their sum nor any gradient.
//! B batch, Z latent dimensions. docs/src/beta.md derives both.

use toml::{Table, Value};

use super::bound::Importance;
use super::count_examples;
use super::gaussian::{Gaussian, Posterior};
use super::networks::{Divergence, require};
use super::prior::{Prior, PriorKeys, SAMPLED, Vamp};
use crate::error::Result;
use crate::kernels::rows::Rows;
use crate::kernels::{capacity, reparameterise, total_correlation};
use crate::keys;
use crate::models::batch::Batch;
use crate::models::{Knob, Term, Weight, vae};
use crate::program::Recorder;
use crate::schedule::KnobSchedule;
use crate::tensor::Tensor;

keys! {
    /// What is made of the KL.
    Treatment {
        "Loss" {
            capacity: Option<f64> = None, "NATS",
                "Hold the KL at so many nats an example: the loss has kl_weight |KL - C| in the place of the weighted \
                 KL, KL the mean over the batch (Burgess et al. 2018); 0 weighs the KL itself";
            capacity_schedule: KnobSchedule = KnobSchedule::Constant, "FORM",
                "How C comes to capacity, in the forms of kl_schedule: linear:5, for instance";
            tc_weight: Option<f64> = None, "X",
                "Part the KL in mutual information, total correlation and the KL of each dimension, and multiply the \
                 total correlation by X (beta-TC; Chen et al. 2018), as kl_schedule says; 0 leaves the KL whole";
            examples: Option<usize> = None, "N",
                "N of the formula; the number of training examples where it is not given";
        }
    }
}

/// The KL beside a capacity.
pub const HELD_KL: Term =
    Term { name: "kl", weight: Weight::Replaced, about: "KL(q(z|x) || N(0,1)), in whose place the next one counts" };
const GAP: Term = Term {
    name: "capacity_gap",
    weight: Weight::Instead("kl_weight"),
    about: "|KL - C|, KL the mean over the batch and C its capacity",
};
/// The terms of a VAE with a capacity.
pub const HELD: &[Term] = &[vae::RECON, HELD_KL, GAP];

/// The terms of a VAE whose KL is parted.
pub const PARTED: &[Term] = &[
    vae::RECON,
    Term { name: "mutual_information", weight: Weight::One, about: "log q(z|x) - log q(z)" },
    Term { name: "total_correlation", weight: Weight::Knob("tc_weight"), about: "log q(z) - sum_d log q(z_d)" },
    Term { name: "dimension_kl", weight: Weight::One, about: "sum_d log q(z_d) - log p(z)" },
];

/// Pairs of a batch: 64 MiB of log densities, half of what every adapter binds.
const MOST_PAIRS: usize = 1 << 24;

/// What the KL of a Gaussian latent is taken for.
pub enum Form {
    /// Its closed form, kl_weight times it, or the bound of several samples.
    Whole,
    /// gamma |KL - C|
    Held,
    /// Three parts; N, where it is not the batch's own.
    Parted(Option<usize>),
    /// log q(z|x) - log p(z) of a sample, p a mixture.
    Sampled(Vamp),
}

impl Treatment {
    /// The terms of a VAE: those of its form of the KL.
    pub fn terms(settings: &Table) -> &'static [Term] {
        match settings.get("prior").and_then(Value::as_str) {
            _ if settings.contains_key("capacity") => HELD,
            _ if settings.contains_key("tc_weight") => PARTED,
            Some("vamp") => SAMPLED,
            _ => Importance::terms(settings),
        }
    }

    /// N, where the KL is parted and no other is given.
    pub fn fill_in(own: &mut Table, examples: usize) -> Result<()> {
        if own.contains_key("tc_weight") { count_examples(own, examples) } else { Ok(()) }
    }

    /// Each value within its range, and no two that exclude each other.
    pub fn check(&self, divergence: &Divergence, importance: &Importance, prior: &PriorKeys) -> Result<()> {
        prior.check()?;
        let is_vamp = prior.prior == Prior::Vamp;
        for (key, value) in [("capacity", self.capacity), ("tc_weight", self.tc_weight)] {
            let Some(value) = value else { continue };
            require(value > 0.0 && value.is_finite(), key, value, "must be a positive number, or 0 for off")?;
            require(!is_vamp, key, value, "prior is vamp, whose KL is a sampled one: take prior normal")?;
        }
        let scheduled = self.capacity_schedule;
        let needless = "no capacity is given that it could change";
        let is_needed = self.capacity.is_some() || scheduled == KnobSchedule::Constant;
        require(is_needed, "capacity_schedule", scheduled, needless)?;
        require(self.examples != Some(0), "examples", 0, "must be at least 1")?;
        if let (Some(weight), Some(_)) = (self.tc_weight, self.capacity) {
            return require(false, "tc_weight", weight, "capacity holds the whole KL: leave one of them out");
        }
        let others = [
            self.capacity.map(|capacity| format!("capacity {capacity}")),
            self.tc_weight.map(|weight| format!("tc_weight {weight}")),
            is_vamp.then(|| "prior vamp".to_string()),
        ];
        let Some(other) = others.into_iter().flatten().next() else { return Ok(()) };
        let Divergence { kl_weight, free_bits, .. } = divergence;
        let samples = importance.importance;
        require(samples == 1, "importance", samples, &format!("{other} is of one sample: leave it out"))?;
        require(*free_bits == 0.0, "free_bits", free_bits, &format!("{other} takes the KL as it is: leave it out"))?;
        let is_weighed = self.tc_weight.is_some() && *kl_weight != 1.0;
        require(!is_weighed, "kl_weight", kl_weight, &format!("with {other} only that part is weighed: leave it out"))
    }

    /// That the pairs of a batch fit, each example with each, or with each component. Errors: they do not, by the names
    /// of the options.
    pub fn check_batch(&self, prior: &PriorKeys, batch_size: usize) -> Result<()> {
        let others = match (self.tc_weight, prior.prior) {
            (Some(_), _) => batch_size,
            (None, Prior::Vamp) => prior.components,
            (None, Prior::Normal) => 0,
        };
        let with = if self.tc_weight.is_some() { "the others of its batch" } else { "all components" };
        let rule = format!("each example is held against {with}, and at most {MOST_PAIRS} pairs are");
        require(batch_size.saturating_mul(others) <= MOST_PAIRS, "batch_size", batch_size, &rule)
    }

    /// What of the KL changes over the run: its weight, and the capacity.
    pub fn knobs(&self, divergence: &Divergence) -> Vec<Knob> {
        let weight = divergence.knob();
        match (self.tc_weight, self.capacity) {
            (Some(value), _) => vec![Knob { name: "tc_weight", value, ..weight }],
            (_, Some(value)) => vec![weight, Knob { name: "capacity", value, schedule: self.capacity_schedule }],
            _ => vec![weight],
        }
    }

    /// The form that it asks for, with a prior that is learned or with none.
    pub fn form(&self, vamp: Option<Vamp>) -> Form {
        match (vamp, self.capacity, self.tc_weight) {
            (Some(vamp), ..) => Form::Sampled(vamp),
            (None, Some(_), _) => Form::Held,
            (None, None, Some(_)) => Form::Parted(self.examples),
            (None, None, None) => Form::Whole,
        }
    }
}

/// The one scale of a batch's rows. Panics where each has a weight of its own.
pub(super) fn scale(batch: &Batch) -> f32 {
    match batch.weight {
        Rows::Scale(scale) => scale,
        Rows::Weights(weights) => panic!("{weights:?}: this KL is of a batch whose rows all count the same"),
    }
}

impl Gaussian {
    /// (1): B |KL - C| of a KL in parts (Z), and what the KL of each row counts, (B).
    pub(super) fn held(&self, r: &mut Recorder, kl: Tensor, batch: &Batch, scale: f32) -> (Tensor, Tensor) {
        r.scope("loss");
        capacity::forward(r, kl, batch.rows, batch.clock, scale)
    }

    /// The three parts of the KL, (B) each.
    pub(super) fn parted(
        &self,
        r: &mut Recorder,
        q: &Posterior,
        examples: Option<usize>,
        batch: &Batch,
    ) -> total_correlation::Parts {
        r.scope("loss");
        total_correlation::terms(r, q.z(), [q.mean, q.logvar], examples.unwrap_or(batch.examples()))
    }

    /// The parameters' gradients, from those parts and from dz (B,Z), the reconstruction's, to which theirs is added.
    pub(super) fn backward_parted(
        &self,
        r: &mut Recorder,
        q: Posterior,
        parts: &total_correlation::Parts,
        dz: Tensor,
        batch: &Batch,
    ) {
        r.scope("latent");
        let of_q = [q.mean, q.logvar];
        let [dmean, dlogvar] = total_correlation::backward(r, parts, [q.z(), dz], of_q, batch.clock, scale(batch));
        reparameterise::backward(r, q.logvar, q.noise(), dz, dmean, dlogvar);
        self.backward_network(r, q, [dmean, dlogvar]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_excludes_each_other_is_refused() {
        let check = |text: &str| {
            let table: toml::Table = text.parse().unwrap();
            let read = |table: &toml::Table| -> (Treatment, Divergence, Importance, PriorKeys) {
                let of = || table.clone();
                (of().try_into().unwrap(), of().try_into().unwrap(), of().try_into().unwrap(), of().try_into().unwrap())
            };
            let (treatment, divergence, importance, prior) = read(&table);
            treatment.check(&divergence, &importance, &prior).map_err(|e| e.to_string())
        };
        for fine in ["", "capacity = 5.0\nkl_weight = 100.0\ncapacity_schedule = 'linear:3'", "tc_weight = 6.0"] {
            assert_eq!(check(fine), Ok(()), "{fine}");
        }
        assert_eq!(check("prior = 'vamp'\nkl_weight = 2.0\nkl_schedule = 'linear:3'"), Ok(()));
        for (text, words) in [
            ("capacity = -1.0", "capacity is -1, but must be a positive number"),
            ("capacity_schedule = 'linear:3'", "capacity_schedule is linear:3, but no capacity is given"),
            ("capacity = 1.0\ntc_weight = 2.0", "tc_weight is 2, but capacity holds the whole KL"),
            ("capacity = 1.0\nimportance = 5", "importance is 5, but capacity 1 is of one sample"),
            ("tc_weight = 2.0\nfree_bits = 0.1", "free_bits is 0.1, but tc_weight 2 takes the KL as it is"),
            ("tc_weight = 2.0\nkl_weight = 4.0", "kl_weight is 4, but with tc_weight 2 only that part is weighed"),
            ("prior = 'vamp'\ncapacity = 3.0", "capacity is 3, but prior is vamp"),
            ("prior = 'vamp'\nimportance = 2", "importance is 2, but prior vamp is of one sample"),
            ("prior = 'vamp'\ncomponents = 0", "components is 0, but must be"),
            ("examples = 0\ntc_weight = 2.0", "examples is 0, but must be at least 1"),
        ] {
            let message = check(text).unwrap_err();
            assert!(message.starts_with(words) && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn batches_of_too_many_pairs_are_refused() {
        let check = |treatment: &str, prior: &str, rows| {
            let (treatment, prior): (Treatment, PriorKeys) =
                (toml::from_str(treatment).unwrap(), toml::from_str(prior).unwrap());
            treatment.check_batch(&prior, rows).map_err(|e| e.to_string())
        };
        assert_eq!(check("", "", 1 << 20), Ok(()));
        assert_eq!(check("tc_weight = 2.0", "", 4096), Ok(()));
        assert!(check("tc_weight = 2.0", "", 4097).unwrap_err().contains("batch_size is 4097, but each example"));
        assert_eq!(check("", "prior = 'vamp'\ncomponents = 512", 1 << 15), Ok(()));
        assert!(check("", "prior = 'vamp'\ncomponents = 513", 1 << 15).unwrap_err().contains("all components"));
    }
}
