//! Rows of C in one thread, by what the caches hold: some terms of the sums, a group of panels of B, some rows of A,
//! then panel by panel.

use pulp::{Simd, WithSimd};

use super::cut::{self, Cut, LARGE, SMALL};
use super::pack::{PackA, PackB};
use super::tile::{Rows, Tiles, stride};
use super::{LINE, Store, Target, View, scratch};

/// C (m,n) = A B or C += A B.
pub(super) struct Band<'a> {
    pub c: Target<'a>,
    pub a: View<'a>,
    pub b: View<'a>,
    pub k: usize,
    pub store: Store,
}

impl WithSimd for Band<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        if cut::has_large::<S>() {
            self.in_pieces::<S, { LARGE.rows }, { LARGE.vectors }>(simd, &LARGE);
        } else {
            self.in_pieces::<S, { SMALL.rows }, { SMALL.vectors }>(simd, &SMALL);
        }
    }
}

impl Band<'_> {
    /// In tiles of M rows and V vectors. This function has no vectors itself, and those that have are not inlined into
    /// it: in one large function the compiler runs out of registers.
    #[inline(never)]
    pub fn in_pieces<S: Simd, const M: usize, const V: usize>(mut self, simd: S, cut: &Cut) {
        let ([m, n], columns) = (self.c.size(), V * S::F32_LANES);
        // Whether A is packed changes no sum.
        let is_packed = !self.a.has_rows() || (m > M && n.div_ceil(cut.group) >= cut.worth_packing);
        let deepest = if self.a.has_rows() { cut.depth } else { cut.column_depth };
        let depths = self.k.div_ceil(deepest);
        let deepest = self.k.div_ceil(depths.max(1));
        let mut panels = scratch::any(deepest * cut.group.min(n).next_multiple_of(columns) + LINE);
        let panels = from_a_line(&mut panels);
        let mut blocks = scratch::any(if is_packed { m.div_ceil(M) * stride(M, deepest) } else { 0 });
        for first in (0..depths).map(|i| i * deepest) {
            let depth = deepest.min(self.k - first);
            let a = self.a.from([0, first]);
            let a = if is_packed {
                simd.vectorize(PackA::<M> { a, size: [m, depth], blocks: &mut blocks });
                Rows::Packed(&blocks)
            } else {
                Rows::InPlace(a)
            };
            for group in (0..n).step_by(cut.group) {
                let width = cut.group.min(n - group);
                let b = self.b.from([first, group]);
                simd.vectorize(PackB::<V> { b, size: [depth, width], panels });
                let assign = self.store == Store::Assign && first == 0;
                for top in (0..m).step_by(cut.height) {
                    let (a, height) = (a.from::<M>(top, depth), cut.height.min(m - top));
                    for (panel, left) in panels.chunks(depth * columns).zip((0..width).step_by(columns)) {
                        let c = self.c.block([top, group + left], [height, columns.min(width - left)]);
                        simd.vectorize(Tiles::<M, V> { a, panel, depth, c, assign });
                    }
                }
            }
        }
    }
}

/// Without the first numbers, where they are before the start of a cache line, at which panels begin.
fn from_a_line(values: &mut [f32]) -> &mut [f32] {
    let before = values.as_ptr().align_offset(4 * LINE);
    &mut values[before..]
}
