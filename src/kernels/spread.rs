//! Mean and standard deviation over S rows that belong together, `shaders/spread.wgsl`: where several draws of the same
//! thing differ.

use bytemuck::{Pod, Zeroable};

use super::threads::{chunk, chunks};
use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    s: u32,
    d: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "spread.wgsl",
    text: include_str!("../../shaders/spread.wgsl"),
    common: &[super::INDEX],
    bindings: &["x", "mean", "deviation"],
    ..PLAIN_SOURCE
};

/// x (B*S,D) to mean and deviation (B,D), assigned; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "spread.forward",
    formula: "mean[b,d] = sum_s x[b*S + s, d] / S, deviation[b,d] = sqrt(sum_s (x - mean)^2 / S)",
    params: &["B", "S", "D"],
    reads: &["x"],
    writes: &["mean", "deviation"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[2] as usize, 64),
    },
    reference: |p, reads, writes| {
        let [b, s, d] = [0, 1, 2].map(|n| p[n] as usize);
        for i in 0..b * d {
            let [row, column] = [i / d, i % d];
            let values = (0..s).map(|k| reads[0][(row * s + k) * d + column] as f64);
            let mean = values.clone().sum::<f64>() / s as f64;
            writes[0][i] = mean as f32;
            writes[1][i] = (values.map(|x| (x - mean) * (x - mean)).sum::<f64>() / s as f64).sqrt() as f32;
        }
    },
    accelerated: Some(accelerated),
    cost: |p| {
        let [b, s, d] = [0, 1, 2].map(|n| p[n] as u64);
        Cost { flops: 4 * b * s * d, bytes: 4 * (b * s * d + 2 * b * d) }
    },
    cases,
    gradients: GradientCheck::None("is looked at, and trains nothing"),
    ..PLAIN
};

// ---- Record

/// (B*S,D) to mean and deviation, (B,D) each: rows b*S to b*S + S - 1 make row b.
pub fn forward(r: &mut Recorder, x: Tensor, draws: usize) -> (Tensor, Tensor) {
    let [rows, d] = x.matrix();
    assert!(rows.is_multiple_of(draws), "spread.forward: {draws} draws do not part x {x:?}");
    let b = rows / draws;
    let (mean, deviation) = (r.tensor("mean", &[b, d]), r.tensor("deviation", &[b, d]));
    r.dispatch(&FORWARD, Params { b: b as u32, s: draws as u32, d: d as u32 }, &[x], &[mean, deviation]);
    (mean, deviation)
}

// ---- Accelerated

/// Row by row, so that memory is read in its order; threads share the groups.
fn accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [b, s, d] = [0, 1, 2].map(|n| p[n] as usize);
    let [mean, deviation] = writes else { unreachable!("spread.forward writes mean and deviation") };
    chunks([(&mut mean[..b * d], d), (&mut deviation[..b * d], d)], 1, |i, [mean, deviation]| {
        let group = chunk(reads[0], s * d, i);
        let share = 1.0 / s as f32;
        mean.fill(0.0);
        group.chunks(d).for_each(|row| mean.iter_mut().zip(row).for_each(|(m, &x)| *m += x));
        mean.iter_mut().for_each(|m| *m *= share);
        deviation.fill(0.0);
        for row in group.chunks(d) {
            deviation.iter_mut().zip(row).zip(&*mean).for_each(|((v, &x), &m)| *v += (x - m) * (x - m));
        }
        deviation.iter_mut().for_each(|v| *v = (*v * share).sqrt());
    });
}

// ---- Cases

fn cases() -> Vec<Case> {
    let case = |[b, s, d]: [usize; 3]| {
        let tolerance = Tolerance::Because(1e-6, "a sum of up to 65 numbers, and the root of one of squares");
        Case::new(format!("{b}x{d} of {s}"), Params { b: b as u32, s: s as u32, d: d as u32 })
            .read(uniform(1, b * s * d, 0.0, 1.0))
            .assign(b * d, tolerance)
            .assign(b * d, tolerance)
    };
    [[1, 2, 1], [17, 3, 65], [3, 65, 257], [65, 17, 1], [16, 10, 784]].map(case).into()
}
