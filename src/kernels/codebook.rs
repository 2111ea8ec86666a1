//! A codebook, of which the nearest code stands for a vector, `shaders/codebook.wgsl`: van den Oord, Vinyals &
//! Kavukcuoglu 2017 (arXiv 1711.00937). K codes of D numbers, R vectors of a batch. The number of a code is an f32.

use bytemuck::{Pod, Zeroable};

use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::kernels::{clock, joint, reduce, weighted};
use crate::program::Recorder;
use crate::tensor::Tensor;

mod accelerated;

// ---- Params

/// `scale` multiplies the gradient and the perplexity, and says whether averages move the codes (1 or 0); `decay` is of
/// the running shares, `restart` what a code's may not fall below.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
struct Params {
    r: u32,
    d: u32,
    k: u32,
    scale: f32,
    decay: f32,
    restart: f32,
}

impl Params {
    fn sizes(self) -> [usize; 3] {
        [self.r as usize, self.d as usize, self.k as usize]
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "codebook.wgsl",
    text: include_str!("../../shaders/codebook.wgsl"),
    common: &[super::INDEX, super::SUM],
    bindings: &[
        "z",
        "codebook",
        "ids",
        "counts",
        "sums",
        "clock",
        "q",
        "nearest_ids",
        "y",
        "n",
        "m",
        "dcodebook",
        "usage",
        "codes",
    ],
    ..PLAIN_SOURCE
};

/// z (R,D) and the codebook (K,D) to nearest_ids (R), assigned; recorded by [`nearest`].
pub static NEAREST: Kernel = Kernel {
    name: "codebook.nearest",
    formula: "ids[r] = argmin_k |z[r] - codebook[k]|^2, the first of equal ones",
    reads: &["z", "codebook"],
    writes: &["nearest_ids"],
    shader: Shader { grid: |p, _| grid_1d(p[0] as usize, 64), ..shader("nearest") },
    reference: |p, reads, writes| {
        let [r, d, k] = params::<Params>(p).sizes();
        for row in 0..r {
            let z = &reads[0][row * d..][..d];
            let distance = |k: usize| squared(z, &reads[1][k * d..][..d]);
            let best = (1..k).fold(0, |best, k| if distance(k) < distance(best) { k } else { best });
            writes[0][row] = best as f32;
        }
    },
    accelerated: Some(accelerated::nearest),
    cost: |p| {
        let [r, d, k] = [0, 1, 2].map(|i| u64::from(p[i]));
        Cost { flops: 3 * r * d * k, bytes: 4 * (r * d + k * d + r) }
    },
    cases: nearest_cases,
    gradients: GradientCheck::Cases(gradients),
    ..KERNEL
};

/// ids (R) and the codebook (K,D) to y (R,D), assigned; an id of K or more is taken for the last code. Recorded by
/// [`gather`].
pub static GATHER: Kernel = Kernel {
    name: "codebook.gather",
    formula: "y[r] = codebook[ids[r]]",
    reads: &["ids", "codebook"],
    writes: &["y"],
    shader: Shader { grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64), ..shader("gather") },
    reference: |p, reads, writes| {
        let [r, d, k] = params::<Params>(p).sizes();
        for (y, &id) in writes[0][..r * d].chunks_mut(d).zip(reads[0]) {
            y.copy_from_slice(&reads[1][(id as usize).min(k - 1) * d..][..d]);
        }
    },
    cost: |p| Cost { flops: 0, bytes: 8 * u64::from(p[0]) * u64::from(p[1]) },
    cases: gather_cases,
    gradients: GradientCheck::Cases(gradients),
    ..KERNEL
};

/// z and q, R examples of D numbers, to y (R), assigned; recorded by [`distance`].
pub static DISTANCE: Kernel = Kernel {
    name: "codebook.distance",
    formula: "y[b] = |z[b] - q[b]|^2",
    reads: &["z", "q"],
    writes: &["y"],
    shader: Shader {
        grid: |p, _| {
            let y = p[0].div_ceil(65535).max(1);
            [p[0].div_ceil(y), y, 1]
        },
        ..shader("distance")
    },
    reference: |p, reads, writes| {
        let [r, d, _] = params::<Params>(p).sizes();
        for (row, y) in writes[0][..r].iter_mut().enumerate() {
            *y = squared(&reads[0][row * d..][..d], &reads[1][row * d..][..d]) as f32;
        }
    },
    accelerated: Some(accelerated::distance),
    cost: |p| cost(p, 3, 8),
    cases: distance_cases,
    gradients: GradientCheck::Cases(gradients),
    ..KERNEL
};

