//! How much of each sequence an encoder is shown, where of some the last steps are hidden, `shaders/tail_dropout.wgsl`:
//! so it learns to say what lies behind the end of what it is shown.

use bytemuck::{Pod, Zeroable};

use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// A share p of the rows hides 1 to `most` steps; `scale` is most / p.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    b: u32,
    most: u32,
    p: f32,
    scale: f32,
}

impl Params {
    fn new(rows: usize, most: usize, p: f32) -> Params {
        Params { b: rows as u32, most: most as u32, p, scale: most as f32 / p }
    }
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "tail_dropout.wgsl",
    text: include_str!("../../shaders/tail_dropout.wgsl"),
    common: &[super::INDEX],
    bindings: &["lengths", "noise", "shown"],
    ..PLAIN_SOURCE
};

/// lengths (B) as integers, noise (B) in (0,1) to shown (B), assigned, as integers; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "tail_dropout.forward",
    formula: "shown[b] = lengths[b], where noise[b] < p less 1 + floor(noise[b]*most/p), at least 1",
    params: &["B", "most", "p", "scale"],
    reads: &["lengths", "noise"],
    writes: &["shown"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        for b in 0..p.b as usize {
            let (length, noise) = (reads[0][b].to_bits(), reads[1][b]);
            // In f32: one product, which every device rounds alike.
            let hidden = 1 + ((noise * p.scale) as u32).min(p.most - 1);
            let left = length.saturating_sub(hidden).max(1).min(length);
            writes[0][b] = f32::from_bits(if noise < p.p { left } else { length });
        }
    },
    cost: |p| Cost { flops: p[0] as u64, bytes: 12 * p[0] as u64 },
    cases,
    gradients: GradientCheck::None("of lengths, which nothing trains"),
    ..PLAIN
};

// ---- Record

/// How many steps of each row are shown, (B) integers, of lengths (B), integers, and uniform noise (B): a share `p` of
/// the rows, above 0, hides 1 to `most` steps, all equally often.
pub fn forward(r: &mut Recorder, lengths: Tensor, noise: Tensor, most: usize, p: f32) -> Tensor {
    let fits = lengths.len() == noise.len() && most > 0 && p > 0.0;
    assert!(fits, "tail_dropout: lengths {lengths:?}, noise {noise:?}, {most} steps of {p}");
    let shown = r.tensor("shown", &[lengths.len()]);
    r.dispatch(&FORWARD, Params::new(lengths.len(), most, p), &[lengths, noise], &[shown]);
    shown
}

// ---- Cases

/// Rows without a step among them, and rows that hide all they have.
fn cases() -> Vec<Case> {
    let case = |b: usize, most: usize, p: f32| {
        Case::new(format!("{b}, 1 to {most} of {p}"), Params::new(b, most, p))
            .read_words((0..b).map(|row| (row * 7 + 5) as u32 % 23).collect())
            .read(uniform(1, b, 0.0, 1.0))
            .assign(b, Tolerance::Exact)
    };
    vec![case(1, 1, 1.0), case(65, 9, 0.5), case(130, 24, 0.25), case(300, 3, 1.0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_hides_steps_all_equally_often() {
        let shown = |noise: f32| {
            let params = bytemuck::pod_collect_to_vec(&[Params::new(1, 4, 0.5)]);
            let mut writes = [0.0];
            (FORWARD.reference)(&params, &[&[f32::from_bits(10)], &[noise]], &mut [&mut writes]);
            writes[0].to_bits()
        };
        assert_eq!([0.01, 0.13, 0.26, 0.38, 0.49, 0.51, 0.99].map(shown), [9, 8, 7, 6, 6, 10, 10]);
    }
}
