
// Products as in eight.wgsl for sizes that are multiples of 4 and not of 8: 4 terms at a time, in loads of vec4<f32>. It is appended
// to the kernels around a VAE's latent space, whose dimensions are few.

// 4 terms of the right operand, for the lane's columns 0..4 and 4..8.
var<private> right: array<mat4x4<f32>, 2>;
var<private> sums: array<mat2x4<f32>, 32>;    // sums[r]: row r of the tile, the lane's eight columns

// tile.wgsl's own_rows where rows are side by side in memory, in fours: a lane loads four neighbours of each 8.
fn own_fours(first: u32, rows: u32) -> vec4<u32> {
    return min(vec4<u32>(first) + vec4<u32>(0u, 8u, 16u, 24u), vec4<u32>(rows - 4u)) / 4u;
}

// The lane's columns, in fours.
fn own_columns(first: u32, columns: u32) -> vec2<u32> {
    return min(vec2<u32>(first, first + 4u), vec2<u32>(columns - 4u)) / 4u;
}

// Adds four terms to the sums of a row.
fn multiply_row(row: u32, terms: vec4<f32>) {
    sums[row][0] += right[0] * terms;
    sums[row][1] += right[1] * terms;
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

fn clear() { sums = array<mat2x4<f32>, 32>(); }
