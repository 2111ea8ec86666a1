//! The weight of a convolution that sees only what comes before, `shaders/masked_weight.wgsl`: the masks A and B of van
//! den Oord, Kalchbrenner & Kavukcuoglu 2016 (arXiv 1601.06759), for features that depend on no others of their place.

use bytemuck::{Pod, Zeroable};

use crate::cases::{Case, GradientCase, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::kernels::joint;
use crate::program::Recorder;
use crate::tensor::Tensor;

/// Which places of its window a convolution sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// Those before the middle one, A: of a first layer, which must not see what it predicts.
    Before,
    /// The middle one, too, B: of layers on what a first one left.
    UpTo,
}

// ---- Params

/// `middle` is 1 where the middle place is seen.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    o: u32,
    kh: u32,
    kw: u32,
    i: u32,
    middle: u32,
}

impl Params {
    fn len(self) -> usize {
        [self.o, self.kh, self.kw, self.i].iter().map(|&n| n as usize).product()
    }

    /// Whether an element is of a place that comes before.
    fn is_before(self, element: usize) -> bool {
        let [kh, kw, i, middle] = [self.kh, self.kw, self.i, self.middle].map(|n| n as usize);
        let (row, column) = (element / (i * kw) % kh, element / i % kw);
        row < kh / 2 || (row == kh / 2 && column < kw / 2 + middle)
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "masked_weight.wgsl",
    text: include_str!("../../shaders/masked_weight.wgsl"),
    common: &[super::INDEX],
    bindings: &["w", "y", "dw"],
    ..PLAIN_SOURCE
};

/// w (O,KH,KW,I) to y in its shape, assigned; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "masked_weight.forward",
    formula: "y = w at places before the middle, in the order of reading (with middle 1 at it, too), else 0",
    params: &["O", "KH", "KW", "I", "middle"],
    reads: &["w"],
    writes: &["y"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(params::<Params>(p).len(), 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        for i in 0..p.len() {
            writes[0][i] = if p.is_before(i) { reads[0][i] } else { 0.0 };
        }
    },
    cost: |p| Cost { flops: 0, bytes: 8 * params::<Params>(p).len() as u64 },
    cases: || cases(|case, values, n| case.read(values).assign(n, Tolerance::Exact)),
    gradients: GradientCheck::Cases(gradients),
    ..PLAIN
};

/// dw (O,KH,KW,I), the gradient of y, updated in place to that of w; recorded by [`backward`].
pub static BACKWARD: Kernel = Kernel {
    name: "masked_weight.backward",
    formula: "dw = 0 where y does not depend on w",
    reads: &[],
    writes: &["dw"],
    shader: Shader { entry: "backward", ..FORWARD.shader },
    reference: |p, _, writes| {
        let p: Params = params(p);
        for i in (0..p.len()).filter(|&i| !p.is_before(i)) {
            writes[0][i] = 0.0;
        }
    },
    cases: || cases(|case, values, _| case.update(values, Tolerance::Exact)),
    ..FORWARD
};

// ---- Record

fn sizes(w: Tensor, mask: Mask) -> Params {
    let &[o, kh, kw, i] = w.shape() else { panic!("masked_weight: w {w:?} is not (O,KH,KW,I)") };
    assert!(kh % 2 == 1 && kw % 2 == 1, "masked_weight: the window of w {w:?} has no middle");
    let [o, kh, kw, i] = [o, kh, kw, i].map(|n| n as u32);
    Params { o, kh, kw, i, middle: u32::from(mask == Mask::UpTo) }
}

/// The weight w (O,KH,KW,I) with zeros where the mask covers it.
pub fn forward(r: &mut Recorder, w: Tensor, mask: Mask) -> Tensor {
    let params = sizes(w, mask);
    let y = r.tensor("masked", w.shape());
    r.dispatch(&FORWARD, params, &[w], &[y]);
    y
}

/// Makes the gradient of what [`forward`] gave, in dw (O,KH,KW,I), that of the weight.
pub fn backward(r: &mut Recorder, dw: Tensor, mask: Mask) {
    r.dispatch(&BACKWARD, sizes(dw, mask), &[], &[dw]);
}

// ---- Cases

/// Both masks of windows of one place, of a row, and of several; odd numbers of channels.
fn cases(of: fn(Case, Vec<f32>, usize) -> Case) -> Vec<Case> {
    let case = |[o, kh, kw, i]: [usize; 4]| {
        [0, 1].map(|middle| {
            let n = o * kh * kw * i;
            let [o, kh, kw, i] = [o, kh, kw, i].map(|n| n as u32);
            let params = Params { o, kh, kw, i, middle };
            of(Case::new(format!("{o}x{kh}x{kw}x{i}, middle {middle}"), params), uniform(1, n, -1.0, 1.0), n)
        })
    };
    [[1, 1, 1, 1], [3, 1, 5, 2], [5, 3, 3, 7], [33, 7, 7, 5]].into_iter().flat_map(case).collect()
}

// ---- Gradients

/// For the finite-difference check: every element of the masked weight with a weight of its own.
fn gradients() -> Vec<GradientCase> {
    let of = |mask| GradientCase {
        label: format!("{mask:?}"),
        inputs: vec![(vec![2, 3, 5, 2], uniform(1, 60, -1.0, 1.0))],
        output: vec![2, 3, 5, 2],
        record: Box::new(move |r, inputs, dy| {
            let dw = joint::scale(r, dy, 1.0);
            backward(r, dw, mask);
            (forward(r, inputs[0], mask), vec![dw])
        }),
        state: vec![],
    };
    [Mask::Before, Mask::UpTo].map(of).into()
}
