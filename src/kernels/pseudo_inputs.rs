//! Pictures that are parameters, held within 0 and 1, `shaders/pseudo_inputs.wgsl`: the pseudo-inputs of a VampPrior
//! (Tomczak & Welling 2018, arXiv 1705.07120).

use bytemuck::{Pod, Zeroable};

use super::activation::sigmoid;
use super::math;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    n: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "pseudo_inputs.wgsl",
    text: include_str!("../../shaders/pseudo_inputs.wgsl"),
    common: &[super::INDEX, super::ACTIVATION],
    bindings: &["w", "u", "du", "y", "dw"],
    ..PLAIN_SOURCE
};

/// w (N) to y = u (N), assigned; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "pseudo_inputs.forward",
    formula: "u = 1 / (1 + e^-w)",
    params: &["N"],
    reads: &["w"],
    writes: &["y"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize, 64),
    },
    reference: |p, reads, writes| {
        for (u, &w) in writes[0].iter_mut().zip(reads[0]).take(p[0] as usize) {
            *u = sigmoid(f64::from(w)) as f32;
        }
    },
    accelerated: Some(|p, reads, writes| {
        let n = p[0] as usize;
        math::map_pairs(&mut writes[0][..n], [&reads[0][..n]; 2], |w, _| math::sigmoid(w));
    }),
    cost: |p| Cost { flops: 3 * p[0] as u64, bytes: 8 * p[0] as u64 },
    cases: forward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// u and du (N); dw (N) is added to. Recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "pseudo_inputs.backward",
    formula: "dw += du u (1 - u)",
    params: &["N"],
    reads: &["u", "du"],
    writes: &["dw"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize, 64),
    },
    reference: |p, reads, writes| {
        for i in 0..p[0] as usize {
            let [u, du] = [reads[0][i], reads[1][i]].map(f64::from);
            writes[0][i] = (f64::from(writes[0][i]) + du * u * (1.0 - u)) as f32;
        }
    },
    accelerated: Some(|p, reads, writes| {
        let n = p[0] as usize;
        let [u, du] = [0, 1].map(|i| &reads[i][..n]);
        math::update_all_pairs(&mut writes[0][..n], [u, du], |dw, u, du| dw + du * u * (1.0 - u));
    }),
    cost: |p| Cost { flops: 4 * p[0] as u64, bytes: 16 * p[0] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

// ---- Record

/// u of w, of one shape.
pub fn forward(r: &mut Recorder, w: Tensor) -> Tensor {
    let u = r.tensor("u", w.shape());
    r.dispatch(&FORWARD, Params { n: w.len() as u32 }, &[w], &[u]);
    u
}

/// Adds the gradient of w to dw, from [`forward`]'s u and from du.
pub fn backward(r: &mut Recorder, u: Tensor, du: Tensor, dw: Tensor) {
    let fits = [du, dw].iter().all(|t| t.len() == u.len());
    assert!(fits, "pseudo_inputs.backward: u {u:?}, du {du:?}, dw {dw:?}");
    r.dispatch(&BACKWARD, Params { n: u.len() as u32 }, &[u, du], &[dw]);
}

// ---- Cases

const SIZES: [usize; 3] = [1, 65, 2 * 8192 + 77];

fn case(n: usize) -> Case {
    Case::new(format!("{n}"), Params { n: n as u32 })
}

fn forward_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(4e-7, "an exp of a negative number and a quotient");
    SIZES.map(|n| case(n).read(uniform(1, n, -20.0, 20.0)).assign(n, tolerance)).into()
}

fn backward_cases() -> Vec<Case> {
    let of = |n: usize| {
        let case = case(n).read(uniform(2, n, 0.0, 1.0)).read(uniform(3, n, -1.0, 1.0));
        case.update(uniform(4, n, -1.0, 1.0), Tolerance::Dot(4))
    };
    SIZES.map(of).into()
}

// ---- Gradients

fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "pseudo_inputs".into(),
        inputs: vec![(vec![3, 4], uniform(1, 12, -2.0, 2.0))],
        output: vec![3, 4],
        record: Box::new(|r, inputs, dy| {
            let u = forward(r, inputs[0]);
            let dw = r.tensor("dw", &[3, 4]);
            super::fill::forward(r, dw, 0.0); // it is added to
            backward(r, u, dy, dw);
            (u, vec![dw])
        }),
        state: vec![],
    }]
}
