//! LSTMs or GRUs one above the other, in one direction or both: `torch.nn.LSTM` and `torch.nn.GRU` with `num_layers`
//! and `bidirectional`. There is no dropout between the layers.

use rand_chacha::ChaCha8Rng;

use super::gru::{self, Gru};
use super::lstm::{self, Lstm};
use super::recurrent::Direction;
use crate::arena::Arena;
use crate::kernels::joint;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// What a stack is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// [`Lstm`]
    Lstm,
    /// [`Gru`]
    Gru,
}

enum Layer {
    Lstm(Lstm),
    Gru(Gru),
}

enum LayerSaved {
    Lstm(lstm::Saved),
    Gru(gru::Saved),
}

/// The state of one layer in one direction: h (B,H), and of an LSTM c (B,H).
pub type State = Vec<Tensor>;

/// Layers, each of one direction or of two. The first reads x, the others the outputs of the one below, forward and
/// reverse side by side.
pub struct Stacked {
    hidden: usize,
    layers: Vec<Vec<Layer>>,
}

/// What a backward needs of its forward, a layer and a direction each.
pub struct Saved(Vec<Vec<LayerSaved>>);

/// What a forward makes.
#[derive(Clone, Debug)]
pub struct Outputs {
    /// (T*B,H), of both directions (T*B,2H): h of the last layer after each step.
    pub h: Tensor,
    /// The last state of each layer and direction, in PyTorch's order: layer by layer, forward before reverse.
    pub last: Vec<State>,
}

/// What a backward makes.
#[derive(Clone, Debug)]
pub struct Gradients {
    /// (T*B,I), zeros behind a row's end.
    pub dx: Tensor,
    /// Of the states that the forward began with, in the order of [`Outputs::last`].
    pub dstart: Vec<State>,
}

impl Stacked {
    /// Declares the parameters of all layers, with PyTorch's names and in its order.
    pub fn new(
        arena: &mut Arena,
        name: &str,
        kind: Kind,
        [inputs, hidden]: [usize; 2],
        layers: usize,
        bidirectional: bool,
    ) -> Stacked {
        assert!(layers > 0, "{name} has no layer");
        let directions: &[Direction] =
            if bidirectional { &[Direction::Forward, Direction::Reverse] } else { &[Direction::Forward] };
        let mut of = |layer: usize, direction: Direction| {
            let inputs = if layer == 0 { inputs } else { directions.len() * hidden };
            match kind {
                Kind::Lstm => Layer::Lstm(Lstm::numbered(arena, name, layer, direction, [inputs, hidden])),
                Kind::Gru => Layer::Gru(Gru::numbered(arena, name, layer, direction, [inputs, hidden])),
            }
        };
        let layers = (0..layers).map(|layer| directions.iter().map(|&way| of(layer, way)).collect()).collect();
        Stacked { hidden, layers }
    }

