//! Rows of a ragged column as dense rows, `shaders/ragged.wgsl`: which of I items an example has, as zeros and ones.
//! The data set is never dense, a batch of it is. Examples are picked as [`gather`](super::gather) picks pictures.

use bytemuck::{Pod, Zeroable};

use super::clock::Clock;
use super::threads::chunks;
use crate::cases::{Case, Tolerance};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// B rows of I items; `stride` is the size of a full batch: where batch k starts in the order.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    i: u32,
    stride: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "ragged.wgsl",
    text: include_str!("../../shaders/ragged.wgsl"),
    bindings: &["starts", "items", "order", "clock", "y"],
    ..PLAIN_SOURCE
};

/// starts (N+1), items (E) and order (N) as integers, and the clock, to y (B,I), assigned; an item of I or more is left
/// out. Recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "ragged.forward",
    formula: "y[r,i] = 1 where example order[batch*stride + r] has item i, else 0",
    params: &["B", "I", "stride"],
    reads: &["starts", "items", "order", "clock"],
    writes: &["y"],
    shader: Shader { source: &SOURCE, entry: "forward", workgroup: [64, 1, 1], grid: |p, _| [p[0], 1, 1] },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let i = p.i as usize;
        let order = batch(reads, p);
        for (y, &n) in writes[0].chunks_mut(i).zip(order) {
            row(y, n, reads);
        }
    },
    accelerated: Some(|p, reads, writes| {
        let p: Params = params(p);
        let [b, i] = [p.b as usize, p.i as usize];
        let order = batch(reads, p);
        chunks([(&mut writes[0][..b * i], i)], (super::CHUNK / i).max(1), |r, [y]| row(y, order[r], reads));
    }),
    cost: |p| Cost { flops: 0, bytes: 4 * p[0] as u64 * p[1] as u64 },
    cases,
    gradients: GradientCheck::None("copies items, which nothing trains"),
    ..PLAIN
};

// ---- Record

/// The items of the batch's `rows` examples as (rows, `count`) zeros and ones. Example n has the items `starts[n]` to
/// `starts[n+1]`, where `starts` is (N+1) and `items` (E), integers that the host has checked; `order` is (N), and
/// `stride` the size of a full batch.
pub fn forward(
    r: &mut Recorder,
    [starts, items]: [Tensor; 2],
    [order, clock]: [Tensor; 2],
    [rows, count]: [usize; 2],
    stride: usize,
) -> Tensor {
    assert!(starts.len() == order.len() + 1, "ragged.forward: starts {starts:?}, order {order:?}");
    let y = r.tensor("x", &[rows, count]);
    let params = Params { b: rows as u32, i: count as u32, stride: stride as u32 };
    r.dispatch(&FORWARD, params, &[starts, items, order, clock], &[y]);
    y
}

// ---- References

/// The numbers of the batch's examples.
fn batch<'a>(reads: &[&'a [f32]], p: Params) -> &'a [f32] {
    let first = reads[3][3].to_bits() as usize * p.stride as usize;
    &reads[2][first..][..p.b as usize]
}

/// A row of y (I), of example n.
fn row(y: &mut [f32], n: f32, reads: &[&[f32]]) {
    y.fill(0.0);
    let n = n.to_bits() as usize;
    let [start, end] = [n, n + 1].map(|n| reads[0][n].to_bits() as usize);
    for item in &reads[1][start..end] {
        if let Some(y) = y.get_mut(item.to_bits() as usize) {
            *y = 1.0;
        }
    }
}

// ---- Cases

/// The second batch of an order of N examples, which have no item, one, or up to all of I; I itself is no item.
fn cases() -> Vec<Case> {
    let case = |[n, b, i, stride]: [usize; 4]| {
        let of = |example: usize| {
            let count = (example * 13) % (i + 2);
            (0..count).map(move |k| ((k * 7 + example) % (i + 1)) as u32)
        };
        let mut starts = vec![0];
        let mut items: Vec<u32> = Vec::new();
        for example in 0..n {
            items.extend(of(example));
            starts.push(items.len() as u32);
        }
        let order = (0..n).map(|k| ((k * 7 + 3) % n) as u32).collect();
        let params = Params { b: b as u32, i: i as u32, stride: stride as u32 };
        Case::new(format!("{b}x{i} of {n}"), params)
            .read_words(starts)
            .read_words(items)
            .read_words(order)
            .read_words(Clock::example().words())
            .assign(b * i, Tolerance::Exact)
    };
    [[5, 1, 1, 2], [41, 17, 65, 17], [33, 5, 257, 20], [257, 128, 17, 128], [70, 33, 1001, 33]].map(case).into()
}
