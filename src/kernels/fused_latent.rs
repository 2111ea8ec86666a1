//! The middle of a VAE, from the encoder's last activation to the decoder's first, in one dispatch each way,
//! `shaders/fused_latent.wgsl` on the buffers of `fused_latent_vec4.wgsl` or `fused_latent_any.wgsl`: the heads,
//! reparameterisation, KL and a linear layer. [`fusion`](crate::fusion) records them in place of about ten. Kingma &
//! Welling 2013, section 2.4 and appendix B.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};

use super::activation::Activation;
use super::clock::Row;
use super::gemm::{Store, View, product_here};
use super::threads::{chunk, chunks};
use super::tiles::Forms;
use super::{gaussian_kl, math, matmul, random, scratch};
use crate::kernel::{Candidate, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, Text, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// The largest Z: a workgroup keeps two rows of the heads in 128 places. Beyond it the products are worth dispatches of
/// their own.
pub const LARGEST: usize = 64;

mod cases;

// ---- Params

/// B rows of the batch, I inputs of the heads, Z latent dimensions, O outputs of the decoder's first layer. Places of
/// weights are words in the flat parameters; `scale` multiplies the KL's gradient beside the KL weight of the step.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    i: u32,
    z: u32,
    o: u32,
    before: u32,
    after: u32,
    site: u32,
    mean: u32,
    mean_b: u32,
    logvar: u32,
    logvar_b: u32,
    w: u32,
    bias: u32,
    scale: f32,
}

impl Params {
    fn sizes(self) -> [usize; 4] {
        [self.b, self.i, self.z, self.o].map(|v| v as usize)
    }

    /// Words of a head's weight: 0 for the mean, 1 for the logvar.
    fn head(self, which: usize) -> [Range<usize>; 2] {
        let [_, i, z, _] = self.sizes();
        let [w, b] = [[self.mean, self.mean_b], [self.logvar, self.logvar_b]][which].map(|v| v as usize);
        [w..w + z * i, b..b + z]
    }

    /// Words of the first layer's weight and bias.
    fn layer(self) -> [Range<usize>; 2] {
        let [_, _, z, o] = self.sizes();
        let [w, b] = [self.w as usize, self.bias as usize];
        [w..w + o * z, b..b + o]
    }

    /// What random.normal would draw for row r and dimension j.
    fn noise(self, clock: &[f32], r: usize, j: usize) -> f64 {
        random::normal_at(r * self.z as usize + j, self.site, clock) as f64
    }
}

// ---- Kernels

const FIELDS: &[&str] =
    &["B", "I", "Z", "O", "before", "after", "site", "mean", "mean_b", "logvar", "logvar_b", "w", "b", "scale"];

const BINDINGS: &[&str] = &["h", "parameters", "clock", "q", "z", "y", "kl", "dy", "saved", "dq", "dh"];
const ENTRIES: Text = Text { file: "fused_latent.wgsl", text: include_str!("../../shaders/fused_latent.wgsl") };
const COMMON: &[Text] = &[ENTRIES, super::ACTIVATION, super::CLOCK, super::PHILOX];

const VEC4: Source = Source {
    file: "fused_latent_vec4.wgsl",
    text: include_str!("../../shaders/fused_latent_vec4.wgsl"),
    common: COMMON,
    bindings: BINDINGS,
    ..PLAIN_SOURCE
};

const ANY: Source = Source {
    file: "fused_latent_any.wgsl",
    text: include_str!("../../shaders/fused_latent_any.wgsl"),
    common: COMMON,
    bindings: BINDINGS,
    ..PLAIN_SOURCE
};

/// A workgroup owns two rows.
const fn form(name: &'static str, source: &'static Source, entry: &'static str) -> Candidate {
    Candidate { name, shader: Shader { source, entry, workgroup: [256, 1, 1], grid: |p, _| [p[0].div_ceil(2), 1, 1] } }
}

const fn forms(entry: &'static str) -> Forms {
    Forms { vec4: form("vec4", &VEC4, entry), any: form("any", &ANY, entry) }
}

static PORTABLE: [Forms; 2] = [forms("forward"), forms("backward")];

/// Whether [`VEC4`] can run these params: I, Z and where the weights start are multiples of 4.
fn is_whole(p: &[u32]) -> bool {
    [p[1], p[2], p[7], p[9], p[11]].iter().all(|n| n.is_multiple_of(4))
}

