//! z = mean + e^(logvar/2) * noise, `shaders/reparameterise.wgsl` (Kingma & Welling 2013, section 2.4).

use bytemuck::{Pod, Zeroable};
use pulp::{Arch, Simd, WithSimd};

use super::threads::chunks;
use super::{CHUNK, math};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d};
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
    file: "reparameterise.wgsl",
    text: include_str!("../../shaders/reparameterise.wgsl"),
    common: &[super::INDEX],
    bindings: &["mean", "logvar", "noise", "dz", "z", "dmean", "dlogvar"],
    ..PLAIN_SOURCE
};

// ANCHOR: kernel
/// mean, logvar and noise (B,Z), N = B*Z, to z (B,Z), assigned; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "reparameterise.forward",
    formula: "z = mean + e^(logvar/2) * noise",
    params: &["N"],
    reads: &["mean", "logvar", "noise"],
    writes: &["z"],
    shader: Shader { source: &SOURCE, entry: "forward", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| {
        for i in 0..p[0] as usize {
            let [mean, logvar, noise] = [reads[0][i], reads[1][i], reads[2][i]].map(f64::from);
            writes[0][i] = (mean + (0.5 * logvar).exp() * noise) as f32;
        }
    },
    accelerated: Some(forward_accelerated),
    cost: |p| Cost { flops: 4 * p[0] as u64, bytes: 16 * p[0] as u64 },
    cases: forward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};
// ANCHOR_END: kernel

/// logvar, noise and dz (B,Z); dmean and dlogvar (B,Z) are added to. Recorded by [`backward`], after
/// [`gaussian_kl::BACKWARD`](super::gaussian_kl::BACKWARD) has assigned them.
pub static BACKWARD: Kernel = Kernel {
    name: "reparameterise.backward",
    formula: "dmean += dz, dlogvar += dz * noise * e^(logvar/2) / 2",
    params: &["N"],
    reads: &["logvar", "noise", "dz"],
    writes: &["dmean", "dlogvar"],
    shader: Shader { source: &SOURCE, entry: "backward", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| {
        for i in 0..p[0] as usize {
            let [logvar, noise, dz] = [reads[0][i], reads[1][i], reads[2][i]].map(f64::from);
            writes[0][i] += dz as f32;
            writes[1][i] += (0.5 * dz * noise * (0.5 * logvar).exp()) as f32;
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: 6 * p[0] as u64, bytes: 28 * p[0] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

fn grid(p: &[u32], _: &[Constant]) -> [u32; 3] {
    grid_1d(p[0] as usize, 64)
}

// ---- Record

// ANCHOR: record
/// z = mean + e^(logvar/2) * noise, all (B,Z).
pub fn forward(r: &mut Recorder, mean: Tensor, logvar: Tensor, noise: Tensor) -> Tensor {
    assert!(mean.shape() == logvar.shape(), "reparameterise.forward: mean {mean:?}, logvar {logvar:?}");
    assert!(mean.shape() == noise.shape(), "reparameterise.forward: mean {mean:?}, noise {noise:?}");
    let z = r.tensor("z", mean.shape());
    r.dispatch(&FORWARD, Params { n: mean.len() as u32 }, &[mean, logvar, noise], &[z]);
    z
}
// ANCHOR_END: record

/// Adds the gradients through z to `dmean` and `dlogvar`, which the KL term's backward has assigned. All (B,Z).
pub fn backward(r: &mut Recorder, logvar: Tensor, noise: Tensor, dz: Tensor, dmean: Tensor, dlogvar: Tensor) {
    for other in [noise, dz, dmean, dlogvar] {
        assert!(logvar.shape() == other.shape(), "reparameterise.backward: logvar {logvar:?}, other {other:?}");
    }
    r.dispatch(&BACKWARD, Params { n: dz.len() as u32 }, &[logvar, noise, dz], &[dmean, dlogvar]);
}

// ---- Accelerated

fn forward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let n = p[0] as usize;
    chunks([(&mut writes[0][..n], CHUNK)], 1, |i, [z]| {
        let [mean, logvar, noise] = [0, 1, 2].map(|t| &reads[t][i * CHUNK..][..z.len()]);
        z.copy_from_slice(mean);
        math::update_pairs(z, [logvar, noise], |mean, logvar, noise| mean + math::exp(0.5 * logvar) * noise);
    });
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let n = p[0] as usize;
    let [dmean, dlogvar] = writes else { unreachable!("reparameterise.backward writes dmean and dlogvar") };
    chunks([(&mut dmean[..n], CHUNK), (&mut dlogvar[..n], CHUNK)], 1, |i, [dmean, dlogvar]| {
        let [logvar, noise, dz] = [0, 1, 2].map(|t| &reads[t][i * CHUNK..][..dmean.len()]);
        Arch::new().dispatch(Backward { logvar, noise, dz, dmean, dlogvar });
    });
}

/// One thread's piece.
struct Backward<'a> {
    logvar: &'a [f32],
    noise: &'a [f32],
    dz: &'a [f32],
    dmean: &'a mut [f32],
    dlogvar: &'a mut [f32],
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let outputs = self.dmean.iter_mut().zip(self.dlogvar);
        for (((dmean, dlogvar), &dz), (&noise, &logvar)) in outputs.zip(self.dz).zip(self.noise.iter().zip(self.logvar))
        {
            *dmean += dz;
            *dlogvar += 0.5 * dz * noise * math::exp(0.5 * logvar);
        }
    }
}

// ---- Cases

// ANCHOR: cases
const TOLERANCE: Tolerance = Tolerance::Because(1e-6, "exp of an argument of size 2: 3 + 2|x| ulp");

fn forward_cases() -> Vec<Case> {
    let case = |n: usize| {
        Case::new(format!("{n}"), Params { n: n as u32 })
            .read(uniform(1, n, -2.0, 2.0))
            .read(uniform(2, n, -4.0, 4.0))
            .read(uniform(3, n, -3.0, 3.0))
            .assign(n, TOLERANCE)
    };
    [1, 63, 65, 1001].map(case).into()
}
// ANCHOR_END: cases

fn backward_cases() -> Vec<Case> {
    let case = |n: usize| {
        Case::new(format!("{n}"), Params { n: n as u32 })
            .read(uniform(4, n, -4.0, 4.0))
            .read(uniform(5, n, -3.0, 3.0))
            .read(uniform(6, n, -1.0, 1.0))
            .update(uniform(7, n, -1.0, 1.0), TOLERANCE)
            .update(uniform(8, n, -1.0, 1.0), TOLERANCE)
    };
    [1, 63, 65, 1001].map(case).into()
}

// ---- Gradients

// ANCHOR: gradients
/// For the finite-difference check: mean and logvar, the noise fixed.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "reparameterise".into(),
        inputs: vec![(vec![3, 5], uniform(1, 15, -2.0, 2.0)), (vec![3, 5], uniform(2, 15, -2.0, 2.0))],
        output: vec![3, 5],
        record: Box::new(|r, inputs, dy| {
            let noise = r.tensor("noise", &[3, 5]);
            super::fill::forward(r, noise, 0.8);
            let z = forward(r, inputs[0], inputs[1], noise);
            let (dmean, dlogvar) = (r.tensor("dmean", &[3, 5]), r.tensor("dlogvar", &[3, 5]));
            backward(r, inputs[1], noise, dy, dmean, dlogvar);
            (z, vec![dmean, dlogvar])
        }),
        state: vec![],
    }]
}
// ANCHOR_END: gradients
