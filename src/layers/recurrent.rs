//! What [`lstm`](super::lstm) and [`gru`](super::gru) share: weights under PyTorch's names, the order of the steps.

use rand_chacha::ChaCha8Rng;

use crate::arena::{Arena, Parameter};
use crate::kernels::activation::Activation;
use crate::kernels::{fill, joint, matmul};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// Which way a layer reads its sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the first step on.
    Forward,
    /// From the last step of each row, wherever that is, to the first, as PyTorch does with packed sequences: what lies
    /// behind a row's end comes first and leaves the state as it starts.
    Reverse,
}

impl Direction {
    /// The times of T steps in the order that they run.
    pub(super) fn times(self, steps: usize) -> impl DoubleEndedIterator<Item = usize> {
        (0..steps).map(move |n| if self == Direction::Forward { n } else { steps - 1 - n })
    }

    /// What PyTorch appends to the names of parameters.
    fn suffix(self) -> &'static str {
        match self {
            Direction::Forward => "",
            Direction::Reverse => "_reverse",
        }
    }
}

/// The parameters of a layer of I inputs and a state of H numbers, with G gates.
pub(super) struct Weights {
    pub name: String,
    /// (G*H,I)
    pub w_ih: Parameter,
    /// (G*H,H)
    pub w_hh: Parameter,
    /// (G*H)
    pub b_ih: Parameter,
    /// (G*H)
    pub b_hh: Parameter,
}

impl Weights {
    /// Declares them in PyTorch's order.
    pub fn new(
        arena: &mut Arena,
        name: &str,
        layer: usize,
        direction: Direction,
        [inputs, hidden, gates]: [usize; 3],
    ) -> Weights {
        let rows = gates * hidden;
        let mut parameter = |kind: &str, shape: &[usize]| {
            arena.parameter(format!("{name}.{kind}_l{layer}{}", direction.suffix()), shape)
        };
        Weights {
            name: name.into(),
            w_ih: parameter("weight_ih", &[rows, inputs]),
            w_hh: parameter("weight_hh", &[rows, hidden]),
            b_ih: parameter("bias_ih", &[rows]),
            b_hh: parameter("bias_hh", &[rows]),
        }
    }

    /// H.
    fn hidden(&self) -> usize {
        self.w_hh.value.matrix()[1]
    }

    /// All uniform within 1/sqrt(H).
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        let parameters = [&self.w_ih, &self.w_hh, &self.b_ih, &self.b_hh];
        super::uniform_within(rng, 1.0 / (self.hidden() as f32).sqrt(), parameters)
    }

    /// Tensors (B,H) that the steps update in place: copies of those given, or zeros.
    pub fn state<const N: usize>(
        &self,
        r: &mut Recorder,
        names: [&str; N],
        rows: usize,
        given: Option<[Tensor; N]>,
    ) -> [Tensor; N] {
        r.scope(&self.name);
        let shape = [rows, self.hidden()];
        let Some(given) = given else {
            let state = names.map(|name| r.tensor(name, &shape));
            state.iter().for_each(|&t| fill::forward(r, t, 0.0));
            return state;
        };
        given.map(|t| {
            assert!(t.shape() == shape, "{}: a state {t:?} is not {shape:?}", self.name);
            joint::scale(r, t, 1.0)
        })
    }

    /// A tensor (B,G*H) that all steps use, for h W_hh^T + b_hh or its gradient.
    pub fn recur(&self, r: &mut Recorder, rows: usize) -> Tensor {
        r.tensor("recur", &[rows, self.b_hh.value.len()])
    }

    /// x (T*B,I) to x W_ih^T + b_ih (T*B,G*H), of all steps at once.
    pub fn input_product(&self, r: &mut Recorder, x: Tensor) -> Tensor {
        r.scope(&self.name);
        matmul::forward(r, x, self.w_ih.value, self.b_ih.value, Activation::Identity)
    }

    /// recur (B,G*H) = h W_hh^T + b_hh, h (B,H).
    pub fn recurrent_product(&self, r: &mut Recorder, h: Tensor, recur: Tensor) {
        matmul::forward_into(r, h, self.w_hh.value, self.b_hh.value, Activation::Identity, recur);
    }

    /// Adds to the parameters' gradients: x (T*B,I) and h_before (T*B,H), and the gradients (T*B,G*H) of their
    /// products.
    pub fn backward(&self, r: &mut Recorder, [x, h_before]: [Tensor; 2], [d_input, d_recur]: [Tensor; 2]) {
        matmul::backward_w(r, d_input, x, self.w_ih.grad, self.b_ih.grad);
        matmul::backward_w(r, d_recur, h_before, self.w_hh.grad, self.b_hh.grad);
    }
}