    /// PyTorch's default: everything uniform within 1/sqrt(H).
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        self.layers.iter().flatten().flat_map(|layer| layer.initial(rng)).collect()
    }

    /// x (T*B,I) and lengths (B), integers from 0 to T, from the states `start`, in the order of [`Outputs::last`], or
    /// from zeros.
    pub fn forward(&self, r: &mut Recorder, x: Tensor, lengths: Tensor, start: Option<&[State]>) -> (Outputs, Saved) {
        self.check(start);
        let (mut h, mut last, mut saved) = (x, Vec::new(), Vec::new());
        for layer in &self.layers {
            let mut outputs = Vec::new();
            let mut saved_here = Vec::new();
            for way in layer {
                let (output, state, of_backward) = way.forward(r, h, lengths, start.map(|start| &start[last.len()]));
                outputs.push(output);
                last.push(state);
                saved_here.push(of_backward);
            }
            saved.push(saved_here);
            h = match outputs[..] {
                [forward, reverse] => joint::concat(r, forward, reverse),
                _ => outputs[0],
            };
        }
        (Outputs { h, last }, Saved(saved))
    }

    /// From dh, the gradient of [`Outputs::h`], and `dlast`, those of [`Outputs::last`], each if there is one; adds to
    /// the parameters' gradients.
    pub fn backward(
        &self,
        r: &mut Recorder,
        Saved(saved): Saved,
        dh: Option<Tensor>,
        dlast: Option<&[State]>,
    ) -> Gradients {
        self.check(dlast);
        let (mut dh, mut dstart) = (dh, Vec::new());
        for (number, (layer, saved)) in self.layers.iter().zip(saved).enumerate().rev() {
            let parts = match (dh, layer.len()) {
                (Some(dh), 2) => <[Tensor; 2]>::from(joint::split(r, dh, self.hidden)).map(Some),
                _ => [dh; 2],
            };
            let (mut dx, mut states) = (None, Vec::new());
            for (way, ((layer, saved), dh)) in layer.iter().zip(saved).zip(parts).enumerate() {
                let dlast = dlast.map(|dlast| &dlast[number * self.layers[0].len() + way]);
                // The forward direction assigns dx, the reverse one adds.
                let (dx_here, dstate) = layer.backward(r, saved, dh, dlast, dx);
                dx = Some(dx_here);
                states.push(dstate);
            }
            // From the last layer to the first.
            dstart.splice(..0, states);
            dh = dx;
        }
        Gradients { dx: dh.expect("a stack has a layer"), dstart }
    }

    fn check(&self, states: Option<&[State]>) {
        let count = self.layers.len() * self.layers[0].len();
        assert!(states.is_none_or(|states| states.len() == count), "a stack has {count} states, not {states:?}");
    }
}

impl Layer {
    fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        match self {
            Layer::Lstm(layer) => layer.initial(rng),
            Layer::Gru(layer) => layer.initial(rng),
        }
    }

    /// Outputs (T*B,H), last state, and what the backward needs.
    fn forward(
        &self,
        r: &mut Recorder,
        x: Tensor,
        lengths: Tensor,
        start: Option<&State>,
    ) -> (Tensor, State, LayerSaved) {
        match self {
            Layer::Lstm(layer) => {
                let (outputs, saved) = layer.forward(r, x, lengths, start.map(two));
                (outputs.h, outputs.last.to_vec(), LayerSaved::Lstm(saved))
            }
            Layer::Gru(layer) => {
                let (outputs, saved) = layer.forward(r, x, lengths, start.map(one));
                (outputs.h, vec![outputs.last], LayerSaved::Gru(saved))
            }
        }
    }

    /// dx, which is `dx` where that is given and is added to, and the gradient of the state at the start.
    fn backward(
        &self,
        r: &mut Recorder,
        saved: LayerSaved,
        dh: Option<Tensor>,
        dlast: Option<&State>,
        dx: Option<Tensor>,
    ) -> (Tensor, State) {
        match (self, saved) {
            (Layer::Lstm(layer), LayerSaved::Lstm(saved)) => match dx {
                Some(dx) => (dx, layer.backward_into(r, saved, dh, dlast.map(two), dx).to_vec()),
                None => {
                    let gradients = layer.backward(r, saved, dh, dlast.map(two));
                    (gradients.dx, gradients.dstart.to_vec())
                }
            },
            (Layer::Gru(layer), LayerSaved::Gru(saved)) => match dx {
                Some(dx) => (dx, vec![layer.backward_into(r, saved, dh, dlast.map(one), dx)]),
                None => {
                    let gradients = layer.backward(r, saved, dh, dlast.map(one));
                    (gradients.dx, vec![gradients.dstart])
                }
            },
            _ => unreachable!("a stack is of one kind"),
        }
    }
}

/// h and c of an LSTM.
fn two(state: &State) -> [Tensor; 2] {
    <[Tensor; 2]>::try_from(&state[..]).unwrap_or_else(|_| panic!("the state of an LSTM is h and c, not {state:?}"))
}

/// h of a GRU.
fn one(state: &State) -> Tensor {
    assert!(state.len() == 1, "the state of a GRU is h, not {state:?}");
    state[0]
}