/// h (B,I), the flat parameters and the clock to q (B,2Z), means before logvars, z (B,Z), y (B,O) and kl (B) in nats,
/// all assigned; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "fused_latent.forward",
    formula: "q = heads(h), z = mean + e^(logvar/2) * noise, kl = KL(q || N(0,1)), y = act(z W^T + b)",
    params: FIELDS,
    reads: &["h", "parameters", "clock"],
    writes: &["q", "z", "y", "kl"],
    shader: forms("forward").any.shader,
    candidates: Some(|p| vec![PORTABLE[0].suited(is_whole(p))]),
    reference: forward_reference,
    accelerated: Some(forward_accelerated),
    cost,
    cases: cases::forward,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
};

/// dy (B,O), the flat parameters, what [`FORWARD`] read and wrote, and the clock to dq (B,2Z) and dh (B,I), both
/// assigned; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "fused_latent.backward",
    formula: "dz = dy W, dq = (w mean + dz, w (e^logvar - 1)/2 + dz noise e^(logvar/2)/2), dh = (dq W_heads) * slope(h)",
    params: FIELDS,
    reads: &["dy", "parameters", "saved", "h", "clock"],
    writes: &["dq", "dh"],
    shader: forms("backward").any.shader,
    candidates: Some(|p| vec![PORTABLE[1].suited(is_whole(p))]),
    reference: backward_reference,
    accelerated: Some(backward_accelerated),
    cost,
    cases: cases::backward,
    gradients: GradientCheck::Cases(cases::gradients),
    ..PLAIN
};

/// Each pass reads every weight once and multiplies it with every row.
fn cost(p: &[u32]) -> Cost {
    let [b, i, z, o] = params::<Params>(p).sizes().map(|v| v as u64);
    let weights = 2 * z * i + o * z;
    Cost { flops: 2 * b * weights + 20 * b * z, bytes: 4 * (weights + b * (i + o + 3 * z)) }
}

// ---- Record

/// The layers between the two activations, as parameters of one arena.
#[derive(Clone, Copy, Debug)]
pub struct Middle {
    /// Weight (Z,I) and bias (Z) of the mean's head.
    pub mean: [Tensor; 2],
    /// Weight (Z,I) and bias (Z) of the logvar's head.
    pub logvar: [Tensor; 2],
    /// Weight (O,Z) and bias (O) of the decoder's first layer.
    pub layer: [Tensor; 2],
    /// The activation that left h: its slope must be known from its output.
    pub before: Activation,
    /// The first layer's, of the same kind.
    pub after: Activation,
    /// The random site of the noise.
    pub site: u32,
    /// What multiplies the KL's gradient beside the KL weight.
    pub scale: f32,
}

impl Middle {
    fn params(&self, h: Tensor, parameters: Tensor) -> Params {
        let ([b, i], [z, mean_i], [o, layer_z]) = (h.matrix(), self.mean[0].matrix(), self.layer[0].matrix());
        assert!(
            mean_i == i && self.logvar[0].shape() == [z, i] && layer_z == z,
            "latent: {self:?} does not fit h {h:?}"
        );
        assert!(z <= LARGEST, "latent: {z} dimensions, at most {LARGEST}");
        for part in self.mean.iter().chain(&self.logvar).chain(&self.layer) {
            assert!(part.buffer == parameters.buffer, "latent: {part:?} is no part of {parameters:?}");
        }
        let [b, i, z, o] = [b, i, z, o].map(|v| v as u32);
        let [mean, mean_b, logvar, logvar_b, w, bias] =
            [self.mean[0], self.mean[1], self.logvar[0], self.logvar[1], self.layer[0], self.layer[1]]
                .map(|t| t.offset as u32);
        let (before, after) = (self.before as u32, self.after as u32);
        Params {
            b,
            i,
            z,
            o,
            before,
            after,
            site: self.site,
            mean,
            mean_b,
            logvar,
            logvar_b,
            w,
            bias,
            scale: self.scale,
        }
    }
}

/// h (B,I) to y (B,O) on the way of a sample of q(z|x): assigns `y`, and returns q (B,2Z), z (B,Z) and kl (B).
pub fn forward(
    r: &mut Recorder,
    middle: &Middle,
    [h, parameters, clock]: [Tensor; 3],
    [z, y]: [Tensor; 2],
) -> [Tensor; 2] {
    let params = middle.params(h, parameters);
    let [b, _, latent, o] = params.sizes();
    assert!(z.shape() == [b, latent] && y.shape() == [b, o], "fused_latent.forward: z {z:?}, y {y:?}, {middle:?}");
    let (q, kl) = (r.tensor("q", &[b, 2 * latent]), r.tensor("kl", &[b]));
    r.dispatch(&FORWARD, params, &[h, parameters, clock], &[q, z, y, kl]);
    [q, kl]
}

