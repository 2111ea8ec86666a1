//! The tiles that a workgroup may own of a matrix product, `shaders/common/product.wgsl`: the families of `matmul`,
//! of the fused kernels and of `conv2d` have a shader for each.
//!
//! A large tile reads each operand fewer times: of a 64x64 one a fetched word is used 64 times. A small one leaves more
//! tiles to share out among a GPU's cores. With slices, a small tile has as many invocations as a large one: a part of
//! the sum each. All hold WebGPU's default limits, 256 invocations
//! and 16 KiB of workgroup memory.

use crate::kernel::{Candidate, Constant, Grid, Shader, Source, grid_1d};

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

/// The first is the one where nothing is known; convolutions have the first five, products all but the fourth and the
/// fifth, which have deep ones in their place.
///
/// Measured on an NVIDIA H100 (benches/results/2026-11-26-h100-tuned/tune-128.json, tune-4096.json): of 27 forms none
/// that is not here was more than 3 % faster than these for a product of the MNIST presets at batch 128 or 4096. Taken
/// out again: 8x8 elements an invocation in tiles of 64x64, 128x64 and 128x128, never the fastest, and 6 % to several
/// times slower; 32 neighbours that own 8x4 blocks in place of 16x2, no faster; 128x32 and 256x16.
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
#[derive(Clone, Copy)]
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

/// What `product.wgsl` leaves open, for each of [`TILES`].
static CONSTANTS: [[Constant; 6]; TILES.len()] = {
    let mut constants = [TILES[0].constants(); TILES.len()];
    let mut n = 0;
    while n < TILES.len() {
        constants[n] = TILES[n].constants();
        n += 1;
    }
    constants
};

/// A text in each of [`TILES`].
pub(super) type Texts = [Source; TILES.len()];

/// The text, completed for each tile.
pub(super) const fn texts(text: Source) -> Texts {
    let mut texts = [text; TILES.len()];
    let mut n = 0;
    while n < TILES.len() {
        texts[n].constants = &CONSTANTS[n];
        n += 1;
    }
    texts
}

/// An entry point in each of [`TILES`]; `vec4` and `any` are its text on the two kinds of buffers.
pub(super) type Family = [Forms; TILES.len()];

/// A family: the grid is told the tile by the constants, see [`across_and_down`].
pub(super) const fn family(vec4: &'static Texts, any: &'static Texts, entry: &'static str, grid: Grid) -> Family {
    const fn candidate(n: usize, texts: &'static Texts, entry: &'static str, grid: Grid) -> Candidate {
        let Tile { name, .. } = TILES[n];
        Candidate { name, shader: Shader { source: &texts[n], entry, workgroup: TILES[n].workgroup(), grid } }
    }
    let first = Forms { vec4: candidate(0, vec4, entry, grid), any: candidate(0, any, entry, grid) };
    let mut family = [first; TILES.len()];
    let mut n = 1;
    while n < TILES.len() {
        family[n] = Forms { vec4: candidate(n, vec4, entry, grid), any: candidate(n, any, entry, grid) };
        n += 1;
    }
    family
}

/// The tiles of a linear layer's products, as places in [`TILES`].
pub(super) const OF_PRODUCTS: [usize; 6] = [0, 1, 2, 5, 6, 7];

/// Rows and columns of the tile whose constants these are; none where they are no tile's.
pub fn size(constants: &[Constant]) -> Option<[u32; 2]> {
    let of = |wanted: &str| constants.iter().find(|(name, _)| *name == wanted).map(|&(_, value)| value);
    Some([of("ROWS")?, of("COLUMNS")?])
}

/// Tiles that cover so many columns, and so many rows.
pub(super) fn across_and_down(constants: &[Constant], [rows, columns]: [u32; 2]) -> [u32; 2] {
    let [tall, wide] = size(constants).expect("the constants of a tile");
    [columns.div_ceil(wide), rows.div_ceil(tall)]
}

/// Those of a family in the wanted tiles; `is_whole` as in [`Forms::suited`].
pub(super) fn candidates(family: &'static Family, wanted: &[usize], is_whole: bool) -> Vec<&'static Candidate> {
    wanted.iter().map(|&n| family[n].suited(is_whole)).collect()
}

/// The grid of a software form: `count` products, each of `rows` by `columns`. An invocation owns 16 x 16 of one
/// (`shaders/software/tile.wgsl`), a workgroup 8 of these tiles.
pub(super) fn software([rows, columns]: [usize; 2], count: usize) -> [u32; 3] {
    grid_1d(rows.div_ceil(16) * columns.div_ceil(16) * count, 8)
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
