//! The tiles that a workgroup may own of a matrix product, `shaders/common/product.wgsl`: the families of `matmul`,
//! of the fused kernels and of `conv2d` have a shader for each.
//!
//! A large tile reads each operand fewer times: of a 64x64 one a fetched word is used 64 times. A small one leaves more
//! tiles to share out among a GPU's cores. With slices, a small tile has as many invocations as a large one: a part of the
//! sum each. A narrow one wastes little on a convolution with few channels. All hold WebGPU's default limits, 256 invocations
//! and 16 KiB of workgroup memory.

use crate::kernel::{Candidate, Constant, Lanes, Shader, Source};

/// A tile and how it is shared out.
#[derive(Clone, Copy)]
pub struct Tile {
    /// Rows by columns, then what is special: as in `64x64 wide` of 8x8 an invocation, `32x32 in 4` slices.
    pub name: &'static str,
    /// Rows of the result that a workgroup owns.
    pub rows: u32,
    /// Columns of the result that a workgroup owns.
    pub columns: u32,
    /// Terms of the sum in workgroup memory at a time.
    depth: u32,
    /// Blocks of 4x4 that an invocation owns, down and across: 1 or 2.
    tall: u32,
    wide: u32,
    /// Parts of the sum.
    slices: u32,
}

const fn tile(name: &'static str, [rows, columns, depth]: [u32; 3], [tall, wide]: [u32; 2], slices: u32) -> Tile {
    Tile { name, rows, columns, depth, tall, wide, slices }
}

/// How many there are.
pub const COUNT: usize = 9;

/// The first is the one where nothing is known.
pub const TILES: [Tile; COUNT] = [
    tile("64x64", [64, 64, 16], [1, 1], 1),
    tile("128x128", [128, 128, 8], [2, 2], 1),
    tile("128x64", [128, 64, 16], [2, 1], 1),
    tile("64x64 of 8x8", [64, 64, 16], [2, 2], 1),
    tile("128x32", [128, 32, 16], [1, 1], 1),
    tile("256x16 of 8x4", [256, 16, 8], [2, 1], 1),
    tile("64x32", [64, 32, 16], [1, 1], 1),
    tile("32x32 in 4", [32, 32, 8], [1, 1], 4),
    tile("16x16 in 16", [16, 16, 4], [1, 1], 16),
];

impl Tile {
    /// Invocations: across, down, slices.
    pub const fn workgroup(self) -> [u32; 3] {
        [self.columns / (4 * self.wide), self.rows / (4 * self.tall), self.slices]
    }

    /// What `product.wgsl` leaves open.
    pub const fn constants(self) -> [Constant; 6] {
        [
            ("ROWS", self.rows),
            ("COLUMNS", self.columns),
            ("DEPTH", self.depth),
            ("TALL", self.tall),
            ("WIDE", self.wide),
            ("SLICES", self.slices),
        ]
    }
}

/// A tile's shader of an entry point, by what it may assume.
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
            let Tile { name, rows, columns, depth, tall, wide, slices } = tile;
            let mut expected = format!("{rows}x{columns}");
            if rows * columns < 128 * 64 && (tall, wide) != (1, 1) {
                expected += &format!(" of {}x{}", 4 * tall, 4 * wide);
            }
            if slices > 1 {
                expected += &format!(" in {slices}");
            }
            assert_eq!(name, expected);
            assert!(slices.is_power_of_two() && depth.is_multiple_of(4), "{name}");
            let [across, down, _] = tile.workgroup();
            assert_eq!([across * 4 * wide, down * 4 * tall], [columns, rows], "{name}");
            // The sums of the bias gradient, a row each.
            assert!(rows / 4 <= across * down, "{name}");
        }
    }
}
