
// The sums of x W^T on lanes that share, x (B,I/8), w (O,I/8), with the two sides of matmul_eight.wgsl exchanged: of OUTPUTS
// outputs, 32 or 40, whose terms lanes share, and 64 rows of the batch, 8 a lane. Batches are often of 64 or 128 rows, which
// leaves no rest, and 40 of one side are 6 % faster than 32. In eight.wgsl rows and columns are therefore the other way round: its row r is
// column r here. It is appended, with eight.wgsl, to the kernels that begin with this product.

// First output and first row of a workgroup's tile. Tiles of the same outputs follow each other: 12 % faster than those of the
// same rows, since their weights are in the cache by then.
fn turned_tile(index: u32) -> vec2<u32> { return tile_of(index, OUTPUTS, params.B); }

// Four rows of the batch, inside it.
fn rows_from(row: u32) -> vec4<u32> {
    return min(vec4<u32>(row) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.B - 1u));
}

// The lane's 8 rows from `row` on, and the tile's outputs from `column` on.
fn multiply_w_and_x(row: u32, column: u32, lane: u32) {
    let stride = params.I / 8u;
    let low = rows_from(row) * stride;
    let high = rows_from(row + 4u) * stride;
    let w_rows = own_rows(column + lane, params.O) * stride;
    let last = own_rows(column + lane + 8u, params.O).w * stride;
    for (var k = 0u; 8u * k < params.I; k++) {
        hold_columns(eight(x[low.x + k]), eight(x[low.y + k]), eight(x[low.z + k]), eight(x[low.w + k]),
                     eight(x[high.x + k]), eight(x[high.y + k]), eight(x[high.z + k]), eight(x[high.w + k]));
        multiply_rows(0u, eight(w[w_rows.x + k]));
        multiply_rows(8u, eight(w[w_rows.y + k]));
        multiply_rows(16u, eight(w[w_rows.z + k]));
        multiply_rows(24u, eight(w[w_rows.w + k]));
        if OUTPUTS == 40u { multiply_rows(32u, eight(w[last + k])); }
    }
}

// Eight outputs from `first` on, of the lane's row r.
fn across(first: u32, r: u32) -> mat2x4<f32> {
    let half = r % 2u;
    let i = r / 2u;
    return mat2x4<f32>(
        sums[first][half][i], sums[first + 2u][half][i], sums[first + 4u][half][i], sums[first + 6u][half][i],
        sums[first + 1u][half][i], sums[first + 3u][half][i], sums[first + 5u][half][i], sums[first + 7u][half][i]);
}
