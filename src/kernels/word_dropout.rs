//! What a decoder is told at each step of a sentence, `shaders/word_dropout.wgsl`: the word before, of which some are
//! hidden (Bowman et al. 2016, arXiv 1511.06349).

use bytemuck::{Pod, Zeroable};

use crate::cases::{Case, Tolerance, uniform};
use crate::kernel::{Cost, GradientCheck, Kernel, PLAIN, PLAIN_SOURCE, Shader, Source, grid_1d, params};
use crate::program::Recorder;
use crate::tensor::Tensor;

// ---- Params

/// R = T B words of B sentences; `first` is told at the first step; `unknown` stands for a hidden word; numbers below
/// `words` are marks that are never hidden; p is the share that is.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
struct Params {
    r: u32,
    b: u32,
    first: u32,
    unknown: u32,
    words: u32,
    p: f32,
}

/// The marks of a vocabulary, as [`forward`] needs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marks {
    /// What is told at the first step.
    pub first: u32,
    /// What stands for a hidden word.
    pub unknown: u32,
    /// Numbers below are marks, which are never hidden.
    pub words: u32,
}

// ---- Kernels

const SOURCE: Source = Source {
    file: "word_dropout.wgsl",
    text: include_str!("../../shaders/word_dropout.wgsl"),
    common: &[super::INDEX],
    bindings: &["ids", "noise", "told"],
    ..PLAIN_SOURCE
};

/// ids (T,B) as integers, noise (T,B) in (0,1) to told (T,B), assigned, as integers; recorded by [`forward`].
pub static FORWARD: Kernel = Kernel {
    name: "word_dropout.forward",
    formula: "told[t,b] = ids[t-1,b], of words a share p hidden; told[0,b] = first",
    params: &["R", "B", "first", "unknown", "words", "p"],
    reads: &["ids", "noise"],
    writes: &["told"],
    shader: Shader {
        source: &SOURCE,
        entry: "forward",
        workgroup: [64, 1, 1],
        grid: |p, _| grid_1d(p[0] as usize, 64),
    },
    reference: |p, reads, writes| {
        let p: Params = params(p);
        let [r, b] = [p.r as usize, p.b as usize];
        for i in 0..r {
            let word = if i < b { p.first } else { reads[0][i - b].to_bits() };
            let is_hidden = i >= b && word >= p.words && reads[1][i] < p.p;
            writes[0][i] = f32::from_bits(if is_hidden { p.unknown } else { word });
        }
    },
    cost: |p| Cost { flops: 0, bytes: 12 * p[0] as u64 },
    cases,
    gradients: GradientCheck::None("copies words, which nothing trains"),
    ..PLAIN
};

// ---- Record

/// What is told at the steps of `sentences` sentences: ids (T*B) and uniform noise of the same shape to (T*B),
/// integers.
pub fn forward(r: &mut Recorder, ids: Tensor, noise: Tensor, sentences: usize, marks: Marks, p: f32) -> Tensor {
    assert!(
        ids.len() == noise.len() && ids.len().is_multiple_of(sentences),
        "word_dropout: ids {ids:?}, noise {noise:?}"
    );
    let told = r.tensor("told", ids.shape());
    let Marks { first, unknown, words } = marks;
    let params = Params { r: ids.len() as u32, b: sentences as u32, first, unknown, words, p };
    r.dispatch(&FORWARD, params, &[ids, noise], &[told]);
    told
}

// ---- Cases

fn cases() -> Vec<Case> {
    let case = |[t, b]: [usize; 2], p: f32| {
        let params = Params { r: (t * b) as u32, b: b as u32, first: 2, unknown: 1, words: 4, p };
        Case::new(format!("{t}x{b} of {p}"), params)
            .read_words((0..t * b).map(|i| (i * 5 % 11) as u32).collect())
            .read(uniform(1, t * b, 0.0, 1.0))
            .assign(t * b, Tolerance::Exact)
    };
    vec![case([1, 1], 0.5), case([3, 2], 0.0), case([5, 17], 1.0), case([9, 65], 0.4)]
}