/// ids (R) and z (R,D) to n (K) and m (K,D), assigned; recorded by [`sums`]. Each sum is made in the order of the rows.
pub static SUMS: Kernel = Kernel {
    name: "codebook.sums",
    formula: "n[k] = sum_r [ids[r] = k], m[k] = sum_r [ids[r] = k] z[r]",
    reads: &["ids", "z"],
    writes: &["n", "m"],
    shader: Shader { grid: |p, _| grid_1d(p[1] as usize * p[2] as usize, 64), ..shader("sums_by_code") },
    reference: |p, reads, writes| {
        let [r, d, k] = params::<Params>(p).sizes();
        for code in 0..k {
            let rows = || (0..r).filter(|&row| reads[0][row] as usize == code);
            writes[0][code] = rows().count() as f32;
            for at in 0..d {
                writes[1][code * d + at] = rows().map(|row| f64::from(reads[1][row * d + at])).sum::<f64>() as f32;
            }
        }
    },
    accelerated: Some(accelerated::sums),
    cost: |p| cost(p, 1, 4),
    cases: sums_cases,
    gradients: GradientCheck::Cases(gradients),
    ..KERNEL
};

/// counts (K), sums (K,D) and the codebook (K,D); dcodebook (K,D) is added to. Recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "codebook.backward",
    formula: "dcodebook[k] += 2 scale (counts[k] codebook[k] - sums[k])",
    reads: &["counts", "sums", "codebook"],
    writes: &["dcodebook"],
    shader: Shader { grid: |p, _| grid_1d(p[1] as usize * p[2] as usize, 64), ..shader("backward") },
    reference: |p, reads, writes| {
        let scale = 2.0 * f64::from(params::<Params>(p).scale);
        let [_, d, k] = params::<Params>(p).sizes();
        for i in 0..k * d {
            let [count, sum, code] = [reads[0][i / d], reads[1][i], reads[2][i]].map(f64::from);
            writes[0][i] += (scale * (count * code - sum)) as f32;
        }
    },
    cost: |p| Cost { flops: 4 * u64::from(p[1]) * u64::from(p[2]), bytes: 16 * u64::from(p[1]) * u64::from(p[2]) },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..KERNEL
};

/// counts (K), sums (K,D), z (R,D) and the clock; usage (K) and codes (K,D) are updated in place. Recorded by
/// [`update`], last in a step.
pub static UPDATE: Kernel = Kernel {
    name: "codebook.update",
    formula: "u = decay usage + (1 - decay) counts K/R; u < restart: codes[k] = z[(7919 k + 104729 step) mod R], \
              usage = 1; else codes[k] += scale (1 - decay) K/R (sums[k] - counts[k] codes[k]) / u, usage = u",
    reads: &["counts", "sums", "z", "clock"],
    writes: &["usage", "codes"],
    shader: Shader { grid: |p, _| grid_1d(p[2] as usize, 64), ..shader("update") },
    reference: |p, reads, writes| {
        let Params { scale, decay, restart, .. } = params::<Params>(p);
        let [r, d, k] = params::<Params>(p).sizes();
        let [scale, decay] = [scale, decay].map(f64::from);
        let (fair, step) = (k as f64 / r as f64, reads[3][2].to_bits());
        for code in 0..k {
            let count = f64::from(reads[0][code]);
            let share = f64::from(writes[0][code]) * decay + (1.0 - decay) * count * fair;
            let codes = &mut writes[1][code * d..][..d];
            if share < f64::from(restart) {
                let row = restart_row(code as u32, step, r as u32);
                codes.copy_from_slice(&reads[2][row * d..][..d]);
                writes[0][code] = 1.0;
                continue;
            }
            if share > 0.0 {
                let rate = scale * (1.0 - decay) * fair / share;
                for (c, &sum) in codes.iter_mut().zip(&reads[1][code * d..][..d]) {
                    *c += (rate * (f64::from(sum) - count * f64::from(*c))) as f32;
                }
            }
            writes[0][code] = share as f32;
        }
    },
    cost: |p| Cost { flops: 4 * u64::from(p[1]) * u64::from(p[2]), bytes: 12 * u64::from(p[1]) * u64::from(p[2]) },
    cases: update_cases,
    gradients: GradientCheck::None("moves codes to averages, which is no gradient"),
    ..KERNEL
};

