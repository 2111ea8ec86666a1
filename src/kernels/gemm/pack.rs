//! Both operands of a product, packed in the order in which a tile reads them.

use pulp::{Simd, WithSimd};

use super::{COLUMNS, ROWS, View};

/// A transposition is made of squares of so many rows, and these are of stretches of columns.
const SQUARE: usize = 16;
const STRETCH: usize = 128;

/// Copies rows and columns of A so that 8 rows of a column lie side by side, and their columns follow each other: a
/// block every `stride` numbers. What lies beyond the last row means nothing.
pub(super) struct PackA<'a> {
    pub a: View<'a>,
    /// Rows and columns.
    pub size: [usize; 2],
    pub stride: usize,
    pub blocks: &'a mut [f32],
}

impl WithSimd for PackA<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let PackA { a, size: [height, depth], stride, blocks } = self;
        if a.strides[0] == 1 {
            for k in 0..depth {
                let column = &a.values[k * a.strides[1]..][..height];
                for (block, eight) in blocks.chunks_mut(stride).zip(column.chunks(ROWS)) {
                    block[k * ROWS..][..eight.len()].copy_from_slice(eight);
                }
            }
            return;
        }
        for (block, top) in blocks.chunks_mut(stride).zip((0..height).step_by(ROWS)) {
            let row = |i: usize| &a.values[(top + i).min(height - 1) * a.strides[0]..][..depth];
            let rows: [&[f32]; ROWS] = std::array::from_fn(row);
            let (eights, _) = block.as_chunks_mut::<ROWS>();
            let (squares, rest) = eights[..depth].as_chunks_mut::<SQUARE>();
            for (at, square) in squares.iter_mut().enumerate() {
                let from: [&[f32; SQUARE]; ROWS] =
                    std::array::from_fn(|i| rows[i][at * SQUARE..].first_chunk().expect("a whole square"));
                for (k, eight) in square.iter_mut().enumerate() {
                    *eight = std::array::from_fn(|i| from[i][k]);
                }
            }
            let first = depth - rest.len();
            for (k, eight) in rest.iter_mut().enumerate() {
                *eight = std::array::from_fn(|i| rows[i][first + k]);
            }
        }
    }
}

/// Copies `width` columns of B so that 48 of a row lie side by side; what lies beyond `width` means nothing.
pub(super) struct PackB<'a> {
    pub b: View<'a>,
    pub width: usize,
    pub panel: &'a mut [f32],
}

impl WithSimd for PackB<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let PackB { b, width, panel } = self;
        if b.strides[1] == 1 {
            for (i, row) in panel.chunks_exact_mut(COLUMNS).enumerate() {
                let b = &b.values[i * b.strides[0]..][..width];
                if width == COLUMNS {
                    row[..COLUMNS].copy_from_slice(&b[..COLUMNS]);
                } else {
                    row[..width].copy_from_slice(b);
                }
            }
            return;
        }
        // Some of 16 columns at a time, read one after the other, which the memory answers fastest, then turned around.
        let mut columns = [[0f32; STRETCH]; SQUARE];
        for (stretch, panel) in panel.chunks_mut(STRETCH * COLUMNS).enumerate() {
            let depth = panel.len() / COLUMNS;
            for left in (0..width).step_by(SQUARE) {
                // Beyond the last column stands whatever stood there: its sums are not used.
                for (j, column) in columns.iter_mut().enumerate().take(width - left) {
                    let at = (left + j) * b.strides[1] + stretch * STRETCH;
                    column[..depth].copy_from_slice(&b.values[at..][..depth]);
                }
                for (square, panel) in panel.chunks_mut(SQUARE * COLUMNS).enumerate() {
                    let column = |j: usize| columns[j][square * SQUARE..].first_chunk().expect("a whole square");
                    let square: [&[f32; SQUARE]; SQUARE] = std::array::from_fn(column);
                    for (i, row) in panel.chunks_exact_mut(COLUMNS).enumerate() {
                        let row: &mut [f32; SQUARE] = row[left..].first_chunk_mut().expect("a row of the panel");
                        *row = std::array::from_fn(|j| square[j][i]);
                    }
                }
            }
        }
    }
}
