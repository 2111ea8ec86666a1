//! Absolute error as the negative log-likelihood of a Laplace distribution with fixed scale b, `shaders/laplace.wgsl`:
//! p(x) = e^(-|x - y| / b) / (2 b).

use bytemuck::{Pod, Zeroable};

use super::math;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::kernels::weighted;
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// `scale` multiplies the gradient; `inverse_b` is 1/b, `constant` log(2b).
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    d: u32,
    scale: f32,
    inverse_b: f32,
    constant: f32,
}

impl Params {
    fn new([b, d]: [usize; 2], width: f32, scale: f32) -> Params {
        let width = width as f64;
        let [inverse_b, constant] = [1.0 / width, (2.0 * width).ln()].map(|v| v as f32);
        Params { b: b as u32, d: d as u32, scale, inverse_b, constant }
    }
}

// ---- Kernels

const FIELDS: &[&str] = &["B", "D", "scale", "inverse_b", "constant"];

const SOURCE: Source = Source {
    file: "laplace.wgsl",
    text: include_str!("../../shaders/laplace.wgsl"),
    common: &[super::INDEX, super::SUM],
    bindings: &["y", "x", "rows", "dy"],
    ..PLAIN_SOURCE
};

/// Medians y (B,D), x (B,D) to rows (B) in nats, assigned; recorded by [`loss`].
pub static LOSS: Kernel = Kernel {
    name: "laplace.loss",
    formula: "rows[r] = sum_d |y - x| / b + log(2b)",
    params: FIELDS,
    reads: &["y", "x"],
    writes: &["rows"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |p, _| [p[0], 1, 1] },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [b, d] = [p.b as usize, p.d as usize];
        for r in 0..b {
            let term = |i: usize| {
                let e = reads[0][i] as f64 - reads[1][i] as f64;
                p.inverse_b as f64 * e.abs() + p.constant as f64
            };
            writes[0][r] = (r * d..(r + 1) * d).map(term).sum::<f64>() as f32;
        }
    },
    accelerated: Some(loss_accelerated),
    cost: |p| Cost { flops: 4 * p[0] as u64 * p[1] as u64, bytes: 8 * p[0] as u64 * p[1] as u64 },
    cases: loss_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// y (B,D), x (B,D) to dy (B,D), assigned; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "laplace.backward",
    formula: "dy = scale * sign(y - x) / b, 0 where they are equal",
    params: FIELDS,
    reads: &["y", "x"],
    writes: &["dy"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        for i in 0..p.b as usize * p.d as usize {
            let e = reads[0][i] as f64 - reads[1][i] as f64;
            // Not `signum`, which takes 0 for positive.
            let side = if e == 0.0 { 0.0 } else { e.signum() };
            writes[0][i] = (p.scale as f64 * p.inverse_b as f64 * side) as f32;
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: 3 * p[0] as u64 * p[1] as u64, bytes: 12 * p[0] as u64 * p[1] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

// ---- Record

fn sizes(y: Tensor, x: Tensor, width: f32, scale: f32) -> Params {
    assert!(y.shape() == x.shape(), "laplace: y {y:?}, x {x:?}");
    Params::new(y.matrix(), width, scale)
}

/// -log Laplace(x; y, b) of each row in nats: y (B,D), x (B,D) to (B). `width` is b.
pub fn loss(r: &mut Recorder, y: Tensor, x: Tensor, width: f32) -> Tensor {
    let params = sizes(y, x, width, 1.0);
    let rows = r.tensor("recon", &[params.b as usize]);
    r.dispatch(&LOSS, params, &[y, x], &[rows]);
    rows
}

/// dy of scale * sum of the rows: (B,D).
pub fn backward(r: &mut Recorder, y: Tensor, x: Tensor, width: f32, scale: f32) -> Tensor {
    let params = sizes(y, x, width, scale);
    let dy = r.tensor("dy", y.shape());
    r.dispatch(&BACKWARD, params, &[y, x], &[dy]);
    dy
}

// ---- Accelerated

fn loss_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    math::row_sums(&mut writes[0][..p.b as usize], [reads[0], reads[1]], p.d as usize, |y, x| {
        p.inverse_b * (y - x).abs() + p.constant
    });
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let n = p.b as usize * p.d as usize;
    let factor = p.scale * p.inverse_b;
    math::map_pairs(&mut writes[0][..n], [reads[0], reads[1]], |y, x| {
        let e = y - x;
        let side = if e > 0.0 { 1.0 } else { e };
        factor * (if side < 0.0 { -1.0 } else { side })
    });
}

// ---- Cases

const SIZES: [[usize; 2]; 4] = [[1, 1], [17, 65], [128, 784], [3, 257]];

fn inputs([b, d]: [usize; 2]) -> Case {
    let mut y = uniform(1, b * d, -1.0, 1.0);
    let mut x = uniform(2, b * d, 0.0, 1.0);
    for ((y, x), extreme) in y.iter_mut().zip(&mut x).zip([[0.5, 0.0], [1.0, 1.0], [1e4, 1.0], [-1e4, 0.0]]) {
        [*y, *x] = extreme;
    }
    Case::new(format!("{b}x{d}"), Params::new([b, d], 0.3, 0.5)).read(y).read(x)
}

fn loss_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-6, "hundreds of terms, relative to their sum");
    SIZES.map(|[b, d]| inputs([b, d]).assign(b, tolerance)).into()
}

fn backward_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(3e-7, "one rounded product");
    SIZES.map(|[b, d]| inputs([b, d]).assign(b * d, tolerance)).into()
}

// ---- Gradients

/// For the finite-difference check: the sum of the rows, away from y = x.
fn gradients() -> Vec<GradientCase> {
    // Away from the kink at y = x, which no finite difference may cross.
    let y = uniform(1, 21, -1.0, 1.0).into_iter().map(|y| if y > 0.2 { y + 0.2 } else { y }).collect();
    vec![GradientCase {
        label: "laplace".into(),
        inputs: vec![(vec![3, 7], y)],
        output: vec![1],
        record: Box::new(|r, inputs, dy| {
            let x = r.tensor("x", &[3, 7]);
            super::fill::forward(r, x, 0.3);
            let rows = loss(r, inputs[0], x, 0.7);
            let y = super::reduce::whole(r, rows.reshape(&[1, 3]));
            let gradient = backward(r, inputs[0], x, 0.7, 1.0);
            (y, vec![weighted(r, dy, gradient)])
        }),
        state: vec![],
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_density_integrates_to_1() {
        for width in [0.01, 0.3, 2.0] {
            let (points, step) = (4001, 0.01 * width);
            let x: Vec<f32> = (0..points).map(|i| 0.4 + (i as f32 - 2000.0) * step).collect();
            let mut nats = vec![0.0; points];
            let words = bytemuck::pod_collect_to_vec(&[Params::new([points, 1], width, 1.0)]);
            (LOSS.reference)(&words, &[&vec![0.4; points], &x], &mut [&mut nats]);
            let sum: f64 = nats.iter().map(|&n| (-f64::from(n)).exp() * f64::from(step)).sum();
            assert!((sum - 1.0).abs() < 1e-4, "b {width}: {sum}");
        }
    }
}
