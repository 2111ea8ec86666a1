// The forward of matmul_eight.wgsl with the two sides exchanged: a workgroup, one subgroup, owns 40 columns of the result, whose terms lanes
// share, and 64 rows, 8 a lane. Batches are often of 64 or 128 rows, which leaves no rest, and 40 of one side are 6 % faster than
// 32. In eight.wgsl, which is appended, rows and columns are therefore the other way round: its row r is column r here.
//
// Measured at (B,I,O) = (128,784,400) on 2 cores, Mesa 22.3 lavapipe, LLVM 15: 74 GFLOP/s, where matmul_eight.wgsl makes 64.
// backward_x turned so makes 50 and compiles for twice as long, backward_w of (128,400,784) 43 in place of 53.

struct Params { B: u32, I: u32, O: u32, activation: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;          // (B,I/8)
@group(0) @binding(2) var<storage, read> w: array<vec4<u64>>;          // (O,I/8)
@group(0) @binding(3) var<storage, read> b: array<vec4<u64>>;          // (O/8)
@group(0) @binding(4) var<storage, read_write> y: array<vec4<u64>>;    // (B,O/8)

// Four rows of the batch, inside it.
fn rows_from(row: u32) -> vec4<u32> {
    return min(vec4<u32>(row) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.B - 1u));
}

// forward: y[m,n] = act(sum_k x[m,k] w[n,k] + b[n]). Saved for backward: x and y (x W^T for silu and gelu).
@compute @workgroup_size(8)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(group.x, 40u, params.B);
    if tile.x >= params.O { return; }
    let row = tile.y + 8u * lane;
    let stride = params.I / 8u;
    let low = rows_from(row) * stride;
    let high = rows_from(row + 4u) * stride;
    let w_rows = own_rows(tile.x + lane, params.O) * stride;
    let last = own_rows(tile.x + lane + 8u, params.O).w * stride;
    for (var k = 0u; 8u * k < params.I; k++) {
        hold_columns(eight(x[low.x + k]), eight(x[low.y + k]), eight(x[low.z + k]), eight(x[low.w + k]),
                     eight(x[high.x + k]), eight(x[high.y + k]), eight(x[high.z + k]), eight(x[high.w + k]));
        multiply_rows(0u, eight(w[w_rows.x + k]));
        multiply_rows(8u, eight(w[w_rows.y + k]));
        multiply_rows(16u, eight(w[w_rows.z + k]));
        multiply_rows(24u, eight(w[w_rows.w + k]));
        multiply_rows(32u, eight(w[last + k]));
    }
    store_y(row, tile.x, 0u);
    store_y(row, tile.x, 8u);
    store_y(row, tile.x, 16u);
    store_y(row, tile.x, 24u);
    store_y(row, tile.x, 32u);
}

// Eight of the lane's columns, for its row r.
fn across(first: u32, r: u32) -> mat2x4<f32> {
    let half = r % 2u;
    let i = r / 2u;
    return mat2x4<f32>(
        sums[first][half][i], sums[first + 2u][half][i], sums[first + 4u][half][i], sums[first + 6u][half][i],
        sums[first + 1u][half][i], sums[first + 3u][half][i], sums[first + 5u][half][i], sums[first + 7u][half][i]);
}

fn store_y(row: u32, column: u32, first: u32) {
    if column + first >= params.O { return; }
    let bias = eight(b[(column + first) / 8u]);
    store_y_row(row + 0u, column + first, across(first, 0u) + bias);
    store_y_row(row + 1u, column + first, across(first, 1u) + bias);
    store_y_row(row + 2u, column + first, across(first, 2u) + bias);
    store_y_row(row + 3u, column + first, across(first, 3u) + bias);
    store_y_row(row + 4u, column + first, across(first, 4u) + bias);
    store_y_row(row + 5u, column + first, across(first, 5u) + bias);
    store_y_row(row + 6u, column + first, across(first, 6u) + bias);
    store_y_row(row + 7u, column + first, across(first, 7u) + bias);
}

fn store_y_row(row: u32, column: u32, sum: mat2x4<f32>) {
    y[(min(row, params.B - 1u) * params.O + column) / 8u] = words(rectify(params.activation, sum));
}
