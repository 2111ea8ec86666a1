//! A codebook, of which the nearest code stands for a vector, `shaders/codebook.wgsl`: van den Oord, Vinyals &
//! Kavukcuoglu 2017 (arXiv 1711.00937). K codes of D numbers, R vectors of a batch. The number of a code is an f32.

use bytemuck::{Pod, Zeroable};

use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::kernels::clock;
use crate::program::Recorder;
use crate::tensor::Tensor;
use reference::{entropy, squared};

mod accelerated;
mod cases;
mod reference;

// ---- Params

/// `scale` multiplies gradients and the perplexity; `decay` is of the running counts and sums, `restart` the part of an
/// equal share that a code's count may not fall below.
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
    common: &[super::INDEX, super::SUM, super::CLOCK],
    bindings: &[
        "z",
        "codebook",
        "ids",
        "counts",
        "sums",
        "clock",
        "q",
        "dq",
        "nearest_ids",
        "y",
        "n",
        "m",
        "dz",
        "dcodebook",
        "codes",
        "used",
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
    cases: cases::nearest_cases,
    gradients: GradientCheck::Cases(cases::gradients),
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
    cases: cases::gather_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..KERNEL
};

/// ids (R) to y (R,K), assigned; recorded by [`one_hot`].
pub static ONE_HOT: Kernel = Kernel {
    name: "codebook.one_hot",
    formula: "y[r,k] = [ids[r] = k]",
    reads: &["ids"],
    writes: &["y"],
    shader: Shader { grid: |p, _| grid_1d(p[0] as usize * p[2] as usize, 64), ..shader("one_hot") },
    reference: |p, reads, writes| {
        let [r, _, k] = params::<Params>(p).sizes();
        for (y, &id) in writes[0][..r * k].chunks_mut(k).zip(reads[0]) {
            y.fill(0.0);
            y.iter_mut().skip(id as usize).take(1).for_each(|y| *y = 1.0);
        }
    },
    cost: |p| Cost { flops: 0, bytes: 4 * u64::from(p[0]) * u64::from(p[2]) },
    cases: cases::one_hot_cases,
    gradients: GradientCheck::None("codes are numbers of classes, which have no slope"),
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
    cases: cases::distance_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..KERNEL
};

/// ids (R) and z (R,D) to n (K) and m (K,D), assigned; recorded by [`tally`]. Each sum is in the order of the rows.
pub static TALLY: Kernel = Kernel {
    name: "codebook.tally",
    formula: "n[k] = sum_r [ids[r] = k], m[k] = sum_r [ids[r] = k] z[r]",
    reads: &["ids", "z"],
    writes: &["n", "m"],
    shader: Shader { grid: |p, _| grid_1d(p[1] as usize * p[2] as usize, 64), ..shader("tally") },
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
    accelerated: Some(accelerated::tally),
    cost: |p| cost(p, 1, 4),
    cases: cases::tally_cases,
    gradients: GradientCheck::Cases(cases::gradients),
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
    cases: cases::backward_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..KERNEL
};

/// dq (R,D), z and q (R,D) and the clock, whose first knob is the commitment, to dz (R,D), assigned; recorded by
/// [`straight_through`].
pub static STRAIGHT_THROUGH: Kernel = Kernel {
    name: "codebook.straight_through",
    formula: "dz = dq + 2 scale commitment (z - q)",
    reads: &["dq", "z", "q", "clock"],
    writes: &["dz"],
    shader: Shader { grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64), ..shader("straight_through") },
    reference: |p, reads, writes| {
        let weight = 2.0 * f64::from(params::<Params>(p).scale) * f64::from(clock::Row::read(reads[3]).kl_weight);
        let [r, d, _] = params::<Params>(p).sizes();
        for i in 0..r * d {
            let [dq, z, q] = [reads[0][i], reads[1][i], reads[2][i]].map(f64::from);
            writes[0][i] = (dq + weight * (z - q)) as f32;
        }
    },
    cost: |p| cost(p, 3, 16),
    cases: cases::straight_through_cases,
    gradients: GradientCheck::Cases(cases::gradients),
    ..KERNEL
};

/// counts (K), sums (K,D), z (R,D) and the clock; n (K), m (K,D) and codes (K,D) are updated in place. Recorded by
/// [`update`], last of what reads the codes in a step.
pub static UPDATE: Kernel = Kernel {
    name: "codebook.update",
    formula: "n = decay n + (1 - decay) counts, m likewise of sums; n[k] < restart R/K: n[k] = R/K, \
              m[k] = R/K z[(7919 k + 104729 step) mod R]; \
              codes[k] = m[k] / ((n[k] + 1e-5) / (sum n + 1e-5 K) sum n)",
    reads: &["counts", "sums", "z", "clock"],
    writes: &["n", "m", "codes"],
    shader: Shader { grid: |_, _| [1, 1, 1], ..shader("update") },
    reference: reference::update,
    cost: |p| Cost { flops: 4 * u64::from(p[1]) * u64::from(p[2]), bytes: 16 * u64::from(p[1]) * u64::from(p[2]) },
    cases: cases::update_cases,
    gradients: GradientCheck::None("moves codes to averages, which is no gradient"),
    ..KERNEL
};

