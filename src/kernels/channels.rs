//! The order of a picture's numbers, `shaders/channels.wgsl`: channels first, as files and PyTorch have them, or
//! channels last, as the kernels over pictures read them. Each is the other's inverse and backward.

use bytemuck::{Pod, Zeroable};

use super::threads::{chunk, chunks};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN_SOURCE, Reference, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// S places of C channels.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    c: u32,
    s: u32,
}

impl Params {
    fn sizes(self) -> [usize; 3] {
        [self.b, self.c, self.s].map(|n| n as usize)
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "channels.wgsl",
    text: include_str!("../../shaders/channels.wgsl"),
    common: &[super::INDEX],
    bindings: &["x", "y"],
    ..PLAIN_SOURCE
};

/// x (B,C,S) to y (B,S,C), assigned, S = H*W; recorded by [`last`], and as the backward of [`first`].
pub static LAST: Kernel = kernel(
    "channels.last",
    "last",
    "y[b,s,c] = x[b,c,s]",
    |p, reads, writes| {
        let [b, c, s] = params::<Params>(p).sizes();
        for i in 0..b * c * s {
            writes[0][i] = reads[0][i / (c * s) * c * s + i % c * s + i / c % s];
        }
    },
    |p, reads, writes| {
        let [b, c, s] = params::<Params>(p).sizes();
        transpose_pictures(reads[0], &mut writes[0][..b * c * s], c, s);
    },
);

/// x (B,S,C) to y (B,C,S), assigned, S = H*W; recorded by [`first`], and as the backward of [`last`].
pub static FIRST: Kernel = kernel(
    "channels.first",
    "first",
    "y[b,c,s] = x[b,s,c]",
    |p, reads, writes| {
        let [b, c, s] = params::<Params>(p).sizes();
        for i in 0..b * c * s {
            writes[0][i] = reads[0][i / (c * s) * c * s + i % s * c + i / s % c];
        }
    },
    |p, reads, writes| {
        let [b, c, s] = params::<Params>(p).sizes();
        transpose_pictures(reads[0], &mut writes[0][..b * c * s], s, c);
    },
);

const fn kernel(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    reference: Reference,
    accelerated: Reference,
) -> Kernel {
    Kernel {
        name,
        formula,
        params: &["B", "C", "S"],
        reads: &["x"],
        writes: &["y"],
        shader: Shader {
            source: &SOURCE,
            entry,
            workgroup: [64, 1, 1],
            grid: |p, _| grid_1d(params::<Params>(p).sizes().iter().product(), 64),
        },
        software: None,
        candidates: None,
        reference,
        accelerated: Some(accelerated),
        cost: |p| Cost { flops: 0, bytes: 8 * p.iter().map(|&n| n as u64).product::<u64>() },
        cases,
        gradients: GradientCheck::Cases(gradients),
    }
}

// ---- Record

/// Pictures (B, C*H*W) or (B,C,H,W) to (B,H,W,C). Not a dispatch where the orders agree.
pub fn last(r: &mut Recorder, x: Tensor, [c, h, w]: [usize; 3]) -> Tensor {
    let b = x.shape()[0];
    let fits = x.shape() == [b, c * h * w] || x.shape() == [b, c, h, w];
    assert!(fits, "channels.last: x {x:?} holds no pictures of {c}x{h}x{w}");
    if c == 1 || h * w == 1 {
        return x.reshape(&[b, h, w, c]);
    }
    let y = r.tensor("channels_last", &[b, h, w, c]);
    r.dispatch(&LAST, Params { b: b as u32, c: c as u32, s: (h * w) as u32 }, &[x], &[y]);
    y
}

/// Pictures (B,H,W,C) to (B, C*H*W), channel by channel. Not a dispatch where the orders agree.
pub fn first(r: &mut Recorder, x: Tensor) -> Tensor {
    let &[b, h, w, c] = x.shape() else { panic!("channels.first: x {x:?} is not (B,H,W,C)") };
    if c == 1 || h * w == 1 {
        return x.reshape(&[b, c * h * w]);
    }
    let y = r.tensor("channels_first", &[b, c * h * w]);
    r.dispatch(&FIRST, Params { b: b as u32, c: c as u32, s: (h * w) as u32 }, &[x], &[y]);
    y
}

// ---- Accelerated

/// Columns of x at a time: what they touch of x and y stays in the first cache.
const BLOCK: usize = 16;

/// Each picture of x, a matrix of `rows` by `columns`, turned around.
fn transpose_pictures(x: &[f32], y: &mut [f32], rows: usize, columns: usize) {
    let size = rows * columns;
    chunks([(y, size)], super::CHUNK.div_ceil(size), |picture, [y]| {
        let x = chunk(x, size, picture);
        for (block, y) in y.chunks_mut(BLOCK * rows).enumerate() {
            for (i, x) in x.chunks_exact(columns).enumerate() {
                // Row i of x holds element i of each line of y.
                let lines = y.chunks_exact_mut(rows);
                lines.zip(&x[block * BLOCK..]).for_each(|(line, &x)| line[i] = x);
            }
        }
    });
}

// ---- Cases

fn cases() -> Vec<Case> {
    let case = |[b, c, s]: [usize; 3]| {
        Case::new(format!("{b}x{c}x{s}"), Params { b: b as u32, c: c as u32, s: s as u32 })
            .read(uniform(1, b * c * s, -1.0, 1.0))
            .assign(b * c * s, Tolerance::Exact)
    };
    [[1, 1, 1], [1, 257, 1], [3, 3, 65], [5, 65, 17], [17, 16, 16], [2, 3, 4099]].map(case).into()
}

// ---- Gradients

/// For the finite-difference check: each as the other's backward.
fn gradients() -> Vec<GradientCase> {
    let x = |shape: &[usize]| vec![(shape.to_vec(), uniform(2, 60, -1.0, 1.0))];
    vec![
        GradientCase {
            label: "channels.last".into(),
            inputs: x(&[2, 30]),
            output: vec![2, 2, 5, 3],
            record: Box::new(|r, inputs, dy| (last(r, inputs[0], [3, 2, 5]), vec![first(r, dy)])),
            state: vec![],
        },
        GradientCase {
            label: "channels.first".into(),
            inputs: x(&[2, 2, 5, 3]),
            output: vec![2, 30],
            record: Box::new(|r, inputs, dy| (first(r, inputs[0]), vec![last(r, dy, [3, 2, 5])])),
            state: vec![],
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;

    /// (C,S) = (2,3): channel 0 is 0 1 2, channel 1 is 3 4 5.
    #[test]
    fn channels_of_a_place_are_neighbours() {
        let (x, mut y, mut z) = ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], [0.0; 6], [0.0; 6]);
        (LAST.reference)(&[1, 2, 3], &[&x], &mut [&mut y]);
        assert_eq!(y, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        (FIRST.reference)(&[1, 2, 3], &[&y], &mut [&mut z]);
        assert_eq!(z, x);
    }

    #[test]
    fn an_order_that_is_the_same_already_costs_nothing() {
        let mut arena = Arena::new();
        let (grey, vector) = (arena.tensor("grey", &[3, 20]), arena.tensor("vector", &[3, 20, 1, 1]));
        let mut r = Recorder::new(&mut arena);
        let last_of = [last(&mut r, grey, [1, 4, 5]), last(&mut r, vector, [20, 1, 1])];
        assert_eq!(last_of, [grey.reshape(&[3, 4, 5, 1]), vector.reshape(&[3, 1, 1, 20])]);
        assert_eq!(last_of.map(|x| first(&mut r, x)), [grey, vector.reshape(&[3, 20])]);
        let y = last(&mut r, grey, [5, 2, 2]);
        assert_eq!(first(&mut r, y).shape(), [3, 20]);
        assert_eq!(r.finish("channels").steps.len(), 2);
    }
}
