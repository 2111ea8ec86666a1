//! The rows of one step within the rows of all, `shaders/slots.wgsl`: a loop over time computes (B,F) at a time, and
//! what needs no loop (T*B,F). Row t*B + b is step t of row b.

use bytemuck::{Pod, Zeroable};

use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Reference, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    f: u32,
    slot: u32,
}

impl Params {
    /// B*F, and where the step's rows begin.
    fn place(self) -> [usize; 2] {
        let n = self.b as usize * self.f as usize;
        [n, self.slot as usize * n]
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "slots.wgsl",
    text: include_str!("../../shaders/slots.wgsl"),
    common: &[super::INDEX],
    bindings: &["all", "one", "y", "kept"],
    ..PLAIN_SOURCE
};

/// all (T*B,F) to y (B,F), assigned; recorded by [`take`].
pub static TAKE: Kernel = Kernel {
    reads: &["all"],
    writes: &["y"],
    ..kernel("slots.take", "take", "y[b] = all[slot*B + b]", take_reference, take_cases)
};

/// one (B,F) to the step's rows of kept (T*B,F), the others stay; recorded by [`put`].
pub static PUT: Kernel = Kernel {
    reads: &["one"],
    writes: &["kept"],
    ..kernel("slots.put", "put", "kept[slot*B + b] = one[b]", put_reference, put_cases)
};

const fn kernel(
    name: &'static str,
    entry: &'static str,
    formula: &'static str,
    reference: Reference,
    cases: fn() -> Vec<Case>,
) -> Kernel {
    Kernel {
        name,
        formula,
        params: &["B", "F", "slot"],
        shader: Shader {
            source: &SOURCE,
            entry,
            workgroup: [64, 1, 1],
            grid: |p, _| grid_1d(p[0] as usize * p[1] as usize, 64),
        },
        reference,
        cost: |p| Cost { flops: 0, bytes: 8 * p[0] as u64 * p[1] as u64 },
        cases,
        gradients: GradientCheck::Cases(gradients),
        ..PLAIN
    }
}

// ---- Record

/// Step `slot` of all steps (T*B,F): (B,F). Its backward is [`put`].
pub fn take(r: &mut Recorder, all: Tensor, b: usize, slot: usize) -> Tensor {
    let [rows, f] = all.matrix();
    let y = r.tensor("step", &[b, f]);
    r.dispatch(&TAKE, sizes([rows, f], b, slot), &[all], &[y]);
    y
}

/// Makes (B,F) step `slot` of all steps (T*B,F). Its backward is [`take`].
pub fn put(r: &mut Recorder, one: Tensor, all: Tensor, slot: usize) {
    let ([b, f], [rows, width]) = (one.matrix(), all.matrix());
    assert!(f == width, "slots.put: {one:?} into {all:?}");
    r.dispatch(&PUT, sizes([rows, f], b, slot), &[one], &[all]);
}

fn sizes([rows, f]: [usize; 2], b: usize, slot: usize) -> Params {
    assert!(rows % b == 0 && slot < rows / b, "slots: step {slot} of {rows} rows, {b} a step");
    let [b, f, slot] = [b, f, slot].map(|n| n as u32);
    Params { b, f, slot }
}

// ---- References

fn take_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [n, first] = params::<Params>(p).place();
    writes[0][..n].copy_from_slice(&reads[0][first..first + n]);
}

fn put_reference(p: &[u32], reads: &[&[f32]], writes: &mut [&mut [f32]]) {
    let [n, first] = params::<Params>(p).place();
    writes[0][first..first + n].copy_from_slice(&reads[0][..n]);
}

// ---- Cases

/// T, B, F and the step.
const SIZES: [[usize; 4]; 4] = [[1, 1, 1, 0], [3, 5, 7, 1], [9, 17, 65, 8], [2, 20, 150, 1]];

fn case([t, b, f, slot]: [usize; 4]) -> Case {
    Case::new(format!("{slot} of {t} steps of {b}x{f}"), sizes([t * b, f], b, slot))
}

fn take_cases() -> Vec<Case> {
    let of = |size @ [t, b, f, _]: [usize; 4]| {
        case(size).read(uniform(1, t * b * f, -1.0, 1.0)).assign(b * f, Tolerance::Exact)
    };
    SIZES.map(of).into()
}

fn put_cases() -> Vec<Case> {
    let of = |size @ [t, b, f, _]: [usize; 4]| {
        let kept = uniform(2, t * b * f, -1.0, 1.0);
        case(size).read(uniform(1, b * f, -1.0, 1.0)).update(kept, Tolerance::Exact)
    };
    SIZES.map(of).into()
}

// ---- Gradients

/// For the finite-difference check: a step that is taken, and one that is put beside another.
fn gradients() -> Vec<GradientCase> {
    let input = |seed, rows: usize| (vec![rows, 4], uniform(seed, rows * 4, -1.0, 1.0));
    vec![
        GradientCase {
            label: "slots.take".into(),
            inputs: vec![input(1, 6)],
            output: vec![2, 4],
            record: Box::new(|r, inputs, dy| {
                let dall = r.tensor("dall", &[6, 4]);
                super::fill::forward(r, dall, 0.0);
                put(r, dy, dall, 2);
                (take(r, inputs[0], 2, 2), vec![dall])
            }),
            state: vec![],
        },
        GradientCase {
            label: "slots.put".into(),
            inputs: vec![input(1, 3), input(2, 3)],
            output: vec![6, 4],
            record: Box::new(|r, inputs, dy| {
                let all = r.tensor("all", &[6, 4]);
                (0..2).for_each(|slot| put(r, inputs[slot], all, slot));
                (all, (0..2).map(|slot| take(r, dy, 3, slot)).collect())
            }),
            state: vec![],
        },
    ]
}
