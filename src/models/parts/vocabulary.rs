//! p(word) of a vocabulary of V words at each step of a sentence: a linear layer and a softmax over thousands of words,
//! which are most of what a step of a sentence model computes. Logits are made for some hundred steps at a time; their
//! gradient takes their place and is used up before the next are made, so there is room for that many alone.

use rand_chacha::ChaCha8Rng;

use crate::arena::{ALIGNMENT, Arena};
use crate::kernels::activation::Activation;
use crate::kernels::matmul;
use crate::kernels::rows::Rows;
use crate::kernels::token_cross_entropy as cross_entropy;
use crate::layers::linear::Linear;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// Logits that there is room for at once: 32 MiB.
const LOGITS: usize = 1 << 23;

/// From a state (H) to logits (V).
pub struct Vocabulary {
    name: &'static str,
    words: usize,
    linear: Linear,
    /// The word that costs nothing.
    padding: u32,
}

/// The losses of all steps.
pub struct Recon {
    /// (R): -log p(word) in nats, 0 at padding.
    pub rows: Tensor,
    /// (R): 1 at a word, 0 at padding.
    pub words: Tensor,
}

impl Vocabulary {
    /// Declares `name.weight` (words, inputs) and `name.bias` (words).
    pub fn new(arena: &mut Arena, name: &'static str, inputs: usize, words: usize, padding: u32) -> Vocabulary {
        let linear = Linear::new(arena, name, inputs, words, Activation::Identity);
        Vocabulary { name, words, linear, padding }
    }

    /// The initial values of every parameter.
    pub fn initial(&self, rng: &mut ChaCha8Rng) -> Vec<(Tensor, Vec<f32>)> {
        self.linear.initial(rng)
    }

    /// h (R,H) to logits (R,V).
    pub fn logits(&self, r: &mut Recorder, h: Tensor) -> Tensor {
        self.linear.forward(r, h).0
    }

    // ANCHOR: loss
    /// The losses of the words (R), integers, after the states h (R,H), and dh (R,H) of what they weigh, a sentence as
    /// `weight` says; adds to the parameters' gradients.
    pub fn step(&self, r: &mut Recorder, h: Tensor, words: Tensor, weight: Rows) -> (Recon, Tensor) {
        r.scope(self.name);
        let [w, b] = self.linear.values();
        let [dw, db] = self.linear.gradients();
        let losses = cross_entropy::losses(r, words, self.padding);
        let dh = r.tensor("dh", h.shape());
        for (first, h, logits) in self.pieces(r, h) {
            matmul::forward_into(r, h, w, b, Activation::Identity, logits);
            cross_entropy::loss(r, losses, logits, first);
            cross_entropy::backward(r, losses, logits, first, weight); // logits become dlogits
            matmul::backward_w(r, logits, h, dw, db);
            matmul::backward_x_to(r, logits, w, rows_of(dh, first, h.matrix()[0]));
        }
        (Recon { rows: losses.rows, words: losses.counted }, dh)
    }
    // ANCHOR_END: loss

    /// The losses alone.
    pub fn evaluate(&self, r: &mut Recorder, h: Tensor, words: Tensor) -> Recon {
        r.scope(self.name);
        let [w, b] = self.linear.values();
        let losses = cross_entropy::losses(r, words, self.padding);
        for (first, h, logits) in self.pieces(r, h) {
            matmul::forward_into(r, h, w, b, Activation::Identity, logits);
            cross_entropy::loss(r, losses, logits, first);
        }
        Recon { rows: losses.rows, words: losses.counted }
    }

    /// The rows of h (R,H) in pieces: the first row of each, the rows, and room for their logits, of all pieces the
    /// same.
    fn pieces(&self, r: &mut Recorder, h: Tensor) -> Vec<(usize, Tensor, Tensor)> {
        let [rows, _] = h.matrix();
        // Views begin at multiples of the alignment, whatever a row's length.
        let most = (LOGITS / self.words / ALIGNMENT * ALIGNMENT).max(ALIGNMENT).min(rows);
        let logits = r.tensor("logits", &[most, self.words]);
        let piece = |first: usize| {
            let count = most.min(rows - first);
            (first, rows_of(h, first, count), Tensor::new(logits.buffer, logits.offset, &[count, self.words]))
        };
        (0..rows).step_by(most).map(piece).collect()
    }
}

/// So many rows of a matrix.
fn rows_of(matrix: Tensor, first: usize, count: usize) -> Tensor {
    let [_, columns] = matrix.matrix();
    Tensor::new(matrix.buffer, matrix.offset + first * columns, &[count, columns])
}
