//! A network from a picture to a row of numbers: the encoder of a model whose latent is not Gaussian, or a classifier.
//! The model says what the numbers are: logits of categorical variables or of classes, or vectors that codes stand for.

use rand_chacha::ChaCha8Rng;

use super::mlp;
use super::network::{Network, Shape};
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
    name: String,
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
        let head = (networks.head != Head::Direct).then_some(("fc2", numbers));
        match &networks.encoder {
            Some(network) => Encoder::listed(arena, "encoder", network, picture, head),
            None => {
                let last = *networks.hidden.last().expect("an MLP has at least one hidden layer");
                let network = mlp::encoder(arena, networks, picture.iter().product());
                let head = head.map(|head| declare(arena, last, head));
                Encoder { name: "encoder".into(), picture: None, network, head }
            }
        }
    }

    /// Declares the parameters of a listed network, `name.0` and so on, and of a linear layer after it: its name, and
    /// how many numbers it leaves. Panics where [`Network::sizes`] gives an error.
    pub fn listed(
        arena: &mut Arena,
        name: &str,
        network: &Network,
        picture: [usize; 3],
        head: Option<(&str, usize)>,
    ) -> Encoder {
        let input = Shape::Picture(picture);
        let (encoded, _) = network.sizes(name, input).unwrap_or_else(|e| panic!("{e}"));
        let network = network.build(arena, name, input);
        let head = head.map(|head| declare(arena, encoded.len(), head));
        Encoder { name: name.into(), picture: Some(picture), network, head }
    }

    /// The initial values of every parameter.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        let mut values = self.network.initial(rng);
        values.extend(self.head.iter().flat_map(|head| head.initial(rng)));
        values
    }

    /// x (B,D) to what the network leaves of it.
    fn left(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> (Tensor, sequential::Saved) {
        r.scope(&self.name);
        let x = self.picture.map_or(x, |shape| channels::last(r, x, shape));
        self.network.forward(r, x, mode)
    }

    /// What the network leaves as rows, channels first.
    fn rows(&self, r: &mut Recorder, left: Tensor) -> Tensor {
        r.scope(&self.name);
        if left.shape().len() == 4 { channels::first(r, left) } else { left }
    }

    /// x (B,D) to what the linear layer takes of it, (B,F).
    pub fn features(&self, r: &mut Recorder, x: Tensor) -> Tensor {
        let (left, _) = self.left(r, x, Mode::Evaluate);
        self.rows(r, left)
    }

    /// x (B,D) to the numbers (B,N).
    pub fn forward(&self, r: &mut Recorder, x: Tensor, mode: Mode) -> (Tensor, Saved) {
        let (left, network) = self.left(r, x, mode);
        let rows = left.shape()[0];
        match &self.head {
            None => (left.reshape(&[rows, left.len() / rows]), Saved { network, left, head: None }),
            Some(head) => {
                let h = self.rows(r, left);
                let (y, saved) = head.forward(r, h);
                (y, Saved { network, left, head: Some(saved) })
            }
        }
    }

    /// The parameters' gradients, from that of the numbers, dy (B,N).
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dy: Tensor) {
        let Saved { network, left, head } = saved;
        r.scope(&self.name);
        let dh = match (&self.head, head) {
            (Some(layer), Some(saved)) => layer.backward(r, saved, dy),
            _ => dy.reshape(left.shape()),
        };
        r.scope(&self.name);
        let dh = match *left.shape() {
            [_, h, w, c] if self.head.is_some() => channels::last(r, dh, [c, h, w]),
            _ => dh,
        };
        self.network.backward_parameters(r, network, dh);
    }
}

/// Declares the linear layer of a name after a network that leaves so many inputs.
fn declare(arena: &mut Arena, inputs: usize, (name, numbers): (&str, usize)) -> Linear {
    Linear::new(arena, name, inputs, numbers, Activation::Identity)
}
