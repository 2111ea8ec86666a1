//! The labels of a batch as one-hot rows, `shaders/one_hot.wgsl`, picked as [`gather`] picks the pictures.

use bytemuck::{Pod, Zeroable};

use super::clock::Clock;
use super::gather;
use crate::cases::{Case, Tolerance};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// B rows of K classes; `stride` is the size of a full batch: where batch k starts in the order.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    k: u32,
    stride: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "one_hot.wgsl",
    text: include_str!("../../shaders/one_hot.wgsl"),
    common: &[super::INDEX],
    bindings: &["labels", "order", "clock", "y"],
    ..PLAIN_SOURCE
};

/// labels (words of four), order (N) as integers, and the clock, to y (B,K), assigned; a label of K or more leaves a
/// row of zeros. Recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "one_hot.forward",
    formula: "y[r,k] = 1 where label[order[batch*stride + r]] is k, else 0",
    params: &["B", "K", "stride"],
    reads: &["labels", "order", "clock"],
    writes: &["y"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [b, k, stride] = [p.b, p.k, p.stride].map(|n| n as usize);
        let labels: &[u8] = bytemuck::cast_slice(reads[0]);
        let order = &reads[1][reads[2][3].to_bits() as usize * stride..][..b];
        writes[0][..b * k].fill(0.0);
        for (y, n) in writes[0].chunks_mut(k).zip(order) {
            let label = labels[n.to_bits() as usize] as usize;
            if label < k {
                y[label] = 1.0;
            }
        }
    },
    cost: |p| Cost { flops: p[0] as u64 * p[1] as u64, bytes: 4 * p[0] as u64 * p[1] as u64 + 5 * p[0] as u64 },
    cases,
    gradients: GradientCheck::None("copies labels, which nothing trains"),
    ..PLAIN
};

// ---- Record

/// The labels of the batch's `rows` pictures as (rows, classes). `labels` are those of the whole data set, as
/// [`gather::pack`] packs bytes; `order` is (N), and `stride` the size of a full batch, as for [`gather::forward`].
pub fn forward(
    r: &mut Recorder,
    labels: Tensor,
    [order, clock]: [Tensor; 2],
    [rows, classes]: [usize; 2],
    stride: usize,
) -> Tensor {
    assert!(labels.len() * 4 >= order.len(), "one_hot.forward: labels {labels:?} in words of four, order {order:?}");
    let y = r.tensor("labels", &[rows, classes]);
    let params = Params { b: rows as u32, k: classes as u32, stride: stride as u32 };
    r.dispatch(&FORWARD, params, &[labels, order, clock], &[y]);
    y
}

// ---- Cases

/// The second batch of an order of N pictures; labels from 0 to K, of which K is no class.
fn cases() -> Vec<Case> {
    let case = |[n, b, k, stride]: [usize; 4]| {
        let labels: Vec<u8> = (0..n).map(|i| ((i * 37 + i / 11) % (k + 1)) as u8).collect();
        let order = (0..n).map(|i| ((i * 7 + 3) % n) as u32).collect();
        let params = Params { b: b as u32, k: k as u32, stride: stride as u32 };
        Case::new(format!("{b}x{k} of {n}"), params)
            .read_words(gather::pack(&labels).into_owned())
            .read_words(order)
            .read_words(Clock::example().words())
            .assign(b * k, Tolerance::Exact)
    };
    [[5, 1, 1, 2], [41, 17, 10, 17], [33, 5, 65, 20], [257, 128, 10, 128], [70, 33, 255, 33]].map(case).into()
}
