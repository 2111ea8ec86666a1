
// What the tiles of 32 or 40 rows and 64 columns share that a subgroup of 8 owns: eight.wgsl and fours.wgsl multiply them.

// The rows that a lane loads for all, one of each 8 of the tile's. What lies past the end is read from the last row or
// column, here and below: a broadcast must not stand where lanes disagree. Where results are assigned, those past the end
// are therefore the last ones once more.
fn own_rows(first: u32, rows: u32) -> vec4<u32> {
    return min(vec4<u32>(first) + vec4<u32>(0u, 8u, 16u, 24u), vec4<u32>(rows - 1u));
}

// First row and first column of a workgroup's tile of that many rows and 64 columns. Tiles are numbered row by row of tiles.
fn tile_of(index: u32, rows: u32, columns: u32) -> vec2<u32> {
    let across = (columns + 63u) / 64u;
    return vec2<u32>(rows, 64u) * vec2<u32>(index / across, index % across);
}