/// dy (B,O) to dh (B,I), which is assigned; returns dq (B,2Z), what the heads' weights need.
pub fn backward(
    r: &mut Recorder,
    middle: &Middle,
    [dy, q]: [Tensor; 2],
    [h, parameters, clock]: [Tensor; 3],
    dh: Tensor,
) -> Tensor {
    let params = middle.params(h, parameters);
    assert!(dh.shape() == h.shape(), "fused_latent.backward: h {h:?}, dh {dh:?}");
    let dq = r.tensor("dq", q.shape());
    r.dispatch(&BACKWARD, params, &[dy, parameters, q, h, clock], &[dq, dh]);
    dq
}

// ---- References

fn dot(x: &[f32], w: &[f32]) -> f64 {
    x.iter().zip(w).map(|(&x, &w)| x as f64 * w as f64).sum()
}

fn forward_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, i, z, o] = p.sizes();
    let [h, parameters, clock] = [reads[0], reads[1], reads[2]];
    let [q, sample, y, kl] = writes else { unreachable!("fused_latent.forward writes q, z, y and kl") };
    let [layer_w, layer_b] = p.layer();
    let after = Activation::from_number(p.after);
    for r in 0..b {
        let h = &h[r * i..][..i];
        for which in 0..2 {
            let [w, bias] = p.head(which);
            for j in 0..z {
                let sum = dot(h, &parameters[w.start + j * i..][..i]);
                q[r * 2 * z + which * z + j] = (sum + parameters[bias.start + j] as f64) as f32;
            }
        }
        let mut divergence = 0.0;
        for j in 0..z {
            let [mean, logvar] = [q[r * 2 * z + j], q[r * 2 * z + z + j]].map(f64::from);
            sample[r * z + j] = (mean + (0.5 * logvar).exp() * p.noise(clock, r, j)) as f32;
            divergence += gaussian_kl::divergence(mean, logvar);
        }
        kl[r] = divergence as f32;
        for n in 0..o {
            let sum = dot(&sample[r * z..][..z], &parameters[layer_w.start + n * z..][..z]);
            y[r * o + n] = after.value(sum + parameters[layer_b.start + n] as f64) as f32;
        }
    }
}

fn backward_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, i, z, o] = p.sizes();
    let [dy, parameters, q, h, clock] = [reads[0], reads[1], reads[2], reads[3], reads[4]];
    let weight = p.scale as f64 * Row::read(clock).kl_weight as f64;
    let [layer_w, _] = p.layer();
    let heads = [p.head(0)[0].start, p.head(1)[0].start];
    let before = Activation::from_number(p.before);
    for r in 0..b {
        for j in 0..z {
            let dz: f64 = (0..o).map(|n| dy[r * o + n] as f64 * parameters[layer_w.start + n * z + j] as f64).sum();
            let [mean, logvar] = [q[r * 2 * z + j], q[r * 2 * z + z + j]].map(f64::from);
            let spread = p.noise(clock, r, j) * (0.5 * logvar).exp();
            writes[0][r * 2 * z + j] = (weight * mean + dz) as f32;
            writes[0][r * 2 * z + z + j] = (0.5 * weight * logvar.exp_m1() + 0.5 * dz * spread) as f32;
        }
        for k in 0..i {
            let part = |l: usize| writes[0][r * 2 * z + l] as f64 * parameters[heads[l / z] + l % z * i + k] as f64;
            let sum: f64 = (0..2 * z).map(part).sum();
            writes[1][r * i + k] = (sum * before.slope(h[r * i + k] as f64)) as f32;
        }
    }
}

// ---- Accelerated

/// Rows that a thread takes through a whole pass: its share of the batch, but no more than stay in its cache.
fn share(rows: usize) -> usize {
    rows.div_ceil(rayon::current_num_threads()).next_multiple_of(8).clamp(16, 256)
}

