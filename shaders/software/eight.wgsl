// Products for adapters that run on a CPU and have subgroups of 8. It is appended to the kernels, whose workgroups are one
// subgroup.
//
// Such an adapter loads from storage with a loop over the lanes, about four cycles for each of them and component, while
// a multiply-add is one instruction for all lanes; so what counts is how many multiply-adds a load serves. In blocks.wgsl
// every lane loads all that it needs. Here the 8 lanes own neighbouring columns, 8 each, of the same 32 rows: a lane loads
// the right operand for its columns and an eighth of the left one for all, and subgroupBroadcast with a constant lane, one
// cheap instruction, hands it around. For 4 terms of the sum a lane makes 12 vec4 loads and 1024 multiply-adds; without the
// broadcasts they would be 40.
//
// The sums stay in registers and stack slots only if every index is a constant once the functions are inlined. Mesa does
// not unroll a loop this long, and with a variable index these arrays are memory: five to ten times slower. So what would
// be loops are calls with constants.

var<private> right: array<mat4x4<f32>, 2>;    // 4 terms of the right operand, for the lane's columns 4j..
var<private> sums: array<vec4<f32>, 64>;      // sums[2r + j]: row r of the tile, the lane's columns 4j..

// The rows that a lane loads for all, one of each 8 of the tile's. What lies past the end is read from the last row or
// column, here and below: a broadcast must not stand where lanes disagree.
fn own_rows(first: u32, rows: u32) -> vec4<u32> {
    return min(vec4<u32>(first) + vec4<u32>(0u, 8u, 16u, 24u), vec4<u32>(rows - 1u));
}

// The same where rows are side by side in memory, in fours: a lane loads four neighbours of each 8.
fn own_fours(first: u32, rows: u32) -> vec4<u32> {
    return min(vec4<u32>(first) + vec4<u32>(0u, 8u, 16u, 24u), vec4<u32>(rows - 4u)) / 4u;
}

// The lane's columns, in fours.
fn own_columns(first: u32, columns: u32) -> vec2<u32> {
    return min(vec2<u32>(first, first + 4u), vec2<u32>(columns - 4u)) / 4u;
}

// ANCHOR: rows
// Adds four terms to the sums of a row.
fn multiply_row(row: u32, terms: vec4<f32>) {
    sums[2u * row] += right[0] * terms;
    sums[2u * row + 1u] += right[1] * terms;
}

// Adds four terms to 8 rows; lane i holds those of row `first + i`.
fn multiply_rows(first: u32, terms: vec4<f32>) {
    multiply_row(first, subgroupBroadcast(terms, 0u));
    multiply_row(first + 1u, subgroupBroadcast(terms, 1u));
    multiply_row(first + 2u, subgroupBroadcast(terms, 2u));
    multiply_row(first + 3u, subgroupBroadcast(terms, 3u));
    multiply_row(first + 4u, subgroupBroadcast(terms, 4u));
    multiply_row(first + 5u, subgroupBroadcast(terms, 5u));
    multiply_row(first + 6u, subgroupBroadcast(terms, 6u));
    multiply_row(first + 7u, subgroupBroadcast(terms, 7u));
}
// ANCHOR_END: rows

// The same where rows are side by side in memory: lane i holds term i % 4 of four rows, `first` and on for i < 4, those
// after for the others.
fn multiply_columns(first: u32, rows: vec4<f32>) {
    let above = transpose(mat4x4<f32>(subgroupBroadcast(rows, 0u), subgroupBroadcast(rows, 1u),
                                      subgroupBroadcast(rows, 2u), subgroupBroadcast(rows, 3u)));
    let below = transpose(mat4x4<f32>(subgroupBroadcast(rows, 4u), subgroupBroadcast(rows, 5u),
                                      subgroupBroadcast(rows, 6u), subgroupBroadcast(rows, 7u)));
    multiply_row(first, above[0]);
    multiply_row(first + 1u, above[1]);
    multiply_row(first + 2u, above[2]);
    multiply_row(first + 3u, above[3]);
    multiply_row(first + 4u, below[0]);
    multiply_row(first + 5u, below[1]);
    multiply_row(first + 6u, below[2]);
    multiply_row(first + 7u, below[3]);
}

// The sums over the terms that lanes hold so, in the order of the lanes: of the first four rows, then of the others.
fn sum_of_terms(rows: vec4<f32>) -> mat2x4<f32> {
    let above = subgroupBroadcast(rows, 0u) + subgroupBroadcast(rows, 1u) + subgroupBroadcast(rows, 2u)
        + subgroupBroadcast(rows, 3u);
    let below = subgroupBroadcast(rows, 4u) + subgroupBroadcast(rows, 5u) + subgroupBroadcast(rows, 6u)
        + subgroupBroadcast(rows, 7u);
    return mat2x4<f32>(above, below);
}

// First row and first column of a workgroup's tile of 32 rows and 64 columns. Tiles are numbered row by row of tiles.
fn tile_of(index: u32, columns: u32) -> vec2<u32> {
    let across = (columns + 63u) / 64u;
    return vec2<u32>(32u, 64u) * vec2<u32>(index / across, index % across);
}

// Identity, relu or leaky relu, without branches: on lanes every case of a switch is computed.
fn rectify(activation: u32, four: vec4<f32>) -> vec4<f32> {
    var below = four;
    below = select(below, vec4<f32>(0.0), activation == 1u);
    below = select(below, 0.01 * four, activation == 2u);
    return select(four, below, four <= vec4<f32>(0.0));
}
