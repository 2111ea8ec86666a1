//! A network from a picture to a row of numbers: the encoder of a model whose latent is not Gaussian. The model says
//! what the numbers are: logits of categorical variables, or vectors that codes stand for.

use rand_chacha::ChaCha8Rng;

use super::mlp;
use super::network::Shape;
use super::networks::{Head, Networks};
use crate::arena::Arena;
use crate::kernels::activation::Activation;
use crate::kernels::channels;
use crate::layers::Mode;
use crate::layers::linear::{self, Linear};
use crate::layers::sequential::{self, Sequential};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The encoder. It takes rows, channels first; listed networks see them as (B,H,W,C). Its numbers are those of one
/// linear layer after the network, or with head direct what the network leaves: of a picture channels last.
pub struct Encoder {
    /// (C,H,W) of the pictures that listed networks see.
    picture: Option<[usize; 3]>,
    network: Sequential,
    head: Option<Linear>,
}

/// What the encoder's backward needs.
pub struct Saved {
    network: sequential::Saved,
    /// Shape of what the network left, and what the head saved of it.
    left: Tensor,
    head: Option<linear::Saved>,
}

impl Encoder {
    /// Declares the parameters for `numbers` numbers an example: fc1 and fc2 as a VAE with one head has them,
    /// encoder.0 and so on, and fc2. Panics where [`Networks::fit_to`] gives an error.
    pub fn new(arena: &mut Arena, networks: &Networks, picture: [usize; 3], numbers: usize) -> Encoder {
        let input = Shape::Picture(picture);
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
        let is_direct = networks.head == Head::Direct;
        let head = (!is_direct).then(|| Linear::new(arena, "fc2", encoded, numbers, Activation::Identity));
        Encoder { picture: networks.encoder.as_ref().map(|_| picture), network, head }
    }

    /// The initial values of every parameter.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        let mut values = self.network.initial(rng);
        values.extend(self.head.iter().flat_map(|head| head.initial(rng)));
        values
    }

    /// x (B,D) to the numbers (B,N).
    pub fn forward(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> (Tensor, Saved) {
        r.scope("encoder");
        let x = self.picture.map_or(x, |shape| channels::last(r, x, shape));
        let (left, network) = self.network.forward(r, x, mode);
        let rows = left.shape()[0];
        match &self.head {
            None => (left.reshape(&[rows, left.len() / rows]), Saved { network, left, head: None }),
            Some(head) => {
                r.scope("encoder");
                let h = if left.shape().len() == 4 { channels::first(r, left) } else { left };
                let (y, saved) = head.forward(r, h);
                (y, Saved { network, left, head: Some(saved) })
            }
        }
    }

    /// The parameters' gradients, from that of the numbers, dy (B,N).
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dy: Tensor) {
        let Saved { network, left, head } = saved;
        r.scope("encoder");
        let dh = match (&self.head, head) {
            (Some(layer), Some(saved)) => layer.backward(r, saved, dy),
            _ => dy.reshape(left.shape()),
        };
        r.scope("encoder");
        let dh = match *left.shape() {
            [_, h, w, c] if self.head.is_some() => channels::last(r, dh, [c, h, w]),
            _ => dh,
        };
        self.network.backward_parameters(r, network, dh);
    }
}
