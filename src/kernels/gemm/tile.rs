//! Rows of A times a panel of B, tile by tile: the terms are added up in vector registers, then C is written.

use pulp::{Simd, WithSimd};

use super::{LINE, Target, View};

/// Rows of A times a panel, to the columns of C that the panel has, in tiles of M rows and V vectors. The loop must
/// stay a function of its own (`vectorize`): inside a larger one the compiler runs out of registers.
pub(super) struct Tiles<'a, const M: usize, const V: usize> {
    pub a: Rows<'a>,
    /// V vectors a term, as `PackB` left them.
    pub panel: &'a [f32],
    pub depth: usize,
    pub c: Target<'a>,
    pub assign: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Rows<'a> {
    /// Contiguous where they lie.
    InPlace(View<'a>),
    /// Blocks of M rows, as `PackA` left them.
    Packed(&'a [f32]),
}

impl Rows<'_> {
    /// Without the first `top` rows, which are whole tiles of M.
    pub fn from<const M: usize>(self, top: usize, depth: usize) -> Self {
        match self {
            Rows::InPlace(a) => Rows::InPlace(a.from([top, 0])),
            Rows::Packed(blocks) => Rows::Packed(&blocks[top / M * stride(M, depth)..]),
        }
    }
}

/// Numbers from one packed block to the next: a line more than it has, so that blocks do not fall on the same lines of
/// the cache.
pub(super) fn stride(rows: usize, depth: usize) -> usize {
    rows * depth + LINE
}

impl<const M: usize, const V: usize> WithSimd for Tiles<'_, M, V> {
    type Output = ();

    /// A panel has V vectors, of which its last columns may need fewer.
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match self.c.size()[1].div_ceil(S::F32_LANES) {
            1 => self.vectors::<S, 1>(simd),
            // Not where V is 2: the compiler merges two copies of a loop into one that checks each index.
            2 if V > 2 => self.vectors::<S, 2>(simd),
            _ => self.vectors::<S, V>(simd),
        }
    }
}

impl<const M: usize, const V: usize> Tiles<'_, M, V> {
    /// With the first W of V vectors. The last tile may reach beyond the last row: those sums mean nothing, and are not
    /// stored.
    #[inline(always)]
    fn vectors<S: Simd, const W: usize>(mut self, simd: S) {
        let [rows, _] = self.c.size();
        let (panel, _) = S::as_simd_f32s(self.panel);
        let panel = &panel.as_chunks::<V>().0[..self.depth];
        match self.a {
            Rows::InPlace(a) => {
                for row in (0..rows).step_by(M) {
                    let a: [&[f32]; M] = std::array::from_fn(|i| a.row((row + i).min(rows - 1), self.depth));
                    let mut sums = [[simd.splat_f32s(0.0); W]; M];
                    for (k, b) in panel.iter().enumerate() {
                        let a: [f32; M] = std::array::from_fn(|i| a[i][k]);
                        add_term(simd, &a, b, &mut sums);
                    }
                    store(simd, &mut self.c, row, sums, self.assign);
                }
            }
            Rows::Packed(blocks) => {
                for (block, row) in blocks.chunks(stride(M, self.depth)).zip((0..rows).step_by(M)) {
                    let mut sums = [[simd.splat_f32s(0.0); W]; M];
                    for (a, b) in block.as_chunks::<M>().0.iter().zip(panel) {
                        add_term(simd, a, b, &mut sums);
                    }
                    store(simd, &mut self.c, row, sums, self.assign);
                }
            }
        }
    }
}

/// Adds the products of M rows of A and W vectors of B for one term.
#[inline(always)]
fn add_term<S: Simd, const M: usize, const V: usize, const W: usize>(
    simd: S,
    a: &[f32; M],
    b: &[S::f32s; V],
    sums: &mut [[S::f32s; W]; M],
) {
    for i in 0..M {
        let a = simd.splat_f32s(a[i]);
        for j in 0..W {
            sums[i][j] = simd.mul_add_e_f32s(a, b[j], sums[i][j]);
        }
    }
}

/// C = sums or C += sums from `row` on, as far as C has rows and columns.
#[inline(always)]
fn store<S: Simd, const M: usize, const W: usize>(
    simd: S,
    c: &mut Target,
    row: usize,
    sums: [[S::f32s; W]; M],
    assign: bool,
) {
    let rows = c.size()[0] - row;
    for (i, sums) in sums.iter().enumerate() {
        // A loop of a known length, which leaves the sums in registers.
        if i == rows {
            break;
        }
        let c = c.row(row + i);
        for (j, &sum) in sums.iter().enumerate() {
            let [from, to] = [j * S::F32_LANES, (j + 1) * S::F32_LANES].map(|at| at.min(c.len()));
            let c = &mut c[from..to];
            if c.len() == S::F32_LANES {
                let (c, _) = S::as_mut_simd_f32s(c);
                c[0] = if assign { sum } else { simd.add_f32s(c[0], sum) };
            } else {
                let sum = if assign { sum } else { simd.add_f32s(simd.partial_load_f32s(c), sum) };
                simd.partial_store_f32s(c, sum);
            }
        }
    }
}