/// counts (K) to y (1), assigned; recorded by [`perplexity`].
pub static PERPLEXITY: Kernel = Kernel {
    name: "codebook.perplexity",
    formula: "y = scale e^(-sum_k p_k log p_k), p_k = counts[k] / R",
    reads: &["counts"],
    writes: &["y"],
    shader: Shader { grid: |_, _| [1, 1, 1], ..shader("perplexity") },
    reference: |p, reads, writes| {
        let [r, _, k] = params::<Params>(p).sizes();
        let entropy = entropy(&reads[0][..k], r as f64);
        writes[0][0] = (f64::from(params::<Params>(p).scale) * entropy.exp()) as f32;
    },
    cost: |p| Cost { flops: 4 * u64::from(p[2]), bytes: 4 * u64::from(p[2]) },
    cases: perplexity_cases,
    gradients: GradientCheck::None("a number to look at, of counts"),
    ..KERNEL
};

const KERNEL: Kernel = Kernel { params: &["R", "D", "K", "scale", "decay", "restart"], ..PLAIN };

const fn shader(entry: &'static str) -> Shader {
    Shader { source: &SOURCE, entry, workgroup: [64, 1, 1], grid: |_, _| [1, 1, 1] }
}

fn cost(p: &[u32], flops: u64, bytes: u64) -> Cost {
    let elements = u64::from(p[0]) * u64::from(p[1]);
    Cost { flops: flops * elements, bytes: bytes * elements }
}

// ---- Record

fn sizes(z: Tensor, codebook: Tensor) -> Params {
    let ([r, d], [k, width]) = (z.matrix(), codebook.matrix());
    assert!(d == width && k < 1 << 24, "codebook: z {z:?}, codebook {codebook:?}");
    Params { r: r as u32, d: d as u32, k: k as u32, ..Params::default() }
}

/// The number of the nearest code (K,D) to each vector (R,D): (R), whole numbers as f32.
pub fn nearest(r: &mut Recorder, z: Tensor, codebook: Tensor) -> Tensor {
    let params = sizes(z, codebook);
    let ids = r.tensor("ids", &[params.r as usize]);
    r.dispatch(&NEAREST, params, &[z, codebook], &[ids]);
    ids
}

/// The codes of these numbers (R) in a codebook (K,D): (R,D).
pub fn gather(r: &mut Recorder, ids: Tensor, codebook: Tensor) -> Tensor {
    let [k, d] = codebook.matrix();
    let params = Params { r: ids.len() as u32, d: d as u32, k: k as u32, ..Params::default() };
    let q = r.tensor("q", &[ids.len(), d]);
    r.dispatch(&GATHER, params, &[ids, codebook], &[q]);
    q
}

/// The squared distance of each example, (B,N) and (B,N) to (B).
pub fn distance(r: &mut Recorder, z: Tensor, q: Tensor) -> Tensor {
    assert!(z.shape() == q.shape(), "codebook.distance: z {z:?}, q {q:?}");
    let [b, n] = z.matrix();
    let y = r.tensor("distance", &[b]);
    r.dispatch(&DISTANCE, Params { r: b as u32, d: n as u32, ..Params::default() }, &[z, q], &[y]);
    y
}

/// (K) how many of the ids (R) are each code's, and (K,D) the sums of their vectors z (R,D).
pub fn sums(r: &mut Recorder, ids: Tensor, z: Tensor, codes: usize) -> [Tensor; 2] {
    let [rows, d] = z.matrix();
    assert!(ids.shape() == [rows], "codebook.sums: ids {ids:?}, z {z:?}");
    let params = Params { r: rows as u32, d: d as u32, k: codes as u32, ..Params::default() };
    let (counts, sums) = (r.tensor("counts", &[codes]), r.tensor("sums", &[codes, d]));
    r.dispatch(&SUMS, params, &[ids, z], &[counts, sums]);
    [counts, sums]
}

