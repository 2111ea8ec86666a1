//! Picks a batch from the resident data set, `shaders/gather.wgsl`. Data has no gradient.

use bytemuck::{Pod, Zeroable};
use rayon::prelude::*;

use super::clock::Clock;
use crate::check::case::Case;
use crate::check::close::Tolerance;
use crate::kernel::{Cost, Kernel, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// `stride` is the size of a full batch: where batch k starts in the order.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    d: u32,
    stride: u32,
}

const SOURCE: Source = Source {
    file: "gather.wgsl",
    text: include_str!("../../shaders/gather.wgsl"),
    common: &[super::INDEX],
    bindings: &["data", "order", "clock", "x"],
};

pub static FORWARD: Kernel = Kernel {
    name: "gather.forward",
    formula: "x[r,d] = data[order[batch*stride + r], d] / 255",
    params: &["B", "D", "stride"],
    reads: &["data", "order", "clock"],
    writes: &["x"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    software: None,
    reference: |p, reads, writes| {
        let [b, d, stride] = params::<Params>(p).sizes();
        let (data, order, clock): (&[u8], &[f32], &[f32]) = (bytemuck::cast_slice(reads[0]), reads[1], reads[2]);
        let batch = clock[3].to_bits() as usize;
        for r in 0..b {
            let n = order[batch * stride + r].to_bits() as usize;
            for c in 0..d {
                writes[0][r * d + c] = data[n * d + c] as f32 / 255.0;
            }
        }
    },
    accelerated: Some(forward_accelerated),
    cost: |p| Cost { flops: p[0] as u64 * p[1] as u64, bytes: 5 * p[0] as u64 * p[1] as u64 },
    cases,
};

impl Params {
    fn sizes(self) -> [usize; 3] {
        [self.b as usize, self.d as usize, self.stride as usize]
    }
}

/// Pictures as the device holds them: four bytes a word, the last word padded with zeros.
pub fn pack(pixels: &[u8]) -> Vec<u32> {
    let mut bytes = pixels.to_vec();
    bytes.resize(pixels.len().next_multiple_of(4), 0);
    bytemuck::pod_collect_to_vec(&bytes)
}

/// The next `rows` pictures of `d` pixels in `[0,1]`: (rows, d). `stride` is the size of a full batch.
pub fn forward(r: &mut Recorder, [data, order, clock]: [Tensor; 3], [rows, d]: [usize; 2], stride: usize) -> Tensor {
    let bytes = data.len() * 4;
    assert!(bytes / d >= rows, "gather.forward: data of {bytes} bytes has no {rows} pictures of {d}");
    let x = r.tensor("x", &[rows, d]);
    let params = Params { b: rows as u32, d: d as u32, stride: stride as u32 };
    r.dispatch(&FORWARD, params, &[data, order, clock], &[x]);
    x
}

fn forward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, d, stride] = params::<Params>(p).sizes();
    let data: &[u8] = bytemuck::cast_slice(reads[0]);
    let batch = reads[2][3].to_bits() as usize;
    let order = &reads[1][batch * stride..][..b];
    writes[0][..b * d].par_chunks_mut(d).with_min_len(32).zip(order.par_iter()).for_each(|(x, n)| {
        let picture = &data[n.to_bits() as usize * d..][..d];
        super::math::vectorised(|| x.iter_mut().zip(picture).for_each(|(x, &byte)| *x = byte as f32 / 255.0));
    });
}

/// The second batch of an order of N pictures, odd picture sizes included.
fn cases() -> Vec<Case> {
    let case = |[n, b, d, stride]: [usize; 4]| {
        let pixels: Vec<u8> = (0..n * d).map(|i| (i * 37 + i / 11) as u8).collect();
        let order = (0..n).map(|i| ((i * 7 + 3) % n) as u32).collect();
        Case::new(format!("{b}x{d} of {n}"), Params { b: b as u32, d: d as u32, stride: stride as u32 })
            .read_words(pack(&pixels))
            .read_words(order)
            .read_words(Clock::example().words())
            .assign(b * d, Tolerance::Because(1.2e-7, "a division of 8-bit integers may be off by an ulp"))
    };
    [[5, 1, 1, 2], [41, 17, 65, 17], [33, 5, 784, 20], [257, 128, 3, 128]].map(case).into()
}
