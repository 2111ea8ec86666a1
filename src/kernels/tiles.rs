//! The tiles that a workgroup may own of a matrix product, `shaders/common/product.wgsl`: the families of `matmul`,
//! of the fused kernels and of `conv2d` have a shader for each.
//!
//! A large tile reads each operand fewer times: of a 64x64 one a fetched word is used 64 times. A small one leaves more
//! tiles to share out among a GPU's cores. With slices, a small tile has as many invocations as a large one: a part of the
//! sum each. All hold WebGPU's default limits, 256 invocations
//! and 16 KiB of workgroup memory.

use crate::kernel::{Candidate, Constant, Lanes, Shader, Source};

/// A tile and how it is shared out.
#[derive(Clone, Copy)]
pub struct Tile {
    /// Rows by columns, then what is special: `of 8x4` an invocation, `in 4` slices, `deep` in workgroup memory.
    pub name: &'static str,
    /// Rows of the result that a workgroup owns.
    pub rows: u32,
    /// Columns of the result that a workgroup owns.
    pub columns: u32,
    /// Terms of the sum that a slice has in workgroup memory at a time.
    depth: u32,
    /// Blocks of 4x4 that an invocation owns, one below the other: 1 or 2.
    tall: u32,
    /// Parts of the sum.
    slices: u32,
    /// Fours between two terms in workgroup memory.
    gap: u32,
}

const fn tile(name: &'static str, [rows, columns, depth]: [u32; 3], tall: u32, slices: u32) -> Tile {
    Tile { name, rows, columns, depth, tall, slices, gap: 1 }
}

/// One that fills the 16 KiB to the last word. A convolution keeps the places of its rows there too, and cannot.
const fn deep(name: &'static str, sizes: [u32; 3], slices: u32) -> Tile {
    Tile { gap: 0, ..tile(name, sizes, 1, slices) }
}

/// The first is the one where nothing is known; convolutions have the first five, products all but the fourth and the fifth,
/// which have deep ones in their place.
///
/// Measured on an NVIDIA H100 (benches/results/2026-11-26-h100-tuned/tune-128.json, tune-4096.json): of 27 forms none that is not here was
/// more than 3 % faster than these for a product of the MNIST presets at batch 128 or 4096. Taken out again: 8x8 elements an
/// invocation in tiles of 64x64, 128x64 and 128x128, never the fastest, and 6 % to several times slower; 32 neighbours that own
/// 8x4 blocks in place of 16x2, no faster; 128x32 and 256x16.
pub const TILES: [Tile; 8] = [
    tile("64x64", [64, 64, 16], 1, 1),
    tile("128x64", [128, 64, 16], 2, 1),
    tile("64x32", [64, 32, 16], 1, 1),
    tile("32x32 in 4", [32, 32, 8], 1, 4),
    tile("16x16 in 16", [16, 16, 4], 1, 16),
    deep("32x32 in 4 deep", [32, 32, 16], 4),
    deep("16x16 in 16 deep", [16, 16, 8], 16),
    tile("64x32 of 8x4 in 4", [64, 32, 8], 2, 4),
];

impl Tile {
    /// Invocations: across, down, slices.
    pub const fn workgroup(self) -> [u32; 3] {
        [self.columns / 4, self.rows / (4 * self.tall), self.slices]
    }

    /// What `product.wgsl` leaves open.
    pub const fn constants(self) -> [Constant; 6] {
        [
            ("ROWS", self.rows),
            ("COLUMNS", self.columns),
            ("DEPTH", self.depth),
            ("TALL", self.tall),
            ("SLICES", self.slices),
            ("GAP", self.gap),
        ]
    }
}

/// The shaders of an entry point in one tile, or in none, by what they may assume.
pub(super) struct Forms {
    /// Where the sizes that lie side by side in memory are multiples of 4.
    pub vec4: Candidate,
    pub any: Candidate,
}

impl Forms {
    /// `is_whole` where the sizes are what [`vec4`](Forms::vec4) may assume.
    pub fn suited(&'static self, is_whole: bool) -> &'static Candidate {
        if is_whole { &self.vec4 } else { &self.any }
    }
}

/// The forms of an entry point in the n-th tile: `vec4` and `any` are its text on the two kinds of buffers.
pub(super) const fn forms(
    n: usize,
    [vec4, any]: [&'static Source; 2],
    entry: &'static str,
    grid: fn(&[u32]) -> [u32; 3],
) -> Forms {
    let Tile { name, .. } = TILES[n];
    let workgroup = TILES[n].workgroup();
    Forms {
        vec4: Candidate { name, shader: Shader { source: vec4, entry, workgroup, grid } },
        any: Candidate { name, shader: Shader { source: any, entry, workgroup, grid } },
    }
}

/// All of a family, on adapters that do not run on a CPU; `is_whole` as in [`Forms::suited`].
pub(super) fn portable(family: &'static [Forms], software: Option<Lanes>, is_whole: bool) -> Vec<&'static Candidate> {
    if software.is_some() { Vec::new() } else { family.iter().map(|forms| forms.suited(is_whole)).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_named_after_what_they_are() {
        for tile in TILES {
            let Tile { name, rows, columns, depth, tall, slices, gap } = tile;
            let mut expected = format!("{rows}x{columns}");
            if tall > 1 && slices > 1 {
                expected += &format!(" of {}x4", 4 * tall);
            }
            if slices > 1 {
                expected += &format!(" in {slices}");
            }
            if gap == 0 {
                expected += " deep";
            }
            assert_eq!(name, expected);
            assert!(slices.is_power_of_two() && depth.is_multiple_of(4), "{name}");
            let [across, down, _] = tile.workgroup();
            assert_eq!([across * 4, down * 4 * tall], [columns, rows], "{name}");
            // The sums of the bias gradient, a row each.
            assert!(rows / 4 <= across * down, "{name}");
        }
    }
}
