// The products of a linear layer for adapters that run on a CPU and have subgroups of 8, where B, I and O are multiples of
// 4. A workgroup, one subgroup, owns 32 rows and 64 columns of the result; eight.wgsl, which is appended, says why.
//
// What lies past the last row or column is read from the last ones, and not stored.
//
// Measured at (B,I,O) = (128,784,400) on one core, Mesa 22.3 lavapipe, LLVM 15, GFLOP/s: forward 28, backward_x 29,
// backward_w 24, where matmul_vec4.wgsl makes 14, 15 and 15. Tiles of 64 rows make 32, but take 1.5 to 4 s to compile in
// place of 0.6 to 1; 16 rows and 8 columns a lane 22.

struct Params { B: u32, I: u32, O: u32, activation: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // (B,I/4)
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;          // (O,I/4)
@group(0) @binding(3) var<storage, read> b: array<vec4<f32>>;          // (O/4)
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;         // (B,O/4)
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;    // (B,O/4)
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;   // (B,I/4)
@group(0) @binding(7) var<storage, read_write> dw: array<vec4<f32>>;   // (O,I/4)
@group(0) @binding(8) var<storage, read_write> db: array<vec4<f32>>;   // (O/4)

// forward: y[m,n] = act(sum_k x[m,k] w[n,k] + b[n]). Saved for backward: x and y (x W^T for silu and gelu).
@compute @workgroup_size(8)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(group.x, params.O);
    if tile.x >= params.B { return; }
    let column = tile.y + 8u * lane;
    let columns = own_columns(column, params.O);
    multiply_x_and_w(tile.x + lane, columns);
    let bias = mat2x4<f32>(b[columns.x], b[columns.y]);
    store_y(tile.x, column, 0u, bias);
    store_y(tile.x, column, 8u, bias);
    store_y(tile.x, column, 16u, bias);
    store_y(tile.x, column, 24u, bias);
    // On lanes every case of a switch is computed, so only activations that are no rectifiers enter it, with y as stored.
    for (var r = select(32u, 0u, params.activation > 2u); r < 32u; r++) {
        let i = ((tile.x + r) * params.O + column) / 4u;
        if tile.x + r < params.B && column < params.O { y[i] = activate4(y[i]); }
        if tile.x + r < params.B && column + 4u < params.O { y[i + 1u] = activate4(y[i + 1u]); }
    }
}

fn activate4(four: vec4<f32>) -> vec4<f32> {
    var y = four;
    for (var j = 0u; j < 4u; j++) { y[j] = activate(params.activation, y[j]); }
    return y;
}

fn store_y(row: u32, column: u32, first: u32, bias: mat2x4<f32>) {
    store_y_row(row, column, first, bias);
    store_y_row(row, column, first + 1u, bias);
    store_y_row(row, column, first + 2u, bias);
    store_y_row(row, column, first + 3u, bias);
    store_y_row(row, column, first + 4u, bias);
    store_y_row(row, column, first + 5u, bias);
    store_y_row(row, column, first + 6u, bias);
    store_y_row(row, column, first + 7u, bias);
}

fn store_y_row(row: u32, column: u32, r: u32, bias: mat2x4<f32>) {
    if row + r >= params.B { return; }
    let i = ((row + r) * params.O + column) / 4u;
    if column < params.O { y[i] = rectify(params.activation, sums[2u * r] + bias[0]); }
    if column + 4u < params.O { y[i + 1u] = rectify(params.activation, sums[2u * r + 1u] + bias[1]); }
}

// backward of y = x W^T to x: dx[m,n] (+)= sum_k dy[m,k] w[k,n]; added where x already has a gradient.
@compute @workgroup_size(8)
fn backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(group.x, params.I);
    if tile.x >= params.B { return; }
    let column = tile.y + 8u * lane;
    let stride = params.I / 4u;
    var dy_at = own_rows(tile.x + lane, params.B) * (params.O / 4u);
    var w_at = own_columns(column, params.I);
    for (var k = 0u; k < params.O; k += 4u) {
        right[0] = mat4x4<f32>(w[w_at.x], w[w_at.x + stride], w[w_at.x + 2u * stride], w[w_at.x + 3u * stride]);
        right[1] = mat4x4<f32>(w[w_at.y], w[w_at.y + stride], w[w_at.y + 2u * stride], w[w_at.y + 3u * stride]);
        multiply_rows(0u, dy[dy_at.x]);
        multiply_rows(8u, dy[dy_at.y]);
        multiply_rows(16u, dy[dy_at.z]);
        multiply_rows(24u, dy[dy_at.w]);
        dy_at += 1u;
        w_at += params.I;
    }
    store_dx(tile.x, column, 0u);
    store_dx(tile.x, column, 8u);
    store_dx(tile.x, column, 16u);
    store_dx(tile.x, column, 24u);
}

