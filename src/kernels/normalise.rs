//! Rows divided by their Euclidean length, `shaders/normalise.wgsl`: so that what a network is shown of an example does
//! not grow with the number of its items. Data has no gradient.

use bytemuck::{Pod, Zeroable};

use super::math;
use super::threads::{chunk, chunks};
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// The Euclidean length that each of the B rows of I numbers gets.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    i: u32,
    length: f32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "normalise.wgsl",
    text: include_str!("../../shaders/normalise.wgsl"),
    common: &[super::SUM],
    bindings: &["x", "y"],
    ..PLAIN_SOURCE
};

/// x (B,I) to y (B,I), assigned; a row of zeros stays one. Recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "normalise.forward",
    formula: "y[r,i] = length * x[r,i] / sqrt(sum_i x[r,i]^2)",
    params: &["B", "I", "length"],
    reads: &["x"],
    writes: &["y"],
    shader: Shader { source: &SOURCE, entry: "forward", workgroup: [64, 1, 1], grid: |p, _| [p[0], 1, 1] },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let i = p.i as usize;
        for (y, x) in writes[0].chunks_mut(i).zip(reads[0].chunks(i)).take(p.b as usize) {
            let squares: f64 = x.iter().map(|&x| (x as f64).powi(2)).sum();
            let factor = if squares == 0.0 { 0.0 } else { p.length as f64 / squares.sqrt() };
            y.iter_mut().zip(x).for_each(|(y, &x)| *y = (factor * x as f64) as f32);
        }
    },
    accelerated: Some(accelerated),
    cost: |p| Cost { flops: 3 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases,
    gradients: GradientCheck::None("scales data, which nothing trains"),
    ..PLAIN
};

// ---- Record

/// The rows of x (B,I) at this Euclidean length.
pub fn forward(r: &mut Recorder, x: Tensor, length: f32) -> Tensor {
    let [b, i] = x.matrix();
    let y = r.tensor("normalised", x.shape());
    r.dispatch(&FORWARD, Params { b: b as u32, i: i as u32, length }, &[x], &[y]);
    y
}

// ---- Accelerated

fn accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, i] = [p.b as usize, p.i as usize];
    chunks([(&mut writes[0][..b * i], i)], (super::CHUNK / i).max(1), |r, [y]| {
        let x = chunk(reads[0], i, r);
        let squares = math::sum_pairs([x, x], |a, b| a * b);
        let factor = if squares == 0.0 { 0.0 } else { p.length / squares.sqrt() };
        y.copy_from_slice(x);
        math::update(y, move |x| factor * x);
    });
}

// ---- Cases

/// Zeros and ones, as items have them, and other numbers; the first row is zeros.
fn cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-6, "a sum of up to a thousand squares, its root, a division");
    let case = |[b, i]: [usize; 2]| {
        let mut x = uniform(1, b * i, -1.0, 1.0);
        x[i..].iter_mut().step_by(3).for_each(|x| *x = 1.0);
        x[..i].fill(0.0);
        Case::new(format!("{b}x{i}"), Params { b: b as u32, i: i as u32, length: 2.0 }).read(x).assign(b * i, tolerance)
    };
    [[1, 1], [3, 1], [17, 65], [5, 257], [64, 1001]].map(case).into()
}
