//! A tensor is a name for device memory: which buffer, where in it, which shape. It holds no data.

use std::fmt;

/// The most dimensions a shape has: (B, C, H, W).
pub const MAX_RANK: usize = 4;

/// Row-major view of `len` 32-bit words (f32 unless a kernel says u32) in one buffer of an
/// [`Arena`](crate::arena::Arena).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tensor {
    /// Index of the buffer in its arena.
    pub buffer: usize,
    /// First word of the view. Views start at multiples of 64 words, the 256 bytes every adapter can bind at.
    pub offset: usize,
    dims: [usize; MAX_RANK],
    rank: usize,
}

impl Tensor {
    /// A view at `offset` words into `buffer`. Panics on more than [`MAX_RANK`] dimensions or an empty shape.
    pub fn new(buffer: usize, offset: usize, shape: &[usize]) -> Tensor {
        assert!(shape.len() <= MAX_RANK, "shape {shape:?} has more than {MAX_RANK} dimensions");
        assert!(shape.iter().all(|&d| d > 0), "shape {shape:?} has an empty dimension");
        let mut dims = [1; MAX_RANK];
        dims[..shape.len()].copy_from_slice(shape);
        Tensor { buffer, offset, dims, rank: shape.len() }
    }

    /// The dimensions, outermost first, at most [`MAX_RANK`].
    pub fn shape(&self) -> &[usize] {
        &self.dims[..self.rank]
    }

    /// The shape as (rows, columns). Panics when the tensor is not a matrix.
    pub fn matrix(&self) -> [usize; 2] {
        assert!(self.rank == 2, "expected a matrix, got shape {:?}", self.shape());
        [self.dims[0], self.dims[1]]
    }

    /// Number of elements, each one 32-bit word. One that no `usize` holds is the largest `usize`, for which there is
    /// no memory either.
    pub fn len(&self) -> usize {
        self.dims.iter().fold(1, |len: usize, &d| len.saturating_mul(d))
    }

    /// Never: a shape has no empty dimension.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The same words under another shape of the same length.
    pub fn reshape(&self, shape: &[usize]) -> Tensor {
        let other = Tensor::new(self.buffer, self.offset, shape);
        assert!(other.len() == self.len(), "cannot reshape {:?} to {shape:?}", self.shape());
        other
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{:?}@{}+{}", self.shape(), self.buffer, self.offset)
    }
}