/// counts (K) to y (1) and used (1), assigned; recorded by [`perplexity`].
pub static PERPLEXITY: Kernel = Kernel {
    name: "codebook.perplexity",
    formula: "y = scale e^(-sum_k p_k log p_k), p_k = counts[k] / R; used = scale sum_k [p_k > 0]",
    reads: &["counts"],
    writes: &["y", "used"],
    shader: Shader { grid: |_, _| [1, 1, 1], ..shader("perplexity") },
    reference: |p, reads, writes| {
        let [r, _, k] = params::<Params>(p).sizes();
        let (scale, counts) = (params::<Params>(p).scale, &reads[0][..k]);
        writes[0][0] = (f64::from(scale) * entropy(counts, r as f64).exp()) as f32;
        writes[1][0] = scale * counts.iter().filter(|&&count| count > 0.0).count() as f32;
    },
    cost: |p| Cost { flops: 4 * u64::from(p[2]), bytes: 4 * u64::from(p[2]) },
    cases: cases::perplexity_cases,
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

/// Codes of these numbers (R) as one-hot rows, (R,K).
pub fn one_hot(r: &mut Recorder, ids: Tensor, codes: usize) -> Tensor {
    let y = r.tensor("one_hot", &[ids.len(), codes]);
    let params = Params { r: ids.len() as u32, k: codes as u32, ..Params::default() };
    r.dispatch(&ONE_HOT, params, &[ids], &[y]);
    y
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
pub fn tally(r: &mut Recorder, ids: Tensor, z: Tensor, codes: usize) -> [Tensor; 2] {
    let [rows, d] = z.matrix();
    assert!(ids.shape() == [rows], "codebook.tally: ids {ids:?}, z {z:?}");
    let params = Params { r: rows as u32, d: d as u32, k: codes as u32, ..Params::default() };
    let (counts, sums) = (r.tensor("counts", &[codes]), r.tensor("sums", &[codes, d]));
    r.dispatch(&TALLY, params, &[ids, z], &[counts, sums]);
    [counts, sums]
}

/// Adds the codebook's gradient of scale times the summed squared distances to `dcodebook` (K,D), from what [`tally`]
/// gave.
pub fn backward(r: &mut Recorder, [counts, sums]: [Tensor; 2], codebook: Tensor, dcodebook: Tensor, scale: f32) {
    assert!(sums.shape() == codebook.shape(), "codebook.backward: sums {sums:?}, codebook {codebook:?}");
    let params = Params { scale, ..sizes(codebook, codebook) };
    r.dispatch(&BACKWARD, params, &[counts, sums, codebook], &[dcodebook]);
}

/// dz (R,D): the gradient dq of the codes q that stand for the vectors z, all (R,D), as if they were z, and that of
/// scale times the commitment, the clock's first knob, times the summed squared distances of z to q.
pub fn straight_through(r: &mut Recorder, dq: Tensor, [z, q, clock]: [Tensor; 3], scale: f32) -> Tensor {
    assert!(z.shape() == q.shape() && dq.shape() == q.shape(), "codebook.straight_through: dq {dq:?}, {z:?}, {q:?}");
    let [rows, d] = z.matrix();
    let params = Params { r: rows as u32, d: d as u32, scale, ..Params::default() };
    let dz = r.tensor("dz", z.shape());
    r.dispatch(&STRAIGHT_THROUGH, params, &[dq, z, q, clock], &[dz]);
    dz
}

/// A codebook that averages move, all zeros at first.
#[derive(Clone, Copy, Debug)]
pub struct Averages {
    /// (K): the running count of each code's vectors in a batch.
    pub counts: Tensor,
    /// (K,D): their running sum.
    pub sums: Tensor,
    /// (K,D)
    pub codes: Tensor,
    /// Of the running counts and sums, from 0 to 1.
    pub decay: f32,
    /// A code whose count is below this part of an equal share is put onto a vector of the batch; 0 leaves it.
    pub restart: f32,
}

/// Moves the codes to the running means of their vectors, from what [`tally`] gave of the vectors z (R,D).
pub fn update(r: &mut Recorder, [counts, sums]: [Tensor; 2], z: Tensor, clock: Tensor, averages: &Averages) {
    let &Averages { decay, restart, codes, .. } = averages;
    let params = Params { decay, restart, ..sizes(z, codes) };
    assert!(sums.shape() == codes.shape(), "codebook.update: sums {sums:?}, codes {codes:?}");
    r.dispatch(&UPDATE, params, &[counts, sums, z, clock], &[averages.counts, averages.sums, codes]);
}

/// (1) and (1), both times scale: e^entropy of the shares that counts (K) are of `vectors`, from 1, all have one code,
/// to K; and how many codes have any.
pub fn perplexity(r: &mut Recorder, counts: Tensor, vectors: usize, scale: f32) -> [Tensor; 2] {
    let params = Params { r: vectors as u32, k: counts.len() as u32, scale, ..Params::default() };
    let [y, used] = ["perplexity", "used"].map(|name| r.tensor(name, &[1]));
    r.dispatch(&PERPLEXITY, params, &[counts], &[y, used]);
    [y, used]
}

#[cfg(test)]
mod tests;
