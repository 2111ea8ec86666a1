// The forward of matmul_eight.wgsl with the two sides exchanged: eight_turned.wgsl, which is appended, says why. A workgroup, one
// subgroup, owns 40 outputs and 64 rows of the batch.
//
// Measured at (B,I,O) = (128,784,400) on 2 cores, Mesa 22.3 lavapipe, LLVM 15: 74 GFLOP/s, where matmul_eight.wgsl makes 64.
// backward_x turned so makes 50 and compiles for twice as long, backward_w of (128,400,784) 43 in place of 53.

struct Params { B: u32, I: u32, O: u32, activation: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;          // (B,I/8)
@group(0) @binding(2) var<storage, read> w: array<vec4<u64>>;          // (O,I/8)
@group(0) @binding(3) var<storage, read> b: array<vec4<u64>>;          // (O/8)
@group(0) @binding(4) var<storage, read_write> y: array<vec4<u64>>;    // (B,O/8)

// forward: y[m,n] = act(sum_k x[m,k] w[n,k] + b[n]). Saved for backward: x and y (x W^T for silu and gelu).
@compute @workgroup_size(8)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = turned_tile(group.x);
    if tile.x >= params.O { return; }
    let row = tile.y + 8u * lane;
    multiply_w_and_x(row, tile.x, lane);
    store_y(row, tile.x, 0u);
    store_y(row, tile.x, 8u);
    store_y(row, tile.x, 16u);
    store_y(row, tile.x, 24u);
    store_y(row, tile.x, 32u);
    if BENDS == 1u {
        for (var r = row; r < min(row + 8u, params.B); r++) {
            for (var o = tile.x; o < min(tile.x + OUTPUTS, params.O); o += 8u) { bend_y((r * params.O + o) / 8u); }
        }
    }
}

fn bend_y(i: u32) { y[i] = words(bend(params.activation, eight(y[i]))); }

fn store_y(row: u32, column: u32, first: u32) {
    if column + first >= params.O { return; }
    let bias = eight(b[(column + first) / 8u]);
    store_y_row(row, column + first, across(first, 0u) + bias);
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
