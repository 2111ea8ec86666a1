//! The matrix that a product writes, cut into blocks for threads and tiles.

use nalgebra::DMatrixViewMut;

/// C (m,n), whose rows are contiguous. nalgebra's matrices go column by column, so this is its view of the transpose: a
/// row of C is a column there.
pub(crate) struct Target<'a>(DMatrixViewMut<'a, f32>);

impl<'a> Target<'a> {
    /// Rows of `columns` values, one after the other.
    pub fn rows(values: &'a mut [f32], columns: usize) -> Target<'a> {
        let rows = values.len() / columns.max(1);
        Target(DMatrixViewMut::from_slice(values, columns, rows))
    }

    /// [m, n]
    pub fn size(&self) -> [usize; 2] {
        [self.0.ncols(), self.0.nrows()]
    }

    /// So many columns from one on.
    pub fn columns(&mut self, first: usize, width: usize) -> Target<'_> {
        Target(self.0.rows_mut(first, width))
    }

    #[inline(always)]
    pub(super) fn block(&mut self, [row, column]: [usize; 2], [height, width]: [usize; 2]) -> Target<'_> {
        Target(self.0.view_mut((column, row), (width, height)))
    }

    pub(super) fn whole(&mut self) -> Target<'_> {
        let [height, width] = self.size();
        self.block([0, 0], [height, width])
    }

    /// The columns before one, and the others.
    pub(super) fn split_columns(&mut self, at: usize) -> (Target<'_>, Target<'_>) {
        let (left, right) = self.0.rows_range_pair_mut(..at, at..);
        (Target(left), Target(right))
    }

    /// The rows before one, and the others.
    pub(super) fn split_rows(&mut self, at: usize) -> (Target<'_>, Target<'_>) {
        let (top, bottom) = self.0.columns_range_pair_mut(..at, at..);
        (Target(top), Target(bottom))
    }

    #[inline(always)]
    pub(super) fn row(&mut self, i: usize) -> &mut [f32] {
        self.0.column_mut(i).data.into_slice_mut()
    }
}
