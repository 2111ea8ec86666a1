//! Both operands of a product, packed in the order in which a tile reads them.

use pulp::{Simd, WithSimd};

use super::View;
use super::tile::stride;

/// A (m,depth) in blocks of M rows: the M rows of a column lie side by side, and the columns follow each other. What
/// lies beyond the last row means nothing.
pub(super) struct PackA<'a, const M: usize> {
    pub a: View<'a>,
    /// m and depth.
    pub size: [usize; 2],
    pub blocks: &'a mut [f32],
}

impl<const M: usize> WithSimd for PackA<'_, M> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let PackA { a, size: [m, depth], blocks } = self;
        let stride = stride(M, depth);
        if a.has_rows() {
            for (block, top) in blocks.chunks_mut(stride).zip((0..m).step_by(M)) {
                let rows = std::array::from_fn(|i| a.row((top + i).min(m - 1), depth));
                turn::<M, 16>(rows, block, [M, 0]);
            }
            return;
        }
        for k in 0..depth {
            let (whole, rest) = a.transposed().row(k, m).as_chunks::<M>();
            for (block, rows) in blocks.chunks_mut(stride).zip(whole) {
                block[k * M..][..M].copy_from_slice(rows);
            }
            if !rest.is_empty() {
                blocks[whole.len() * stride + k * M..][..rest.len()].copy_from_slice(rest);
            }
        }
    }
}

/// B (depth,n) in panels of V vectors: a row of a panel lies side by side, and the rows follow each other. What lies
/// beyond the last column means nothing.
pub(super) struct PackB<'a, const V: usize> {
    pub b: View<'a>,
    /// depth and n.
    pub size: [usize; 2],
    pub panels: &'a mut [f32],
}

impl<const V: usize> WithSimd for PackB<'_, V> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let columns = V * S::F32_LANES;
        if !self.b.has_rows() {
            return match S::F32_LANES {
                16 => self.turned::<16>(columns),
                8 => self.turned::<8>(columns),
                4 => self.turned::<4>(columns),
                _ => self.turned::<1>(columns),
            };
        }
        let PackB { b, size: [depth, n], panels } = self;
        for k in 0..depth {
            for (i, row) in b.row(k, n).chunks(columns).enumerate() {
                let to = &mut panels[(i * depth + k) * columns..][..columns];
                let vectors = S::as_simd_f32s(row).0.first_chunk::<V>();
                match (vectors, S::as_mut_simd_f32s(to).0.first_chunk_mut()) {
                    (Some(row), Some(to)) => *to = *row,
                    _ => to[..row.len()].copy_from_slice(row),
                }
            }
        }
    }
}

impl<const V: usize> PackB<'_, V> {
    /// Where columns are contiguous: N of them at a time, a vector of the panel.
    #[inline(always)]
    fn turned<const N: usize>(self, columns: usize) {
        let PackB { b, size: [depth, n], panels } = self;
        for left in (0..n).step_by(N) {
            let lines = std::array::from_fn(|j| b.transposed().row((left + j).min(n - 1), depth));
            let panel = &mut panels[left / columns * columns * depth..][..columns * depth];
            turn::<N, N>(lines, panel, [columns, left % columns]);
        }
    }
}

/// Writes N lines down as columns of a matrix with rows of `width`, from the column `at` on: `to[k * width + at + i] =
/// lines[i][k]`, in blocks of K terms, which stay in registers.
#[inline(always)]
fn turn<const N: usize, const K: usize>(lines: [&[f32]; N], to: &mut [f32], [width, at]: [usize; 2]) {
    let lines = lines.map(|line| line.as_chunks::<K>());
    let (blocks, rest) = lines[0];
    let last = blocks.len() * K * width;
    for (index, to) in to[..last].chunks_exact_mut(K * width).enumerate() {
        let block: [&[f32; K]; N] = std::array::from_fn(|i| &lines[i].0[index]);
        for (k, to) in to.chunks_exact_mut(width).enumerate() {
            let row: &mut [f32; N] = to[at..].first_chunk_mut().expect("N columns");
            *row = std::array::from_fn(|i| block[i][k]);
        }
    }
    for (k, to) in to[last..].chunks_exact_mut(width).enumerate().take(rest.len()) {
        let row: &mut [f32; N] = to[at..].first_chunk_mut().expect("N columns");
        *row = std::array::from_fn(|i| lines[i].1[k]);
    }
}
