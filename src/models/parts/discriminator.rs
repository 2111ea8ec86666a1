//! A discriminator: whether a picture is real, as one logit, by way of features that a VAE can measure its pictures in
//! (Larsen, Sønderby, Larochelle & Winther 2016, arXiv 1512.09300).

use rand_chacha::ChaCha8Rng;

use super::network::{Network, Shape};
use super::networks::{LARGEST_SIZE, lone_batch_norm, require};
use crate::arena::Arena;
use crate::error::Result;
use crate::kernels::activation::Activation;
use crate::kernels::channels;
use crate::keys;
use crate::layers::Mode;
use crate::layers::linear::Linear;
use crate::layers::sequential::{self, Layer, Sequential};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// What the names of its two parts begin with.
const FEATURES: &str = "discriminator.features";
const HEAD: &str = "discriminator.head";

keys! {
    /// The discriminator.
    Discrimination {
        "Model" {
            discriminator_hidden: Vec<usize> = vec![400], "N",
                "Sizes of the discriminator's hidden layers, of which the last one's outputs are the features";
            discriminator: Option<Network> = None, "LAYERS",
                "The discriminator layer by layer up to the features, in place of discriminator_hidden";
            discriminator_head: Vec<usize> = Vec::new(), "N",
                "Sizes of hidden layers between the features and the logit; without any a linear layer is between them";
        }
    }
}

impl Discrimination {
    /// Each size within its range.
    pub fn check(&self) -> Result<()> {
        let size = 1..=LARGEST_SIZE;
        let rule = format!("must be 1 to {LARGEST_SIZE}");
        require(!self.discriminator_hidden.is_empty(), "discriminator_hidden", "empty", "must name at least one size")?;
        for (key, sizes) in
            [("discriminator_hidden", &self.discriminator_hidden), ("discriminator_head", &self.discriminator_head)]
        {
            sizes.iter().try_for_each(|&width| require(size.contains(&width), key, width, &rule))?;
        }
        Ok(())
    }

    /// That a listed network takes pictures of this shape. Errors: where it does not, layer by layer.
    pub fn fit(&self, picture: [usize; 3]) -> Result<()> {
        match &self.discriminator {
            Some(network) => network.sizes(FEATURES, Shape::Picture(picture)).map(|_| ()),
            None => Ok(()),
        }
    }

    /// That batches of so many pictures can be trained on: see [`Networks::check_batch`](super::networks::Networks).
    pub fn check_batch(&self, batch_size: usize, picture: [usize; 3]) -> Result<()> {
        lone_batch_norm(batch_size, &[(FEATURES, &self.discriminator, Shape::Picture(picture))])
    }
}

/// The discriminator. It takes rows, channels first; a listed network sees pictures (B,H,W,C).
pub struct Discriminator {
    /// (C,H,W) of what a listed network sees.
    picture: Option<[usize; 3]>,
    features: Sequential,
    head: Sequential,
}

/// What it makes of pictures, and what its backward passes need.
pub struct Judged {
    /// (B,F): Dis_l(x).
    pub features: Tensor,
    /// (B,1): log D(x) / (1 - D(x)).
    pub logit: Tensor,
    /// (C,H,W) where the features are a picture.
    shape: Option<[usize; 3]>,
    of_features: sequential::Saved,
    of_head: sequential::Saved,
}

impl Discriminator {
    /// Declares the parameters, under `discriminator.features` and `discriminator.head`, for pictures (C,H,W). Panics
    /// where [`Discrimination::fit`] gives an error.
    pub fn new(arena: &mut Arena, keys: &Discrimination, picture: [usize; 3], activation: Activation) -> Discriminator {
        let (features, left) = match &keys.discriminator {
            Some(network) => {
                let input = Shape::Picture(picture);
                let (left, _) = network.sizes(FEATURES, input).unwrap_or_else(|e| panic!("{e}"));
                (network.build(arena, FEATURES, input), left.len())
            }
            None => {
                let hidden = &keys.discriminator_hidden;
                let layers = layers(arena, FEATURES, picture.iter().product(), hidden, activation);
                (Sequential::new(layers), *hidden.last().expect("it has at least one hidden layer"))
            }
        };
        let mut head = layers(arena, HEAD, left, &keys.discriminator_head, activation);
        let (last, inputs) = (2 * head.len(), *keys.discriminator_head.last().unwrap_or(&left));
        head.push(Layer::Linear(Linear::new(arena, &format!("{HEAD}.{last}"), inputs, 1, Activation::Identity)));
        let picture = keys.discriminator.is_some().then_some(picture);
        Discriminator { picture, features, head: Sequential::new(head) }
    }

    /// The initial values of every parameter.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        [self.features.initial(rng), self.head.initial(rng)].concat()
    }

    /// Pictures x (B,D) to their features and logits.
    pub fn forward(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> Judged {
        r.scope("discriminator");
        let x = self.picture.map_or(x, |shape| channels::last(r, x, shape));
        let (features, of_features) = self.features.forward(r, x, mode);
        r.scope("discriminator");
        let (features, shape) = match *features.shape() {
            [_, h, w, c] => (channels::first(r, features), Some([c, h, w])),
            _ => (features, None),
        };
        let (logit, of_head) = self.head.forward(r, features, mode);
        Judged { features, logit, shape, of_features, of_head }
    }

    /// dx (B,D) from the gradient of the features (B,F), the discriminator held.
    pub fn backward_features(&self, r: &mut Recorder, judged: &Judged, dfeatures: Tensor) -> Tensor {
        r.scope("discriminator");
        let dfeatures = judged.shape.map_or(dfeatures, |shape| channels::last(r, dfeatures, shape));
        let dx = self.features.backward_input(r, &judged.of_features, dfeatures);
        r.scope("discriminator");
        if self.picture.is_some() { channels::first(r, dx) } else { dx }
    }

    /// dx (B,D) from the gradient of the logits (B,1), the discriminator held.
    pub fn backward_input(&self, r: &mut Recorder, judged: &Judged, dlogit: Tensor) -> Tensor {
        let dfeatures = self.head.backward_input(r, &judged.of_head, dlogit);
        self.backward_features(r, judged, dfeatures)
    }

    /// Its parameters' gradients, from that of the logits (B,1).
    pub fn backward_parameters(&self, r: &mut Recorder, judged: Judged, dlogit: Tensor) {
        let dfeatures = self.head.backward(r, judged.of_head, dlogit);
        r.scope("discriminator");
        let dfeatures = judged.shape.map_or(dfeatures, |shape| channels::last(r, dfeatures, shape));
        self.features.backward_parameters(r, judged.of_features, dfeatures);
    }
}

/// Fully connected layers of these sizes, a nonlinearity after each, called as an `nn.Sequential` calls them.
fn layers(arena: &mut Arena, prefix: &str, mut inputs: usize, sizes: &[usize], activation: Activation) -> Vec<Layer> {
    let layer = |(i, &width): (usize, &usize)| {
        let layer = Linear::new(arena, &format!("{prefix}.{}", 2 * i), inputs, width, activation);
        inputs = width;
        Layer::Linear(layer)
    };
    sizes.iter().enumerate().map(layer).collect()
}