/// Adds the codebook's gradient of scale times the summed squared distances to `dcodebook` (K,D), from what [`sums`]
/// gave.
pub fn backward(r: &mut Recorder, [counts, sums]: [Tensor; 2], codebook: Tensor, dcodebook: Tensor, scale: f32) {
    assert!(sums.shape() == codebook.shape(), "codebook.backward: sums {sums:?}, codebook {codebook:?}");
    let params = Params { scale, ..sizes(codebook, codebook) };
    r.dispatch(&BACKWARD, params, &[counts, sums, codebook], &[dcodebook]);
}

/// How a codebook moves without a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Moves {
    /// Of the running shares, from 0 to 1.
    pub decay: f32,
    /// A code whose running share is below this part of an equal one is put onto a vector of the batch; 0 leaves it.
    pub restart: f32,
    /// Codes go to the running means of their vectors.
    pub by_average: bool,
}

/// Moves the codes (K,D) and their running shares (K), from what [`sums`] gave of the vectors z (R,D).
pub fn update(
    r: &mut Recorder,
    [counts, sums, z, clock]: [Tensor; 4],
    [usage, codes]: [Tensor; 2],
    Moves { decay, restart, by_average }: Moves,
) {
    let params = Params { scale: f32::from(u8::from(by_average)), decay, restart, ..sizes(z, codes) };
    assert!(sums.shape() == codes.shape(), "codebook.update: sums {sums:?}, codes {codes:?}");
    r.dispatch(&UPDATE, params, &[counts, sums, z, clock], &[usage, codes]);
}

/// (1): scale times e^entropy of the shares that counts (K) are of `vectors`; from 1, all have one code, to K.
pub fn perplexity(r: &mut Recorder, counts: Tensor, vectors: usize, scale: f32) -> Tensor {
    let params = Params { r: vectors as u32, k: counts.len() as u32, scale, ..Params::default() };
    let y = r.tensor("perplexity", &[1]);
    r.dispatch(&PERPLEXITY, params, &[counts], &[y]);
    y
}

// ---- References

fn squared(z: &[f32], code: &[f32]) -> f64 {
    z.iter().zip(code).map(|(&z, &e)| (f64::from(z) - f64::from(e)).powi(2)).sum()
}

/// The vector of a batch that code `k` is put onto at this step: codes that restart together get different ones, where
/// 7919 does not divide R.
fn restart_row(k: u32, step: u32, rows: u32) -> usize {
    (k.wrapping_mul(7919).wrapping_add(step.wrapping_mul(104_729)) % rows) as usize
}

/// In nats, of counts of so many.
pub fn entropy(counts: &[f32], total: f64) -> f64 {
    let shares = counts.iter().map(|&count| f64::from(count) / total).filter(|&p| p > 0.0);
    -shares.map(|p| p * p.ln()).sum::<f64>()
}

// ---- Cases

/// (R,D,K): one of each, odd sizes, more codes than vectors, the convolutional preset's.
const SIZES: [[usize; 3]; 5] = [[1, 1, 1], [17, 5, 65], [257, 3, 17], [65, 65, 33], [1568, 64, 128]];

fn case([r, d, k]: [usize; 3]) -> Case {
    Case::new(
        format!("{r}x{d} of {k}"),
        Params { r: r as u32, d: d as u32, k: k as u32, scale: 0.7, decay: 0.9, restart: 0.3 },
    )
}

/// Numbers of codes that leave some out and take some often.
fn ids(r: usize, k: usize) -> Vec<f32> {
    (0..r).map(|row| ((row * row / 3) % (k * 3 / 4).max(1)) as f32).collect()
}

/// Random ones, and vectors and codes on a coarse grid, so that many distances are equal to the bit.
fn nearest_cases() -> Vec<Case> {
    let of = |[r, d, k]: [usize; 3]| {
        let case = case([r, d, k]).read(uniform(1, r * d, -1.0, 1.0)).read(uniform(2, k * d, -1.0, 1.0));
        case.assign(r, Tolerance::Exact)
    };
    let on_grid = |seed, n| uniform(seed, n, -1.5, 1.5).into_iter().map(f32::round).collect();
    let ties = Case { label: "257x3 of 65, ties".into(), ..case([257, 3, 65]) };
    let ties = ties.read(on_grid(3, 257 * 3)).read(on_grid(4, 65 * 3)).assign(257, Tolerance::Exact);
    SIZES.map(of).into_iter().chain([ties]).collect()
}

