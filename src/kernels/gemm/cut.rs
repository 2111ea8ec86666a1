//! How a product is cut into pieces for the registers and caches of a CPU.

use pulp::Simd;

use super::HEIGHT;

/// Sizes of the pieces. A sum is made in one order for one of these.
pub(super) struct Cut {
    /// Rows and vectors of a tile, whose sums stay in registers.
    pub rows: usize,
    pub vectors: usize,
    /// Terms of a sum that are added up in registers at a time.
    pub depth: usize,
    /// The same where A's columns lie one after the other, as in the gradient of weights, whose sums are as long as the
    /// batch.
    pub column_depth: usize,
    /// Columns of B, in whole panels, that are packed at a time. A wide group reads long runs of B's rows, which the
    /// memory answers fastest.
    pub group: usize,
    /// Rows of A, in whole tiles, that all panels of a group are multiplied with before the next: with so many terms
    /// they stay in the second cache.
    pub height: usize,
    /// Groups of B from which on contiguous rows of A are worth their packing.
    pub worth_packing: usize,
}

/// For 32 registers: 24 sums, 3 vectors of B and one of A are 28 of them.
pub(super) const LARGE: Cut =
    Cut { rows: 8, vectors: 3, depth: 1024, column_depth: 256, group: 48, height: HEIGHT, worth_packing: 3 };

/// For 16 registers: 12 sums, 2 vectors of B and one of A are 15. A tile of 4 rows and 3 vectors would need all 16; the
/// compiler then keeps one sum in memory, and a product takes twice the time. Six rows of A are read as fast where they
/// lie as packed.
pub(super) const SMALL: Cut =
    Cut { rows: 6, vectors: 2, depth: 800, column_depth: 256, group: 480, height: 96, worth_packing: usize::MAX };

/// Whether a CPU has the registers of [`LARGE`].
pub(super) const fn has_large<S: Simd>() -> bool {
    S::REGISTER_COUNT >= 32
}
