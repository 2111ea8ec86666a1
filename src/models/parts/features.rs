//! A trained VAE that nothing trains any more, between pictures and a model of its latents: M1 under M2 (Kingma et al.
//! 2014, arXiv 1406.5298).
//!
//! Its numbers are constants of the model, among its statistics: checkpoints keep them, and the file that they come
//! from is read once, when training starts.

use std::path::{Path, PathBuf};

use super::likelihood::Likelihood;
use super::mlp;
use super::networks::{LARGEST_SIZE, Networks, require};
use crate::arena::Arena;
use crate::error::{Error, Result};
use crate::inference::model_file;
use crate::kernels::activation::{self, Activation};
use crate::kernels::{matmul, reparameterise};
use crate::keys;
use crate::models::draw::Draw;
use crate::models::parts::read;
use crate::program::Recorder;
use crate::tensor::Tensor;
use crate::train::checkpoint::Checkpoint;

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

/// A linear layer that nothing trains.
struct Fixed {
    /// The names of its weight and bias in the file that they come from.
    name: String,
    /// (O,I)
    weight: Tensor,
    /// (O)
    bias: Tensor,
    activation: Activation,
}

impl Fixed {
    fn new(arena: &mut Arena, name: String, [inputs, outputs]: [usize; 2], activation: Activation) -> Fixed {
        let mut constant = |kind: &str, shape: &[usize]| arena.constant(format!("features.{name}.{kind}"), shape);
        let (weight, bias) = (constant("weight", &[outputs, inputs]), constant("bias", &[outputs]));
        Fixed { name, weight, bias, activation }
    }

    /// x (B,I) to (B,O).
    fn forward(&self, r: &mut Recorder, x: Tensor) -> Tensor {
        if self.activation.saves_output() {
            return matmul::forward(r, x, self.weight, self.bias, self.activation);
        }
        let h = matmul::forward(r, x, self.weight, self.bias, Activation::Identity);
        activation::forward(r, h, self.activation)
    }
}

/// Encoder and decoder of the trained VAE.
pub struct Features {
    file: Option<PathBuf>,
    networks: Networks,
    noise: bool,
    encoder: Vec<Fixed>,
    mean: Fixed,
    logvar: Fixed,
    decoder: Vec<Fixed>,
}

impl Features {
    /// Declares the constants, for pictures of so many pixels. `None` where the settings ask for no features.
    pub fn new(arena: &mut Arena, keys: &FeatureKeys, pixels: usize) -> Option<Features> {
        let hidden = &keys.feature_hidden;
        let &last = hidden.last()?;
        let (latent, activation) = (keys.feature_latent, keys.feature_activation);
        let mut inputs = pixels;
        let mut encoder = Vec::new();
        for (i, &width) in hidden.iter().enumerate() {
            encoder.push(Fixed::new(arena, mlp::name(hidden, "encoder", "fc1", i), [inputs, width], activation));
            inputs = width;
        }
        let mut head = |name: &str| Fixed::new(arena, name.into(), [last, latent], Activation::Identity);
        let (mean, logvar) = (head("fc21"), head("fc22"));
        let mut inputs = latent;
        let mut decoder = Vec::new();
        for (i, &width) in hidden.iter().rev().enumerate() {
            decoder.push(Fixed::new(arena, mlp::name(hidden, "decoder", "fc3", i), [inputs, width], activation));
            inputs = width;
        }
        let output = mlp::name(hidden, "decoder", "fc4", hidden.len());
        decoder.push(Fixed::new(arena, output, [inputs, pixels], Activation::Identity));
        let networks = Networks { hidden: hidden.clone(), latent, activation, ..Networks::default() };
        Some(Features {
            file: keys.features.clone(),
            networks,
            noise: keys.feature_noise,
            encoder,
            mean,
            logvar,
            decoder,
        })
    }

    /// x (B,D) to the means of its latents, (B,F).
    pub fn means(&self, r: &mut Recorder, x: Tensor) -> Tensor {
        r.scope("features");
        let h = self.encoder.iter().fold(x, |h, layer| layer.forward(r, h));
        self.mean.forward(r, h)
    }

    /// x (B,D) to its latents as they are trained on, (B,F): samples, or the means.
    pub fn sample(&self, r: &mut Recorder, x: Tensor, draw: &mut Draw) -> Tensor {
        if !self.noise {
            return self.means(r, x);
        }
        r.scope("features");
        let h = self.encoder.iter().fold(x, |h, layer| layer.forward(r, h));
        let (mean, logvar) = (self.mean.forward(r, h), self.logvar.forward(r, h));
        let noise = draw.latent(r, mean.shape());
        reparameterise::forward(r, mean, logvar, noise)
    }

    /// Latents (B,F) to pictures (B,D).
    pub fn pictures(&self, r: &mut Recorder, latents: Tensor) -> Tensor {
        r.scope("features");
        let y = self.decoder.iter().fold(latents, |h, layer| layer.forward(r, h));
        Likelihood::Bernoulli.generate(r, y)
    }

    /// The values of the constants, from the file of the settings. Errors: no file is named or there; it is not of a
    /// VAE with these sizes.
    pub fn values(&self) -> Result<Vec<(Tensor, Vec<f32>)>> {
        let Some(file) = &self.file else {
            return Err(Error::Usage(
                "the model needs features, a trained VAE: `elbo train mnist-m1` makes one, --set features=RUN names it"
                    .into(),
            ));
        };
        if !file.exists() {
            return Err(Error::Usage(format!(
                "features: there is no {}; `elbo train mnist-m1` makes a VAE, --set features=RUN names its run folder",
                file.display()
            )));
        }
        let path = model_file(file, false)?;
        let checkpoint = Checkpoint::read(&path)?;
        let card = checkpoint.card(&path)?;
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
        let layers = self.encoder.iter().chain([&self.mean, &self.logvar]).chain(&self.decoder);
        layers.map(|layer| layer.values(&checkpoint, &path)).collect::<Result<Vec<_>>>().map(|both| both.concat())
    }
}

impl Fixed {
    fn values(&self, checkpoint: &Checkpoint, path: &Path) -> Result<Vec<(Tensor, Vec<f32>)>> {
        let value = |kind: &str, tensor: Tensor| {
            let values = checkpoint.tensor(&format!("{}.{kind}", self.name), tensor.shape(), path)?;
            Ok((tensor, values.to_vec()))
        };
        Ok(vec![value("weight", self.weight)?, value("bias", self.bias)?])
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
