//! Rows of a table by their numbers, `shaders/embedding.wgsl`: `embedding` of PyTorch, whose gradient is the sum over
//! the places that looked a row up, in their order.

use bytemuck::{Pod, Zeroable};

use super::threads::chunks;
use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// R places look up rows of E numbers in a table of V. Rows looked up as `padding` get no gradient.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    r: u32,
    v: u32,
    e: u32,
    padding: u32,
}

impl Params {
    fn sizes(self) -> [usize; 3] {
        [self.r, self.v, self.e].map(|n| n as usize)
    }
}

/// No number is left out of the gradient.
const NO_PADDING: u32 = u32::MAX;

// ---- Kernels

const FIELDS: &[&str] = &["R", "V", "E", "padding"];

const SOURCE: Source = Source {
    file: "embedding.wgsl",
    text: include_str!("../../shaders/embedding.wgsl"),
    common: &[super::INDEX],
    bindings: &["weight", "dy", "ids", "places", "y", "sorted", "dweight"],
    ..PLAIN_SOURCE
};

/// weight (V,E), ids (R) as integers to y (R,E), assigned; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "embedding.forward",
    formula: "y[r] = weight[ids[r]]",
    params: FIELDS,
    reads: &["weight", "ids"],
    writes: &["y"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize * p[2] as usize, 64),
    },
    reference: |p, reads, writes| {
        let [r, v, e] = params::<Params>(p).sizes();
        for (y, id) in writes[0].chunks_mut(e).zip(&reads[1][..r]) {
            y.copy_from_slice(&reads[0][(id.to_bits() as usize).min(v - 1) * e..][..e]);
        }
    },
    accelerated: Some(|p, reads, writes| {
        let [r, v, e] = params::<Params>(p).sizes();
        chunks([(&mut writes[0][..r * e], e)], (super::CHUNK / e).max(1), |place, [y]| {
            let id = reads[1][place];
            y.copy_from_slice(&reads[0][(id.to_bits() as usize).min(v - 1) * e..][..e]);
        });
    }),
    cost: |p| Cost { flops: 0, bytes: 8 * p[0] as u64 * p[2] as u64 },
    cases: forward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// ids (R) as integers to sorted (R), assigned: the places in the order of their numbers; recorded by [`backward`].
