//! A kernel of one's own: WGSL, CPU reference, record functions, cases and gradient, and the check that holds them
//! together.
//!
//!     cargo run --release --example own_kernel
//!
//! The Charbonnier loss, sum_d sqrt((y - x)^2 + epsilon^2) - epsilon, is an absolute error that is smooth at 0. The
//! same check runs for every kernel of the project in `elbo check`.

use elbo::backend::{Device, choose, cpu::Cpu};
use elbo::cases::{Case, GradientCase, Tolerance, uniform};
use elbo::check::gradient;
use elbo::check::report;
use elbo::error::{Error, Result};
use elbo::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, params};
use elbo::kernels::joint;
use elbo::program::Recorder;
use elbo::tensor::Tensor;

/// The params uniform, field by field as in the shader.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct Params {
    b: u32,
    d: u32,
    epsilon: f32,
    scale: f32,
}

const SOURCE: Source = Source {
    file: "own_kernel.wgsl",
    text: include_str!("own_kernel.wgsl"),
    bindings: &["y", "x", "rows", "dy"],
    ..PLAIN_SOURCE
};

// ANCHOR: kernel
/// y (B,D), x (B,D) to rows (B), assigned.
pub static LOSS: Kernel = Kernel {
    name: "charbonnier.loss",
    formula: "rows[r] = sum_d sqrt((y - x)^2 + epsilon^2) - epsilon",
    params: &["B", "D", "epsilon", "scale"],
    reads: &["y", "x"],
    writes: &["rows"],
    shader: Shader { source: &SOURCE, entry: "loss", workgroup: [64, 1, 1], grid: |p, _| [p[0].div_ceil(64), 1, 1] },
    // The specification: obvious loops, sums in f64.
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let epsilon = f64::from(p.epsilon);
        for r in 0..p.b as usize {
            let term = |i: usize| (f64::from(reads[0][i]) - f64::from(reads[1][i])).hypot(epsilon) - epsilon;
            let d = p.d as usize;
            writes[0][r] = (r * d..(r + 1) * d).map(term).sum::<f64>() as f32;
        }
    },
    cost: |p| Cost { flops: 5 * u64::from(p[0] * p[1]), bytes: 8 * u64::from(p[0] * p[1]) },
    cases: || cases(|case, b, _| case.assign(b, Tolerance::Because(2e-5, "a sum of square roots of 2.5 ulp each"))),
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};
// ANCHOR_END: kernel

/// y (B,D), x (B,D) to dy (B,D), assigned.
pub static BACKWARD: Kernel = Kernel {
    name: "charbonnier.backward",
    formula: "dy = scale (y - x) / sqrt((y - x)^2 + epsilon^2)",
    writes: &["dy"],
    shader: Shader { entry: "backward", grid: |p, _| [(p[0] * p[1]).div_ceil(64), 1, 1], ..LOSS.shader },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        for i in 0..(p.b * p.d) as usize {
            let e = f64::from(reads[0][i]) - f64::from(reads[1][i]);
            writes[0][i] = (f64::from(p.scale) * e / e.hypot(f64::from(p.epsilon))) as f32;
        }
    },
    cases: || cases(|case, b, d| case.assign(b * d, Tolerance::Because(1e-6, "a quotient of rounded operations"))),
    ..LOSS
};

/// The loss of each row of y (B,D) against x (B,D): (B).
pub fn loss(r: &mut Recorder, y: Tensor, x: Tensor, epsilon: f32) -> Tensor {
    let [b, d] = y.matrix();
    let rows = r.tensor("rows", &[b]);
    r.dispatch(&LOSS, Params { b: b as u32, d: d as u32, epsilon, scale: 1.0 }, &[y, x], &[rows]);
    rows
}

/// dy (B,D) of `scale` times the sum of the rows.
pub fn backward(r: &mut Recorder, y: Tensor, x: Tensor, epsilon: f32, scale: f32) -> Tensor {
    let [b, d] = y.matrix();
    let dy = r.tensor("dy", &[b, d]);
    r.dispatch(&BACKWARD, Params { b: b as u32, d: d as u32, epsilon, scale }, &[y, x], &[dy]);
    dy
}

/// Inputs on which the shader and the reference must agree: odd sizes too.
fn cases(outputs: fn(Case, usize, usize) -> Case) -> Vec<Case> {
    let case = |(b, d): (usize, usize)| {
        let params = Params { b: b as u32, d: d as u32, epsilon: 0.1, scale: 0.5 };
        let case = Case::new(format!("{b}x{d}"), params);
        outputs(case.read(uniform(1, b * d, -1.0, 2.0)).read(uniform(2, b * d, 0.0, 1.0)), b, d)
    };
    [(1, 1), (3, 65), (65, 7), (128, 784)].map(case).into()
}

// ANCHOR: gradients
/// That the backward is the derivative of the forward: checked by finite differences.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "charbonnier of 3x5".into(),
        inputs: vec![(vec![3, 5], uniform(3, 15, -1.0, 2.0))],
        output: vec![3],
        record: Box::new(|r, inputs, dy| {
            let x = inputs[1].reshape(&[3, 5]);
            let rows = loss(r, inputs[0], x, 0.3);
            let gradient = backward(r, inputs[0], x, 0.3, 1.0);
            (rows, vec![joint::weigh(r, gradient, dy)])
        }),
        state: vec![("x", uniform(4, 15, 0.0, 1.0).into_iter().map(f32::to_bits).collect())],
    }]
}
// ANCHOR_END: gradients

/// Holds both kernels against their references on the devices of this machine, and the gradient against finite
/// differences.
pub fn check() -> Result<()> {
    let mut devices = vec![("cpu", Device::Cpu(Cpu::Accelerated))];
    devices.extend(choose::open("gpu").ok().map(|gpu| ("gpu", gpu)));
    for kernel in [&LOSS, &BACKWARD] {
        let report = report::kernel(kernel, &devices, |_| true)?;
        println!("{}: {} comparisons on {} devices", kernel.name, report.cases, devices.len());
        if !report.passed() {
            return Err(Error::Failed(format!("{} differs from its reference", kernel.name)));
        }
    }
    gradients().iter().try_for_each(|case| gradient::check(case).map_err(Error::Failed))
}

#[allow(dead_code, reason = "own_model.rs takes this file as a module")]
fn main() -> Result<()> {
    check()?;
    println!("the gradient is that of finite differences");
    Ok(())
}

#[test]
fn kernel_and_gradient_are_what_they_say() {
    check().unwrap();
}
