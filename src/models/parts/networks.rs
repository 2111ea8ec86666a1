//! The settings of a VAE's two networks and of its KL term: what the models of one Gaussian latent share.

use serde::{Deserialize, Serialize};
use toml::Table;

use super::likelihood::Likelihood;
use super::network::{Network, Shape};
use crate::error::{Error, Result};
use crate::kernels::activation::Activation;
use crate::keys;
use crate::models::Knob;
use crate::schedule::KnobSchedule;

/// How the encoder ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Two linear layers, one for the mean and one for the logvar, Z outputs each.
    Split,
    /// One linear layer of 2 Z outputs, Z means before Z logvars.
    Fused,
    /// Nothing more; the listed encoder itself leaves Z means, then Z logvars.
    Direct,
}

keys! {
    /// The two networks: what decides the parameters' names and shapes, and how the output is read.
    Networks {
        "Model" {
            hidden: Vec<usize> = vec![400], "N",
                "Sizes of the encoder's hidden layers, for instance 512,256; the decoder mirrors them";
            latent: usize = 20, "N", "Number of latent dimensions";
            head: Head = Head::Split, "NAME",
                "Mean and logvar from two layers (split), from one (fused), or the listed encoder's own output \
                 (direct)";
            activation: Activation = Activation::Relu, "NAME",
                "Nonlinearity after each hidden layer: identity, relu, leaky_relu, elu, sigmoid, tanh, softplus, silu \
                 or gelu";
            output: Likelihood = Likelihood::Bernoulli, "NAME",
                "Distribution of a pixel: bernoulli (a cross-entropy, and a likelihood only of binary pixels), \
                 gaussian, optimal_sigma, laplace, continuous_bernoulli or discretised_logistic";
            sigma: f64 = 1.0, "X",
                "Scale of the gaussian, laplace (its b) and discretised_logistic (its s) outputs in pixel values of 0 \
                 to 1; the others do not use it";
            encoder: Option<Network> = None, "LAYERS",
                "The encoder layer by layer, in place of --hidden, for instance `conv 32 k4 s2 p1, batchnorm, relu`: \
                 see Networks below";
            decoder: Option<Network> = None, "LAYERS",
                "The decoder layer by layer, from z as a picture of 1 x 1 to a picture of the data";
        }
    }
}

keys! {
    /// The KL term.
    Divergence {
        "Loss" {
            kl_weight: f64 = 1.0, "X",
                "Weight of the KL term against the reconstruction summed over pixels (beta; Higgins et al. 2017); 1 \
                 is the ELBO";
            kl_schedule: KnobSchedule = KnobSchedule::Constant, "FORM",
                "constant, linear:EPOCHS, cosine:EPOCHS, logistic:EPOCHS, cyclical:CYCLES:RAMP or \
                 exponential:RATE:FLOOR, times the KL weight";
            free_bits: f64 = 0.0, "NATS",
                "Nats of KL a latent dimension may have without cost (Kingma et al. 2016); the train kl, as \
                 optimised, counts it as at least that, the test kl as it is";
        }
    }
}

/// Larger layers, batches or grids are typing errors, not models.
pub const LARGEST_SIZE: usize = 1 << 20;

/// An [`Error::Usage`] that names the key, unless the rule holds.
pub fn require(holds: bool, key: &str, value: impl std::fmt::Display, rule: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Usage(format!("{key} is {value}, but {rule}"))) }
}

/// That no batch norm of these networks, by name and by what they take, sees one value a channel in a batch of that
/// size. Errors: the first that does.
pub fn lone_batch_norm(batch_size: usize, networks: &[(&str, &Option<Network>, Shape)]) -> Result<()> {
    if batch_size > 1 {
        return Ok(());
    }
    let lone =
        |(name, network, input): &(&str, &Option<Network>, Shape)| network.as_ref()?.lone_batch_norm(name, *input);
    match networks.iter().find_map(lone) {
        None => Ok(()),
        Some(layer) => Err(Error::Usage(format!(
            "--batch-size is 1, but {layer}, a batch norm, then sees one value a channel, and the variance of one value \
             is 0: take a larger --batch-size, or layernorm"
        ))),
    }
}

impl Divergence {
    /// The KL weight over the run.
    pub fn knob(&self) -> Knob {
        Knob { name: "kl_weight", value: self.kl_weight, schedule: self.kl_schedule }
    }

    /// Each value alone within its range.
    pub fn check(&self) -> Result<()> {
        for (key, value) in [("kl_weight", self.kl_weight), ("free_bits", self.free_bits)] {
            require(value >= 0.0 && value.is_finite(), key, value, "must be 0 or a positive number")?;
        }
        Ok(())
    }