fn gather_cases() -> Vec<Case> {
    let of = |[r, d, k]: [usize; 3]| {
        let mut ids = ids(r, k);
        ids[r - 1] = k as f32; // beyond the last
        case([r, d, k]).read(ids).read(uniform(2, k * d, -1.0, 1.0)).assign(r * d, Tolerance::Exact)
    };
    SIZES.map(of).into()
}

fn distance_cases() -> Vec<Case> {
    let of = |[r, d, k]: [usize; 3]| {
        let case = case([r, d, k]).read(uniform(1, r * d, -1.0, 1.0)).read(uniform(2, r * d, -1.0, 1.0));
        case.assign(r, Tolerance::Dot(4 * d))
    };
    SIZES.map(of).into()
}

fn sums_cases() -> Vec<Case> {
    let of = |[r, d, k]: [usize; 3]| {
        let case = case([r, d, k]).read(ids(r, k)).read(uniform(1, r * d, -1.0, 1.0));
        case.assign(k, Tolerance::Exact).assign(k * d, Tolerance::Dot(r))
    };
    SIZES.map(of).into()
}

fn backward_cases() -> Vec<Case> {
    let of = |[r, d, k]: [usize; 3]| {
        let case = case([r, d, k]).read(uniform(3, k, 0.0, 9.0).into_iter().map(f32::floor).collect());
        let case = case.read(uniform(4, k * d, -9.0, 9.0)).read(uniform(2, k * d, -1.0, 1.0));
        case.update(uniform(5, k * d, -1.0, 1.0), Tolerance::Because(1e-6, "a difference of numbers of size 20"))
    };
    SIZES.map(of).into()
}

fn update_cases() -> Vec<Case> {
    let tolerance = Tolerance::Because(4e-6, "a quotient of sums of two products, no share near the threshold");
    let of = |[r, d, k]: [usize; 3]| {
        let ids = ids(r, k);
        let counts = (0..k).map(|code| ids.iter().filter(|&&id| id == code as f32).count() as f32).collect();
        let case = case([r, d, k]).read(counts).read(uniform(4, k * d, -2.0, 2.0)).read(uniform(1, r * d, -1.0, 1.0));
        let case = case.read_words(clock::Clock::example().words());
        case.update(uniform(6, k, 0.0, 1.5), tolerance).update(uniform(2, k * d, -1.0, 1.0), tolerance)
    };
    SIZES.map(of).into()
}

fn perplexity_cases() -> Vec<Case> {
    let of = |[r, d, k]: [usize; 3]| {
        let ids = ids(r, k);
        let counts = (0..k).map(|code| ids.iter().filter(|&&id| id == code as f32).count() as f32).collect();
        case([r, d, k]).read(counts).assign(1, Tolerance::Because(1e-5, "exp of a sum of K logs"))
    };
    SIZES.map(of).into()
}

// ---- Gradients

/// For the finite-difference check: the summed squared distances of vectors to their nearest codes, by both.
fn gradients() -> Vec<GradientCase> {
    vec![GradientCase {
        label: "codebook".into(),
        inputs: vec![(vec![7, 3], uniform(1, 21, -1.0, 1.0)), (vec![4, 3], uniform(2, 12, -1.0, 1.0))],
        output: vec![1],
        record: Box::new(|r, inputs, dy| {
            let [z, codebook] = [inputs[0], inputs[1]];
            let ids = nearest(r, z, codebook);
            let q = gather(r, ids, codebook);
            let rows = distance(r, z, q);
            let y = reduce::whole(r, rows.reshape(&[1, 7]));
            let difference = joint::add(r, z, q, -1.0);
            let dz = joint::scale(r, difference, 2.0);
            let dcodebook = joint::scale(r, codebook, 0.0);
            let of_codes = sums(r, ids, z, 4);
            backward(r, of_codes, codebook, dcodebook, 1.0);
            (y, vec![weighted(r, dy, dz), weighted(r, dy, dcodebook)])
        }),
        state: vec![],
    }]
}

#[cfg(test)]
mod tests;