pub static SORT: Kernel = Kernel {
    name: "embedding.sort",
    formula: "sorted = 0..R by (ids[r], r)",
    params: FIELDS,
    reads: &["ids"],
    writes: &["sorted"],
    shader: Shader { source: &SOURCE, entry: "sort", workgroup: [64, 1, 1], grid: |p, _| grid_1d(p[0] as usize, 64) },
    reference: |p, reads, writes| {
        let mut places: Vec<u32> = (0..p[0]).collect();
        places.sort_by_key(|&r| (reads[0][r as usize].to_bits(), r));
        writes[0].iter_mut().zip(places).for_each(|(sorted, r)| *sorted = f32::from_bits(r));
    },
    cost: |p| Cost { flops: 0, bytes: 8 * p[0] as u64 },
    cases: sort_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// dy (R,E), ids (R) and their sorted places (R) as integers to dweight (V,E), added to; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "embedding.backward",
    formula: "dweight[v] += sum of dy[r] over ids[r] = v, but for v = padding",
    params: FIELDS,
    reads: &["dy", "ids", "places"],
    writes: &["dweight"],
    shader: Shader {
        source: &SOURCE,
        entry: "backward",
        workgroup: [64, 1, 1],
        // A workgroup a place.
        grid: |p, _| grid_1d(64 * p[0] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [r, v, e] = p.sizes();
        for id in 0..v {
            let places = (0..r).filter(|&r| reads[1][r].to_bits() as usize == id && id != p.padding as usize);
            for (i, dw) in writes[0][id * e..][..e].iter_mut().enumerate() {
                *dw += places.clone().map(|r| reads[0][r * e + i] as f64).sum::<f64>() as f32;
            }
        }
    },
    accelerated: Some(backward_accelerated),
    cost: |p| Cost { flops: p[0] as u64 * p[2] as u64, bytes: 12 * p[0] as u64 * p[2] as u64 },
    cases: backward_cases,
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

// ---- Record

/// The rows (R,E) of weight (V,E) that ids (R) name; integers that the host has checked against V.
pub fn forward(r: &mut Recorder, weight: Tensor, ids: Tensor) -> Tensor {
    let y = r.tensor("embedded", &[ids.len(), weight.matrix()[1]]);
    r.dispatch(&FORWARD, sizes(weight, ids, None), &[weight, ids], &[y]);
    y
}

/// dweight (V,E) += dy (R,E) at the rows that ids (R) name. The row `padding` gets nothing, as with PyTorch's
/// `padding_idx`.
pub fn backward(r: &mut Recorder, ids: Tensor, dy: Tensor, dweight: Tensor, padding: Option<u32>) {
    assert!(dy.shape() == [ids.len(), dweight.matrix()[1]], "embedding.backward: dy {dy:?}, dweight {dweight:?}");
    let params = sizes(dweight, ids, padding);
    let sorted = r.tensor("places", &[ids.len()]);
    r.dispatch(&SORT, params, &[ids], &[sorted]);
    r.dispatch(&BACKWARD, params, &[dy, ids, sorted], &[dweight]);
}

fn sizes(weight: Tensor, ids: Tensor, padding: Option<u32>) -> Params {
    let [v, e] = weight.matrix();
    Params { r: ids.len() as u32, v: v as u32, e: e as u32, padding: padding.unwrap_or(NO_PADDING) }
}

// ---- Accelerated

/// Threads share the rows of the table, and each finds the places of its rows in the sorted list.
fn backward_accelerated(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let p: Params = params(p);
    let [r, v, e] = p.sizes();
    let (dy, ids, places) = (reads[0], reads[1], &reads[2][..r]);
    let id = |place: &f32| ids[place.to_bits() as usize].to_bits() as usize;
    let share = v.div_ceil(4 * rayon::current_num_threads());
    chunks([(&mut writes[0][..v * e], share * e)], 1, |i, [dweight]| {
        let first = i * share;
        let start = places.partition_point(|place| id(place) < first);
        for place in &places[start..] {
            let row = id(place).wrapping_sub(first);
            if row >= dweight.len() / e {
                break;
            }
            if first + row != p.padding as usize {
                let dy = &dy[place.to_bits() as usize * e..][..e];
                dweight[row * e..][..e].iter_mut().zip(dy).for_each(|(dw, dy)| *dw += dy);
            }
        }
    });
}

// ---- Cases

/// [R, V, E], and a number that gets no gradient.
const SIZES: [([usize; 3], u32); 5] =
    [([1, 1, 1], NO_PADDING), ([17, 5, 3], 0), ([65, 300, 7], 2), ([257, 9, 65], NO_PADDING), ([640, 1000, 32], 0)];

/// Some numbers come often, many not at all.
fn numbers(r: usize, v: usize) -> Vec<u32> {
    (0..r).map(|i| ((i * i * 7 + i * 3) % (v * 2) % v) as u32).collect()
}

fn params_of([r, v, e]: [usize; 3], padding: u32) -> Params {
    Params { r: r as u32, v: v as u32, e: e as u32, padding }
}

fn case(sizes: [usize; 3], padding: u32) -> Case {
    let [r, v, e] = sizes;
    Case::new(format!("{r} of {v}x{e}"), params_of(sizes, padding))
}

fn forward_cases() -> Vec<Case> {
    let of = |(sizes, padding): ([usize; 3], u32)| {
        let [r, v, e] = sizes;
        let case = case(sizes, padding).read(uniform(1, v * e, -1.0, 1.0)).read_words(numbers(r, v));
        case.assign(r * e, Tolerance::Exact)
    };
    SIZES.map(of).into()
}

fn sort_cases() -> Vec<Case> {
    let of = |(sizes, padding): ([usize; 3], u32)| {
        case(sizes, padding).read_words(numbers(sizes[0], sizes[1])).assign(sizes[0], Tolerance::Exact)
    };
    SIZES.map(of).into()
}

fn backward_cases() -> Vec<Case> {
    let of = |(sizes, padding): ([usize; 3], u32)| {
        let [r, v, e] = sizes;
        let ids = numbers(r, v);
        let mut places: Vec<u32> = (0..r as u32).collect();
        places.sort_by_key(|&r| (ids[r as usize], r));
        case(sizes, padding)
            .read(uniform(2, r * e, -1.0, 1.0))
            .read_words(ids)
            .read_words(places)
            .update(uniform(3, v * e, -1.0, 1.0), Tolerance::Dot(r))
    };
    SIZES.map(of).into()
}

// ---- Gradients

/// For the finite-difference check: numbers that come once, several times and never, and one that is padding.
fn gradients() -> Vec<GradientCase> {
    let case = |padding: Option<u32>, ids: Vec<u32>, label: &str| GradientCase {
        label: label.into(),
        inputs: vec![(vec![5, 3], uniform(1, 15, -1.0, 1.0))],
        output: vec![ids.len(), 3],
        record: Box::new(move |r, inputs, dy| {
            let y = forward(r, inputs[0], inputs[1]);
            let dweight = r.tensor("dweight", &[5, 3]);
            crate::kernels::fill::forward(r, dweight, 0.0);
            backward(r, inputs[1], dy, dweight, padding);
            (y, vec![dweight])
        }),
        state: vec![("ids", ids)],
    };
    // A padding that nobody looks up: what it hides from the gradient would be a difference.
    vec![case(None, vec![3, 1, 3, 4, 3, 0], "embedding"), case(Some(2), vec![1, 1, 4], "embedding with padding")]
}