    /// [`check`](Divergence::check) where free bits have no sense. `why` says so, after `must be 0`.
    pub fn check_without_free_bits(&self, why: &str) -> Result<()> {
        self.check()?;
        require(self.free_bits == 0.0, "free_bits", self.free_bits, &format!("must be 0 {why}"))
    }
}

impl Networks {
    /// Each value alone within its range.
    pub fn check(&self) -> Result<()> {
        let size = 1..=LARGEST_SIZE;
        let rule = format!("must be 1 to {LARGEST_SIZE}");
        require(size.contains(&self.latent), "latent", self.latent, &rule)?;
        require(!self.hidden.is_empty(), "hidden", "empty", "must name at least one layer's size")?;
        for &width in &self.hidden {
            require(size.contains(&width), "hidden", width, &rule)?;
        }
        require(self.sigma > 0.0 && self.sigma.is_finite(), "sigma", self.sigma, "must be a positive number")
    }

    /// Whoever puts hidden sizes over listed networks wants an MLP.
    pub fn overlay(table: &mut Table, over: &Table) {
        if !over.contains_key("hidden") || over.contains_key("encoder") || !table.contains_key("encoder") {
            return;
        }
        table.remove("encoder");
        table.remove("decoder");
        if table.get("head").and_then(|head| head.as_str()) == Some("direct") {
            table.remove("head");
        }
    }

    /// That the networks fit what the encoder takes, the latent size, and the picture (C,H,W) that the decoder is to
    /// leave for `latent` numbers. Errors: what does not, with the sizes layer by layer.
    pub fn fit(&self, input: Shape, latent: usize, picture: [usize; 3]) -> Result<()> {
        let head = (2 * self.latent, format!("2 x {} numbers, mean and logvar", self.latent));
        self.fit_to(input, head, Shape::Picture([latent, 1, 1]), picture)
    }

    /// [`fit`](Networks::fit) where an encoder whose head is direct must leave so many numbers, which are what the text
    /// says, and the decoder takes `latent`. Its errors are the same.
    pub fn fit_to(
        &self,
        input: Shape,
        (numbers, what): (usize, String),
        latent: Shape,
        picture: [usize; 3],
    ) -> Result<()> {
        let usage = |problem: String| Err(Error::Usage(problem));
        let (encoder, decoder) = match (&self.encoder, &self.decoder) {
            (Some(encoder), Some(decoder)) => (encoder, decoder),
            (None, None) if self.head == Head::Direct => {
                return usage("head is direct, but an encoder of hidden sizes has none: use split or fused".into());
            }
            (None, None) => return Ok(()),
            _ => return usage("encoder and decoder are listed together or not at all".into()),
        };
        if self.head == Head::Direct && !encoder.has_parameters() && !decoder.has_parameters() {
            return usage(
                "neither the encoder nor the decoder has a layer with parameters: there is nothing to train".into(),
            );
        }
        let (encoded, lines) = encoder.sizes("encoder", input)?;
        if self.head == Head::Direct && encoded.len() != numbers {
            return usage(format!(
                "with head direct the encoder must leave {what}, but it leaves {encoded}:\n{}",
                lines.join("\n")
            ));
        }
        let (decoded, lines) = decoder.sizes("decoder", latent)?;
        if decoded != Shape::Picture(picture) && decoded != Shape::Vector(picture.iter().product()) {
            return usage(format!(
                "the decoder must leave the picture's {}, but it leaves {decoded}:\n{}",
                Shape::Picture(picture),
                lines.join("\n")
            ));
        }
        Ok(())
    }

    /// That batches of so many pictures can be trained on. A batch norm that sees one value a channel leaves nothing of
    /// it but its bias, and its running variance, which evaluation divides by, falls to 0. Once an epoch, as a shorter
    /// last batch may be, that does no harm. Errors: such a layer, by name. Call [`fit`](Networks::fit) before.
    pub fn check_batch(&self, batch_size: usize, input: Shape, latent: usize) -> Result<()> {
        self.check_batch_of(batch_size, input, Shape::Picture([latent, 1, 1]))
    }

    /// [`check_batch`](Networks::check_batch) of a decoder that takes `latent`.
    pub fn check_batch_of(&self, batch_size: usize, input: Shape, latent: Shape) -> Result<()> {
        lone_batch_norm(batch_size, &[("encoder", &self.encoder, input), ("decoder", &self.decoder, latent)])
    }

    /// As in `784-400-20`, or `1x28x28-listed-32`.
    pub fn describe(&self, input: Shape) -> String {
        match self.encoder {
            None => {
                let sizes = [&[input.len()], &self.hidden[..], &[self.latent]].concat();
                sizes.iter().map(usize::to_string).collect::<Vec<_>>().join("-")
            }
            Some(_) => format!("{input}-listed-{}", self.latent),
        }
    }
}