fn store_dx(row: u32, column: u32, first: u32) {
    store_dx_row(row, column, first);
    store_dx_row(row, column, first + 1u);
    store_dx_row(row, column, first + 2u);
    store_dx_row(row, column, first + 3u);
    store_dx_row(row, column, first + 4u);
    store_dx_row(row, column, first + 5u);
    store_dx_row(row, column, first + 6u);
    store_dx_row(row, column, first + 7u);
}

fn store_dx_row(row: u32, column: u32, r: u32) {
    if row + r >= params.B { return; }
    let i = ((row + r) * params.I + column) / 4u;
    if column < params.I { dx[i] = before(i) + sums[2u * r]; }
    if column + 4u < params.I { dx[i + 1u] = before(i + 1u) + sums[2u * r + 1u]; }
}

fn before(i: u32) -> vec4<f32> {
    if params.accumulate == 0u { return vec4<f32>(0.0); }
    return dx[i];
}

// backward of y = x W^T + b to W and b: dw[m,n] (+)= sum_k dy[k,m] x[k,n]; db[m] (+)= sum_k dy[k,m]; added
// unless nothing is there yet.
// Every tile sums the bias gradient's terms, which it holds anyway; those of the first column of tiles store it.
@compute @workgroup_size(8)
fn backward_w(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(group.x, params.I);
    if tile.x >= params.O { return; }
    let column = tile.y + 8u * lane;
    let stride = params.I / 4u;
    var dy_at = lane % 4u * (params.O / 4u) + own_fours(tile.x + lane / 4u * 4u, params.O);
    var x_at = own_columns(column, params.I);
    var bias = mat4x4<f32>();
    for (var k = 0u; k < params.B; k += 4u) {
        right[0] = mat4x4<f32>(x[x_at.x], x[x_at.x + stride], x[x_at.x + 2u * stride], x[x_at.x + 3u * stride]);
        right[1] = mat4x4<f32>(x[x_at.y], x[x_at.y + stride], x[x_at.y + 2u * stride], x[x_at.y + 3u * stride]);
        let left = mat4x4<f32>(dy[dy_at.x], dy[dy_at.y], dy[dy_at.z], dy[dy_at.w]);
        multiply_columns(0u, left[0]);
        multiply_columns(8u, left[1]);
        multiply_columns(16u, left[2]);
        multiply_columns(24u, left[3]);
        bias += left;
        x_at += params.I;
        dy_at += params.O;
    }
    add_db(tile.x, column, 0u, bias[0]);
    add_db(tile.x, column, 8u, bias[1]);
    add_db(tile.x, column, 16u, bias[2]);
    add_db(tile.x, column, 24u, bias[3]);
    add_dw(tile.x, column, 0u);
    add_dw(tile.x, column, 8u);
    add_dw(tile.x, column, 16u);
    add_dw(tile.x, column, 24u);
}

fn add_db(row: u32, column: u32, first: u32, rows: vec4<f32>) {
    let sum = sum_of_terms(rows);
    if column > 0u { return; }
    let i = (row + first) / 4u;
    if 4u * i < params.O { db[i] = db_before(i) + sum[0]; }
    if 4u * i + 4u < params.O { db[i + 1u] = db_before(i + 1u) + sum[1]; }
}

fn add_dw(row: u32, column: u32, first: u32) {
    add_dw_row(row, column, first);
    add_dw_row(row, column, first + 1u);
    add_dw_row(row, column, first + 2u);
    add_dw_row(row, column, first + 3u);
    add_dw_row(row, column, first + 4u);
    add_dw_row(row, column, first + 5u);
    add_dw_row(row, column, first + 6u);
    add_dw_row(row, column, first + 7u);
}

fn add_dw_row(row: u32, column: u32, r: u32) {
    if row + r >= params.O { return; }
    let i = ((row + r) * params.I + column) / 4u;
    if column < params.I { dw[i] = dw_before(i) + sums[2u * r]; }
    if column + 4u < params.I { dw[i + 1u] = dw_before(i + 1u) + sums[2u * r + 1u]; }
}

fn dw_before(i: u32) -> vec4<f32> {
    if params.accumulate == 0u { return vec4<f32>(0.0); }
    return dw[i];
}

fn db_before(i: u32) -> vec4<f32> {
    if params.accumulate == 0u { return vec4<f32>(0.0); }
    return db[i];
}
