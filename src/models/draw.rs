//! The only source of random numbers in a model's objective, so that PyTorch's can be put in their place, in order.
//! (Dropout's masks are the layers' own.)

use crate::kernels::random;
use crate::program::Recorder;
use crate::tensor::Tensor;

// ANCHOR: draw
/// Where a model's random numbers come from.
#[derive(Clone, Debug)]
pub enum Draw {
    /// Drawn anew at each step, keyed by the clock.
    Clock(Tensor),
    /// The same, but z is the mean of q(z|x): a lower loss, which bounds nothing.
    Mean(Tensor),
    /// Given: tensors that somebody writes before each step, and what their numbers should be drawn from. The list
    /// grows as the model asks.
    Given(Vec<(Tensor, Distribution)>),
}
// ANCHOR_END: draw

/// What random numbers are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// N(0,1)
    Normal,
    /// U(0,1)
    Uniform,
}

impl Draw {
    /// The same whose z is the mean of q, from a draw of the clock's. Panics on given numbers.
    pub fn mean(&self) -> Draw {
        match self {
            Draw::Clock(clock) | Draw::Mean(clock) => Draw::Mean(*clock),
            Draw::Given(_) => panic!("given numbers are what they are"),
        }
    }

    /// The noise of z = mean + e^(logvar/2) noise, of this shape: N(0,1), or zeros where z is to be the mean.
    pub fn latent(&mut self, r: &mut Recorder, shape: &[usize]) -> Tensor {
        match self {
            Draw::Mean(_) => r.zeros("noise", shape),
            _ => self.numbers(r, shape, Distribution::Normal),
        }
    }

    /// N(0,1) of this shape.
    pub fn normal(&mut self, r: &mut Recorder, shape: &[usize]) -> Tensor {
        self.numbers(r, shape, Distribution::Normal)
    }

    /// U(0,1) of this shape.
    pub fn uniform(&mut self, r: &mut Recorder, shape: &[usize]) -> Tensor {
        self.numbers(r, shape, Distribution::Uniform)
    }

    fn numbers(&mut self, r: &mut Recorder, shape: &[usize], distribution: Distribution) -> Tensor {
        match self {
            Draw::Clock(clock) | Draw::Mean(clock) => match distribution {
                Distribution::Normal => random::normal(r, *clock, shape),
                Distribution::Uniform => random::unit(r, *clock, shape),
            },
            Draw::Given(tensors) => {
                let tensor = r.tensor("noise", shape);
                tensors.push((tensor, distribution));
                tensor
            }
        }
    }
}
