//! A trained VAE that nothing trains any more, between pictures and a model of its latents: M1 under M2 (Kingma et al.
//! 2014, arXiv 1406.5298).

use std::path::PathBuf;

use super::frozen::{self, Frozen};
use super::likelihood::Likelihood;
use super::mlp;
use super::networks::{LARGEST_SIZE, Networks, require};
use crate::arena::Arena;
use crate::error::{Error, Result};
use crate::kernels::activation::Activation;
use crate::kernels::reparameterise;
use crate::keys;
use crate::layers::Mode;
use crate::layers::linear::Linear;
use crate::layers::sequential::Sequential;
use crate::models::draw::Draw;
use crate::models::parts::read;
use crate::program::Recorder;
use crate::tensor::Tensor;

keys! {
    /// The trained VAE whose latents are the data.
    FeatureKeys {
        "Model" {
            features: Option<PathBuf> = None, "MODEL",
                "A run folder or model file of a VAE of hidden sizes: its latents are modelled in the pictures' place";
            feature_hidden: Vec<usize> = Vec::new(), "N",
                "That VAE's hidden sizes; without any the pictures themselves are modelled";
            feature_latent: usize = 50, "N", "Its number of latent dimensions";
            feature_activation: Activation = Activation::Softplus, "NAME", "Its nonlinearity";
            feature_noise: bool = false, "BOOL", "Train on samples of its latents; tests always take their means";
        }
    }
}

impl FeatureKeys {
    /// Each value alone within its range.
    pub fn check(&self) -> Result<()> {
        let size = 1..=LARGEST_SIZE;
        let rule = format!("must be 1 to {LARGEST_SIZE}");
        require(size.contains(&self.feature_latent), "feature_latent", self.feature_latent, &rule)?;
        for &width in &self.feature_hidden {
            require(size.contains(&width), "feature_hidden", width, &rule)?;
        }
        if self.features.is_some() && self.feature_hidden.is_empty() {
            return Err(Error::Usage("features is given, but no feature_hidden, its hidden sizes".into()));
        }
        Ok(())
    }
}

/// Encoder and decoder of the trained VAE.
pub struct Features {
    file: Option<PathBuf>,
    networks: Networks,
    noise: bool,
    vae: Layers,
    constants: Frozen,
}

/// Its layers, as [`Gaussian`](super::gaussian::Gaussian) and [`Decoder`](super::decoder::Decoder) have them.
struct Layers {
    encoder: Sequential,
    mean: Linear,
    logvar: Linear,
    decoder: Sequential,
}

impl Features {
    /// Declares the constants, for pictures of so many pixels. `None` where the settings ask for no features.
    pub fn new(arena: &mut Arena, keys: &FeatureKeys, pixels: usize) -> Option<Features> {
        let hidden = &keys.feature_hidden;
        let &last = hidden.last()?;
        let (latent, activation) = (keys.feature_latent, keys.feature_activation);
        let networks = Networks { hidden: hidden.clone(), latent, activation, ..Networks::default() };
        let (vae, constants) = Frozen::declare(arena, "features.", |arena| Layers {
            encoder: mlp::encoder(arena, &networks, pixels),
            mean: Linear::new(arena, "fc21", last, latent, Activation::Identity),
            logvar: Linear::new(arena, "fc22", last, latent, Activation::Identity),
            decoder: mlp::decoder(arena, &networks, latent, pixels),
        });
        Some(Features { file: keys.features.clone(), networks, noise: keys.feature_noise, vae, constants })
    }

    /// x (B,D) to the means of its latents, (B,F).
    pub fn means(&self, r: &mut Recorder, x: Tensor) -> Tensor {
        let (h, _) = self.vae.encoder.forward(r, x, Mode::Evaluate);
        self.vae.mean.forward(r, h).0
    }

    /// x (B,D) to its latents as they are trained on, (B,F): samples, or the means.
    pub fn sample(&self, r: &mut Recorder, x: Tensor, draw: &mut Draw) -> Tensor {
        if !self.noise {
            return self.means(r, x);
        }
        let (h, _) = self.vae.encoder.forward(r, x, Mode::Evaluate);
        let [mean, logvar] = [&self.vae.mean, &self.vae.logvar].map(|head| head.forward(r, h).0);
        let noise = draw.latent(r, mean.shape());
        reparameterise::forward(r, mean, logvar, noise)
    }

    /// Latents (B,F) to pictures (B,D).
    pub fn pictures(&self, r: &mut Recorder, latents: Tensor) -> Tensor {
        let (y, _) = self.vae.decoder.forward(r, latents, Mode::Evaluate);
        Likelihood::Bernoulli.generate(r, y)
    }

    /// The values of the constants, from the file of the settings. Errors: no file is named or there; it is not of a
    /// VAE with these sizes.
    pub fn values(&self) -> Result<Vec<(Tensor, Vec<f32>)>> {
        let (path, checkpoint, card) = frozen::open(["features", "VAE", "mnist-m1"], &self.file)?;
        let found: Networks = read(&card.settings)?;
        let sizes = |n: &Networks| (n.hidden.clone(), n.latent, n.activation, n.head, n.output, n.encoder.is_some());
        if sizes(&found) != sizes(&self.networks) {
            return Err(Error::Usage(format!(
                "features: {} is {}, not {}",
                path.display(),
                told(&found),
                told(&self.networks)
            )));
        }
        self.constants.values(&checkpoint, &path)
    }
}

/// What must be the same of two VAEs, in words.
fn told(networks: &Networks) -> String {
    match &networks.encoder {
        Some(_) => "a VAE of listed networks".into(),
        None => {
            let hidden: Vec<String> = networks.hidden.iter().map(usize::to_string).collect();
            let Networks { latent, activation, head, output, .. } = networks;
            format!(
                "a VAE of hidden sizes {}, {latent} latents, {activation:?}, {head:?} heads and {output:?} output",
                hidden.join(",")
            )
        }
    }
}
