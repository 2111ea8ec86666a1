//! p(x|z): a network from z to a picture, and the distribution of a pixel given what it leaves.

use rand_chacha::ChaCha8Rng;

use super::likelihood::{Likelihood, Loss};
use super::mlp;
use super::network::Shape;
use super::networks::Networks;
use crate::arena::Arena;
use crate::kernels::rows::Rows;
use crate::kernels::{channels, joint};
use crate::layers::Mode;
use crate::layers::sequential::{self, Sequential};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The decoder. It gives rows, channels first; listed networks see z as a picture, of 1 x 1 where nothing else is said.
pub struct Decoder {
    /// (C,H,W)
    picture: [usize; 3],
    /// (H,W,C): what it takes of an example, channels last.
    inputs: [usize; 3],
    is_listed: bool,
    network: Sequential,
    output: Likelihood,
    sigma: f64,
}

/// What the decoder's backward needs.
pub struct Saved {
    network: sequential::Saved,
    leaves_picture: bool,
}

impl Decoder {
    /// Declares the parameters for `inputs` numbers an example: fc3 and fc4 as in pytorch/examples, or decoder.0 and so
    /// on. Panics where [`Networks::fit`] gives an error.
    pub fn new(arena: &mut Arena, networks: &Networks, inputs: usize, picture: [usize; 3]) -> Decoder {
        Decoder::over(arena, networks, [inputs, 1, 1], picture)
    }

    /// [`new`](Decoder::new) for an example of this (C,H,W), whose rows are channels last.
    pub fn over(arena: &mut Arena, networks: &Networks, [c, h, w]: [usize; 3], picture: [usize; 3]) -> Decoder {
        let network = match &networks.decoder {
            Some(network) => network.build(arena, "decoder", Shape::Picture([c, h, w])),
            None => mlp::decoder(arena, networks, c * h * w, picture.iter().product()),
        };
        let (is_listed, inputs) = (networks.decoder.is_some(), [h, w, c]);
        Decoder { picture, inputs, is_listed, network, output: networks.output, sigma: networks.sigma }
    }

    /// The initial values of every parameter.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        self.network.initial(rng)
    }

    /// z (B, inputs) to the output before its link: logits or means, (B,D).
    pub fn forward(&self, r: &mut Recorder, z: Tensor, mode: Mode) -> (Tensor, Saved) {
        let [b, _] = z.matrix();
        let [h, w, c] = self.inputs;
        let z = if self.is_listed { z.reshape(&[b, h, w, c]) } else { z };
        let (y, network) = self.network.forward(r, z, mode);
        r.scope("decoder");
        let leaves_picture = y.shape().len() == 4;
        let y = if leaves_picture { channels::first(r, y) } else { y };
        (y, Saved { network, leaves_picture })
    }

    /// dy (B,D) to dz (B, inputs), and the parameters' gradients.
    pub fn backward(&self, r: &mut Recorder, saved: Saved, dy: Tensor) -> Tensor {
        let [b, _] = dy.matrix();
        let dy = self.picture_of(r, &saved, dy);
        self.network.backward(r, saved.network, dy).reshape(&[b, self.inputs.iter().product()])
    }

    /// dy (B,D) to dz (B, inputs), the parameters held.
    pub fn backward_input(&self, r: &mut Recorder, saved: &Saved, dy: Tensor) -> Tensor {
        let [b, _] = dy.matrix();
        let dy = self.picture_of(r, saved, dy);
        self.network.backward_input(r, &saved.network, dy).reshape(&[b, self.inputs.iter().product()])
    }

    /// The parameters' gradients alone, where z needs none.
    pub fn backward_parameters(&self, r: &mut Recorder, saved: Saved, dy: Tensor) {
        let dy = self.picture_of(r, &saved, dy);
        self.network.backward_parameters(r, saved.network, dy);
    }

    /// dy as the network leaves it.
    fn picture_of(&self, r: &mut Recorder, saved: &Saved, dy: Tensor) -> Tensor {
        r.scope("decoder");
        if saved.leaves_picture { channels::last(r, dy, self.picture) } else { dy }
    }

    /// -log p(x|z) of each row in nats, for outputs y (B,D) and pictures x (B,D).
    pub fn loss(&self, r: &mut Recorder, y: Tensor, x: Tensor) -> Loss {
        r.scope("loss");
        self.output.loss(r, y, x, self.sigma)
    }

    /// dy (B,D) of the weighted sum of the rows.
    pub fn loss_backward(&self, r: &mut Recorder, loss: Loss, weight: Rows) -> Tensor {
        r.scope("loss");
        self.output.backward(r, loss, weight)
    }

    /// z (B, inputs) to -log p(x|z) of pictures x (B,D) in nats, (B,1), as an evaluation has it.
    pub fn recon(&self, r: &mut Recorder, z: Tensor, x: Tensor) -> Tensor {
        let (y, _) = self.forward(r, z, Mode::Evaluate);
        let rows = self.loss(r, y, x).rows;
        rows.reshape(&[rows.len(), 1])
    }

    // ANCHOR: fill
    /// Pictures x (B,D) whose pixels are known where `seen` (B,D) is 1, filled by the mean of p(x|z) where it is 0,
    /// (B,D); and dz (B, inputs) of -log p of the known pixels: at its own mean a pixel has no gradient.
    pub fn fill(&self, r: &mut Recorder, [x, seen, z]: [Tensor; 3]) -> [Tensor; 2] {
        let (y, saved) = self.forward(r, z, Mode::Evaluate);
        let mean = self.output.generate(r, y);
        let difference = joint::add(r, x, mean, -1.0);
        let known = joint::multiply(r, difference, seen);
        let filled = joint::add(r, mean, known, 1.0);
        let loss = self.loss(r, y, filled);
        let dy = self.loss_backward(r, loss, Rows::Scale(1.0));
        [filled, self.backward_input(r, &saved, dy)]
    }
    // ANCHOR_END: fill

    /// z (B, inputs) to the mean of p(x|z), (B,D): the picture to look at.
    pub fn generate(&self, r: &mut Recorder, z: Tensor) -> Tensor {
        let (y, _) = self.forward(r, z, Mode::Evaluate);
        self.output.generate(r, y)
    }
}
