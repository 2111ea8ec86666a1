//! The start of a step in one dispatch, `shaders/fused_batch.wgsl`: the pictures of the batch, as
//! [`gather::forward`] picks them, and the moment, a clock of this step alone.
//! [`fusion`](crate::fusion) records it.

use bytemuck::{Pod, Zeroable};

use super::clock::{self, Clock};
use super::gather;
use crate::cases::{Case, Tolerance};
use crate::kernel::{GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d};
use crate::program::Recorder;
use crate::tensor::Tensor;

/// Words of a moment: a clock's header and one row.
pub const MOMENT: usize = clock::HEADER + clock::ROW;

// ---- Params

/// B pictures of D bytes; `stride` is the size of a full batch.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    d: u32,
    stride: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "fused_batch.wgsl",
    text: include_str!("../../shaders/fused_batch.wgsl"),
    common: &[super::INDEX],
    bindings: &["data", "order", "clock", "x", "moment"],
    ..PLAIN_SOURCE
};

/// The packed data, the order (N) and the clock to x (B,D) and moment (16), both assigned; recorded by [`begin`].
pub static BEGIN: Kernel = Kernel {
    name: "fused_batch.begin",
    formula: "x[r,d] = data[order[batch*stride + r], d] / 255, moment = the clock at its batch",
    params: &["B", "D", "stride"],
    reads: &["data", "order", "clock"],
    writes: &["x", "moment"],
    shader: Shader {
        source: &SOURCE,
        entry: "begin",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d((p[0] as usize * p[1] as usize).max(MOMENT), 64),
    },
    reference: |p, reads, writes| {
        let [x, moment] = writes else { unreachable!("fused_batch.begin writes x and moment") };
        (gather::FORWARD.reference)(&whole(p), reads, &mut [x]);
        look_at(reads[2], moment);
    },
    accelerated: Some(|p, reads, writes| {
        let [x, moment] = writes else { unreachable!("fused_batch.begin writes x and moment") };
        let gather = gather::FORWARD.accelerated.expect("gather.forward has an accelerated form");
        gather(&whole(p), reads, &mut [x]);
        look_at(reads[2], moment);
    }),
    cost: |p| (gather::FORWARD.cost)(&whole(p)),
    cases,
    gradients: GradientCheck::None("copies pictures, which nothing trains, and clears gradients"),
    ..PLAIN
};

/// The params of gather.forward for a data set in one part.
fn whole(p: &[u32]) -> [u32; 5] {
    [p[0], p[1], p[2], 0, u32::MAX]
}

/// The clock's header with batch 0, then the row of its batch: a clock of one batch.
fn look_at(clock: &[f32], moment: &mut [f32]) {
    let row = clock::HEADER + clock::ROW * clock[3].to_bits() as usize;
    let (header, planned) = moment[..MOMENT].split_at_mut(clock::HEADER);
    header.copy_from_slice(&clock[..clock::HEADER]);
    header[3] = f32::from_bits(0);
    planned.copy_from_slice(&clock[row..][..clock::ROW]);
}

// ---- Record

/// The next pictures of a data set in one buffer to `x` (B,D); returns the moment, which stands in for the clock until
/// the step is over. `stride` is the size of a full batch.
pub fn begin(r: &mut Recorder, [data, order, clock]: [Tensor; 3], x: Tensor, stride: usize) -> Tensor {
    let [b, d] = x.matrix();
    let moment = r.tensor("moment", &[MOMENT]);
    let params = Params { b: b as u32, d: d as u32, stride: stride as u32 };
    r.dispatch(&BEGIN, params, &[data, order, clock], &[x, moment]);
    moment
}

// ---- Cases

fn cases() -> Vec<Case> {
    let case = |[n, b, d, stride]: [usize; 4]| {
        let pixels: Vec<u8> = (0..n * d).map(|i| (i * 37 + i / 11) as u8).collect();
        let order = (0..n).map(|i| ((i * 7 + 3) % n) as u32).collect();
        let [rows, dims, full] = [b, d, stride].map(|n| n as u32);
        Case::new(format!("{b}x{d} of {n}"), Params { b: rows, d: dims, stride: full })
            .read_words(gather::pack(&pixels).into_owned())
            .read_words(order)
            .read_words(Clock::example().words())
            .assign(b * d, Tolerance::Because(2e-7, "a division, granted 2.5 ulp"))
            .assign(MOMENT, Tolerance::Exact)
    };
    [[5, 1, 1, 2], [41, 17, 65, 17], [33, 5, 784, 20], [257, 128, 3, 128]].map(case).into()
}
