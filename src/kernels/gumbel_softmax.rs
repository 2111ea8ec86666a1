//! Samples of categorical variables and their relaxation, `shaders/gumbel_softmax.wgsl`: Jang et al. 2016 (arXiv
//! 1611.01144), Maddison et al. 2016 (arXiv 1611.00712). R rows, each a variable of K classes.

use bytemuck::{Pod, Zeroable};

use super::{CHUNK, clock, math, threads};
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Constant, Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    r: u32,
    k: u32,
}

impl Params {
    fn sizes(self) -> [usize; 2] {
        [self.r as usize, self.k as usize]
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "gumbel_softmax.wgsl",
    text: include_str!("../../shaders/gumbel_softmax.wgsl"),
    common: &[super::INDEX, super::CLOCK],
    bindings: &["logits", "noise", "clock", "soft", "dy", "y", "dlogits"],
    ..PLAIN_SOURCE
};

/// Logits and uniform noise (R,K) and the clock, whose first knob is the temperature, to y (R,K), assigned: points of
/// the simplex, near its corners where the temperature is low. Recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "gumbel_softmax.forward",
    formula: "y = softmax((logits + g) / temperature), g = -log(-log noise)",
    reads: &["logits", "noise", "clock"],
    writes: &["y"],
    shader: Shader { source: &SOURCE, entry: "forward", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| {
        let [r, k] = params::<Params>(p).sizes();
        let temperature = f64::from(clock::Row::read(reads[2]).knobs[0]);
        for row in (0..r).map(|row| row * k..(row + 1) * k) {
            let score = |i: usize| (f64::from(reads[0][i]) + gumbel(reads[1][i])) / temperature;
            let most = row.clone().map(score).fold(f64::NEG_INFINITY, f64::max);
            let sum: f64 = row.clone().map(|i| (score(i) - most).exp()).sum();
            for i in row {
                writes[0][i] = ((score(i) - most).exp() / sum) as f32;
            }
        }
    },
    accelerated: Some(forward_accelerated),
    cost: |p| cost(p, 20, 12),
    cases: forward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..KERNEL
};

/// What [`FORWARD`] wrote, as soft, dy (R,K) and the clock; dlogits (R,K) is added to. Recorded by [`backward`], after
/// [`categorical_kl::BACKWARD`](super::categorical_kl::BACKWARD) has assigned it.
pub static BACKWARD: Kernel = Kernel {
    name: "gumbel_softmax.backward",
    formula: "dlogits += soft * (dy - <soft, dy>) / temperature",
    reads: &["soft", "dy", "clock"],
    writes: &["dlogits"],
    shader: Shader { source: &SOURCE, entry: "backward", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| {
        let [r, k] = params::<Params>(p).sizes();
        let temperature = f64::from(clock::Row::read(reads[2]).knobs[0]);
        for row in (0..r).map(|row| row * k..(row + 1) * k) {
            let inner: f64 = row.clone().map(|i| f64::from(reads[0][i]) * f64::from(reads[1][i])).sum();
            for i in row {
                writes[0][i] += (f64::from(reads[0][i]) * (f64::from(reads[1][i]) - inner) / temperature) as f32;
            }
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| cost(p, 5, 16),
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..KERNEL
};

/// Logits and uniform noise (R,K) to y (R,K), assigned: each row a one-hot sample of softmax(logits), by the Gumbel-max
/// trick. Recorded by [`sample`].
pub static SAMPLE: Kernel = Kernel {
    name: "gumbel_softmax.sample",
    formula: "y = one-hot(argmax(logits + g)), g = -log(-log noise), the first of equal ones",
    reads: &["logits", "noise"],
    writes: &["y"],
    shader: Shader { source: &SOURCE, entry: "sample", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| {
        let sizes = params::<Params>(p).sizes();
        one_hot(writes[0], sizes, |i| f64::from(reads[0][i]) + gumbel(reads[1][i]));
    },
    cost: |p| cost(p, 12, 12),
    cases: sample_cases,
    gradients: GradientCheck::None(
        "a sample moves in steps; straight-through estimators take the relaxation's gradient",
    ),
    ..KERNEL
};

/// Logits (R,K) to y (R,K), assigned: 1 at each row's largest. Recorded by [`mode`].
pub static MODE: Kernel = Kernel {
    name: "gumbel_softmax.mode",
    formula: "y = one-hot(argmax(logits)), the first of equal ones",
    reads: &["logits"],
    writes: &["y"],
    shader: Shader { source: &SOURCE, entry: "mode", workgroup: [64, 1, 1], grid },
    reference: |p, reads, writes| one_hot(writes[0], params::<Params>(p).sizes(), |i| f64::from(reads[0][i])),
    cost: |p| cost(p, 1, 8),
    cases: mode_cases,
    gradients: GradientCheck::None("an argmax moves in steps: its gradient is 0 wherever it has one"),
    ..KERNEL
};

const KERNEL: Kernel = Kernel { params: &["R", "K"], ..PLAIN };

fn grid(p: &[u32], _: &[Constant]) -> [u32; 3] {
    grid_1d(p[0] as usize, 64)
}

fn cost(p: &[u32], flops: u64, bytes: u64) -> Cost {
    let elements = u64::from(p[0]) * u64::from(p[1]);
    Cost { flops: flops * elements, bytes: bytes * elements }
}

// ---- Record

fn sizes(logits: Tensor, other: Tensor, name: &str) -> Params {
    assert!(logits.shape() == other.shape(), "gumbel_softmax.{name}: {logits:?} and {other:?}");
    let [r, k] = logits.matrix();
    Params { r: r as u32, k: k as u32 }
}

/// y = softmax((logits + g) / temperature), all (R,K); the temperature is the clock's first knob for this step.
pub fn forward(r: &mut Recorder, logits: Tensor, noise: Tensor, clock: Tensor) -> Tensor {
    let params = sizes(logits, noise, "forward");
    let y = r.tensor("y", logits.shape());
    r.dispatch(&FORWARD, params, &[logits, noise, clock], &[y]);
    y
}

/// Adds the gradient through the relaxed sample `soft` to `dlogits`, which the KL's backward has assigned. All (R,K).
pub fn backward(r: &mut Recorder, [soft, dy]: [Tensor; 2], clock: Tensor, dlogits: Tensor) {
    let params = sizes(soft, dy, "backward");
    assert!(soft.shape() == dlogits.shape(), "gumbel_softmax.backward: soft {soft:?}, dlogits {dlogits:?}");
    r.dispatch(&BACKWARD, params, &[soft, dy, clock], &[dlogits]);
}

/// One-hot samples of softmax(logits), both (R,K), by uniform noise (R,K).
pub fn sample(r: &mut Recorder, logits: Tensor, noise: Tensor) -> Tensor {
    let params = sizes(logits, noise, "sample");
    let y = r.tensor("z", logits.shape());
    r.dispatch(&SAMPLE, params, &[logits, noise], &[y]);
    y
}

/// One-hot rows (R,K): 1 at the largest number of each row of (R,K).
pub fn mode(r: &mut Recorder, logits: Tensor) -> Tensor {
    let y = r.tensor("z", logits.shape());
    r.dispatch(&MODE, sizes(logits, logits, "mode"), &[logits], &[y]);
    y
}

// ---- References

/// The uniform numbers that u is held between: the nearest to 0 and 1 that [`random`](super::random) draws.
const BOUNDS: [f32; 2] = [1.0 / 16_777_216.0, 1.0 - 1.0 / 16_777_216.0];

/// -log(-log u), a number of the standard Gumbel distribution for u ~ U(0,1).
fn gumbel(u: f32) -> f64 {
    -(-f64::from(u.clamp(BOUNDS[0], BOUNDS[1])).ln()).ln()
}

/// Rows (R,K) with a 1 at the first of the largest scores.
fn one_hot(y: &mut [f32], [r, k]: [usize; 2], score: impl Fn(usize) -> f64) {
    for row in 0..r {
        let best = (row * k..(row + 1) * k).fold(row * k, |best, i| if score(i) > score(best) { i } else { best });
        y[row * k..(row + 1) * k].fill(0.0);
        y[best] = 1.0;
    }
}

// ---- Accelerated

/// As [`gumbel`]; near 1, where -log u is the small difference of numbers near 1, by its series.
#[inline(always)]
fn gumbel_f32(u: f32) -> f32 {
    let v = u.clamp(BOUNDS[0], BOUNDS[1]);
    let t = 1.0 - v;
    let series = t * (1.0 + t * (0.5 + t * (1.0 / 3.0 + t * 0.25)));
    let e = if t < 1.0 / 64.0 { series } else { -math::ln(v) };
    -math::ln(e)
}

/// Numbers of whole rows that a thread takes at a time.
fn chunk(k: usize) -> usize {
    k * (CHUNK / k).max(1)
}

fn forward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [r, k] = params::<Params>(p).sizes();
    let scale = 1.0 / clock::Row::read(reads[2]).knobs[0];
    threads::chunks([(&mut writes[0][..r * k], chunk(k))], 1, |i, [y]| {
        let [logits, noise] = [0, 1].map(|t| &reads[t][i * chunk(k)..][..y.len()]);
        math::update_pairs(y, [logits, noise], move |_, logit, u| (logit + gumbel_f32(u)) * scale);
        for row in y.chunks_mut(k) {
            let most = row.iter().fold(f32::NEG_INFINITY, |most, &s| if s > most { s } else { most });
            row.iter_mut().for_each(|s| *s -= most);
        }
        math::update(y, math::exp);
        for row in y.chunks_mut(k) {
            let sum: f32 = row.iter().sum();
            row.iter_mut().for_each(|e| *e /= sum);
        }
    });
}

fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [r, k] = params::<Params>(p).sizes();
    let scale = 1.0 / clock::Row::read(reads[2]).knobs[0];
    threads::chunks([(&mut writes[0][..r * k], chunk(k))], 1, |i, [dlogits]| {
        let [soft, dy] = [0, 1].map(|t| &reads[t][i * chunk(k)..][..dlogits.len()]);
        for ((d, soft), dy) in dlogits.chunks_mut(k).zip(soft.chunks(k)).zip(dy.chunks(k)) {
            let inner: f32 = soft.iter().zip(dy).map(|(s, dy)| s * dy).sum();
            d.iter_mut().zip(soft.iter().zip(dy)).for_each(|(d, (s, dy))| *d += scale * s * (dy - inner));
        }
    });
}

// ---- Cases

/// (R,K): one class, odd sizes, the preset's 128 x 20 variables of 10.
const SIZES: [[usize; 2]; 5] = [[1, 1], [17, 2], [65, 17], [257, 3], [2560, 10]];

fn case([r, k]: [usize; 2]) -> Case {
    Case::new(format!("{r}x{k}"), Params { r: r as u32, k: k as u32 })
}

/// Uniform numbers with some at both ends.
fn noise(n: usize) -> Vec<f32> {
    let mut u = uniform(2, n, 0.0, 1.0);
    u.iter_mut().step_by(7).for_each(|u| *u = 0.0);
    u.iter_mut().skip(3).step_by(11).for_each(|u| *u = BOUNDS[1]);
    u
}

fn forward_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(2e-5, "a log of a log, of which the inner one is good to 2^-21 near 1");
    let of = |[r, k]: [usize; 2]| {
        let case = case([r, k]).read(uniform(1, r * k, -3.0, 3.0)).read(noise(r * k));
        case.read_words(clock::Clock::example().words()).assign(r * k, tolerance)
    };
    SIZES.map(of).into()
}

fn backward_cases() -> Vec<Case> {
    let of = |[r, k]: [usize; 2]| {
        let case = case([r, k]).read(uniform(3, r * k, 0.0, 1.0)).read(uniform(4, r * k, -1.0, 1.0));
        let case = case.read_words(clock::Clock::example().words());
        case.update(uniform(5, r * k, -1.0, 1.0), Tolerance::Dot(4 * k))
    };
    SIZES.map(of).into()
}

fn sample_cases() -> Vec<Case> {
    let of = |[r, k]: [usize; 2]| {
        let case = case([r, k]).read(uniform(1, r * k, -3.0, 3.0)).read(uniform(6, r * k, 0.0, 1.0));
        case.assign(r * k, Tolerance::Exact)
    };
    SIZES.map(of).into()
}

/// Logits on a coarse grid, so that many rows have a tie.
fn mode_cases() -> Vec<Case> {
    let of = |[r, k]: [usize; 2]| {
        let logits = uniform(7, r * k, -3.0, 3.0).into_iter().map(f32::round).collect();
        case([r, k]).read(logits).assign(r * k, Tolerance::Exact)
    };
    SIZES.map(of).into()
}

// ---- Gradients

/// For the finite-difference check: the relaxed sample at a temperature of 0.7, on noise that is held.
fn gradients() -> Vec<GradientCase> {
    let row = clock::Row { knobs: [0.7, 0.0, 0.0, 0.0], ..clock::Row::default() };
    let clock = clock::Clock { rows: vec![row], ..clock::Clock::unit() };
    let noise = uniform(2, 20, 0.05, 0.95).into_iter().map(f32::to_bits).collect();
    vec![GradientCase {
        label: "gumbel_softmax".into(),
        inputs: vec![(vec![5, 4], uniform(1, 20, -1.0, 1.0))],
        output: vec![5, 4],
        record: Box::new(|r, inputs, dy| {
            let [logits, noise, clock] = [inputs[0], inputs[1].reshape(&[5, 4]), inputs[2]];
            let soft = forward(r, logits, noise, clock);
            let dlogits = super::joint::scale(r, soft, 0.0);
            backward(r, [soft, dy], clock, dlogits);
            (soft, vec![dlogits])
        }),
        state: vec![("noise", noise), ("clock", clock.words())],
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arena::Arena;
    use crate::backend::{Device, cpu::Cpu};

    /// What each form makes of 20,000 rows of the same logits, on noise drawn by counter.
    fn drawn(cpu: Cpu, logits: &[f32], temperature: f32) -> [Vec<f32>; 2] {
        let (rows, k) = (20_000, logits.len());
        let arena = &mut Arena::new();
        let (clock, given) = (clock::Clock::tensor(arena, "clock", 1), arena.tensor("logits", &[rows, k]));
        let mut r = Recorder::new(arena);
        let noise = super::super::random::unit(&mut r, clock, &[rows, k]);
        let (soft, hard) = (forward(&mut r, given, noise, clock), sample(&mut r, given, noise));
        let program = r.finish("gumbel");
        let mut backend = Device::Cpu(cpu).backend();
        let program = backend.load(arena, &program).unwrap();
        let row = clock::Row { knobs: [temperature, 0.0, 0.0, 0.0], ..clock::Row::default() };
        backend.write_words(clock, &clock::Clock { rows: vec![row], ..clock::Clock::unit() }.words());
        backend.write(given, &logits.repeat(rows));
        backend.run(&[(program, 1)]).unwrap();
        backend.read(&[soft, hard]).unwrap().try_into().unwrap()
    }

    #[test]
    fn samples_are_as_frequent_as_softmax_says() {
        let logits = [0.0f32, 1.0, -0.5, 0.3];
        let sum: f32 = logits.iter().map(|l| l.exp()).sum();
        for cpu in [Cpu::Reference, Cpu::Accelerated] {
            let [soft, hard] = drawn(cpu, &logits, 0.05);
            for (class, logit) in logits.iter().enumerate() {
                let share = |y: &[f32]| y.iter().skip(class).step_by(4).sum::<f32>() / 20_000.0;
                // The standard deviation of such a share is 0.0035 at most. At a low temperature the relaxation is
                // nearly the sample.
                assert!((share(&hard) - logit.exp() / sum).abs() < 0.015, "{class} on {cpu:?}");
                assert!((share(&soft) - share(&hard)).abs() < 0.01, "{class} on {cpu:?}");
            }
        }
    }

    #[test]
    fn a_logit_that_is_nan_is_not_hidden() {
        for cpu in [Cpu::Reference, Cpu::Accelerated] {
            let [soft, _] = drawn(cpu, &[0.0, f32::NAN, 1.0], 0.7);
            assert!(soft.iter().all(|y| y.is_nan()), "{cpu:?}");
        }
    }
}