fn forward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, i, z, o] = p.sizes();
    let [h, parameters, clock] = [reads[0], reads[1], reads[2]];
    let [q, sample, y, kl] = writes else { unreachable!("fused_latent.forward writes q, z, y and kl") };
    let heads = [0, 1].map(|which| p.head(which).map(|words| &parameters[words]));
    let [w, bias] = p.layer().map(|words| &parameters[words]);
    let after = Activation::from_number(p.after);
    let share = share(b);
    let outputs = [
        (&mut q[..b * 2 * z], share * 2 * z),
        (&mut sample[..b * z], share * z),
        (&mut y[..b * o], share * o),
        (&mut kl[..b], share),
    ];
    chunks(outputs, 1, |n, [q, sample, y, kl]| {
        let (rows, h) = (kl.len(), chunk(&h[..b * i], share * i, n));
        for (which, [w, bias]) in heads.into_iter().enumerate() {
            let mut c = matmul::matrix(q, rows, 2 * z);
            let c = c.columns(which * z, z);
            product_here(c, [View::rows(h, i), View::rows(w, i).transposed()], i, Store::Assign, &|_, column, q| {
                matmul::bias_and_activation(q, &bias[column..], Activation::Identity);
            });
        }
        random::normals(n * share * z, sample, p.site, clock);
        math::vectorised(|| {
            for ((sample, q), kl) in sample.chunks_exact_mut(z).zip(q.chunks_exact(2 * z)).zip(kl) {
                let (mean, logvar) = q.split_at(z);
                let mut divergence = 0.0;
                for ((sample, &mean), &logvar) in sample.iter_mut().zip(mean).zip(logvar) {
                    let spread = math::exp(0.5 * logvar);
                    *sample = mean + spread * *sample;
                    divergence += mean * mean + spread * spread - 1.0 - logvar;
                }
                *kl = 0.5 * divergence;
            }
        });
        let operands = [View::rows(sample, z), View::rows(w, z).transposed()];
        product_here(matmul::matrix(y, rows, o), operands, z, Store::Assign, &|_, column, y| {
            matmul::bias_and_activation(y, &bias[column..], after);
        });
    });
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [b, i, z, o] = p.sizes();
    let [dy, parameters, q, h, clock] = [reads[0], reads[1], reads[2], reads[3], reads[4]];
    let weight = p.scale * Row::read(clock).kl_weight;
    let [dq, dh] = writes else { unreachable!("fused_latent.backward writes dq and dh") };
    let [layer, _] = p.layer().map(|words| View::rows(&parameters[words], z));
    let heads = [0, 1].map(|which| View::rows(&parameters[p.head(which)[0].clone()], i));
    let before = Activation::from_number(p.before);
    let share = share(b);
    let outputs = [(&mut dq[..b * 2 * z], share * 2 * z), (&mut dh[..b * i], share * i)];
    chunks(outputs, 1, |n, [dq, dh]| {
        let dy = chunk(&dy[..b * o], share * o, n);
        let q = chunk(&q[..b * 2 * z], share * 2 * z, n);
        let h = chunk(&h[..b * i], share * i, n);
        let rows = dy.len() / o;
        // dz in the place of dmean.
        let mut dz = matmul::matrix(dq, rows, 2 * z);
        product_here(dz.columns(0, z), [View::rows(dy, o), layer], o, Store::Assign, &|_, _, _| ());
        let mut noise = scratch::any(rows * z);
        random::normals(n * share * z, &mut noise, p.site, clock);
        math::vectorised(|| {
            let rows = dq.chunks_exact_mut(2 * z).zip(q.chunks_exact(2 * z)).zip(noise.chunks_exact(z));
            for ((dq, q), noise) in rows {
                let ((dmean, dlogvar), (mean, logvar)) = (dq.split_at_mut(z), q.split_at(z));
                for j in 0..z {
                    let (dz, spread) = (dmean[j], math::exp(0.5 * logvar[j]));
                    dmean[j] = weight * mean[j] + dz;
                    dlogvar[j] = 0.5 * weight * (spread * spread - 1.0) + 0.5 * dz * noise[j] * spread;
                }
            }
        });
        let dq = View::rows(dq, 2 * z);
        product_here(matmul::matrix(dh, rows, i), [dq, heads[0]], z, Store::Assign, &|_, _, _| ());
        let dlogvar = dq.from([0, z]);
        product_here(matmul::matrix(dh, rows, i), [dlogvar, heads[1]], z, Store::Add, &|row, column, dh| {
            before.multiply_slope(dh, &h[row * i + column..]);
        });
    });
}
