//! A label beside what an encoder takes: K more numbers, or of an encoder that sees pictures K more channels, each all
//! 0 or all 1.

use super::network::Shape;
use super::networks::Networks;
use crate::kernels::joint;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// What the encoder takes of an example (C,H,W) and its label of K classes.
pub fn shape(networks: &Networks, [c, h, w]: [usize; 3], classes: usize) -> Shape {
    match networks.encoder {
        Some(_) => Shape::Picture([c + classes, h, w]),
        None => Shape::Vector(c * h * w + classes),
    }
}

/// x (B,D) and y (B,K) to (x,y) as the encoder takes it, whose input has this shape.
pub fn join(r: &mut Recorder, x: Tensor, y: Tensor, input: Shape) -> Tensor {
    r.scope("encoder");
    match input {
        Shape::Vector(_) => joint::concat(r, x, y),
        Shape::Picture([_, h, w]) => {
            let planes = joint::planes(r, y, h * w);
            joint::concat(r, x, planes)
        }
    }
}
