// linear.wgsl for adapters that run on a CPU and have subgroups of 8, where B, I and O are multiples of 4. A workgroup, one
// subgroup, owns 32 rows and 64 columns of a result, 8 a lane; eight.wgsl, which is appended, says why.

struct Params { B: u32, I: u32, O: u32, activation: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // (B,I/4), after the activation
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;          // (O,I/4)
@group(0) @binding(3) var<storage, read> dy: array<vec4<f32>>;         // (B,O/4)
@group(0) @binding(4) var<storage, read_write> dx: array<vec4<f32>>;   // (B,I/4), before the activation
@group(0) @binding(5) var<storage, read_write> dw: array<vec4<f32>>;   // (O,I/4)
@group(0) @binding(6) var<storage, read_write> db: array<vec4<f32>>;   // (O/4)

// backward: dx[m,n] = sum_k dy[m,k] w[k,n] * slope(x[m,n]); dw[m,n] = sum_k dy[k,m] x[k,n]; db[m] = sum_k dy[k,m].
// The first workgroups own tiles of dx, the others of dw.
@compute @workgroup_size(8)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let of_dx = ((params.B + 31u) / 32u) * ((params.I + 63u) / 64u);
    if group.x < of_dx {
        tile_of_dx(tile_of(group.x, params.I), lane);
    } else {
        tile_of_dw(tile_of(group.x - of_dx, params.I), lane);
    }
}

fn tile_of_dx(tile: vec2<u32>, lane: u32) {
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
    // On lanes every case of a switch is computed, so only activations that are no rectifiers enter it, with dx as stored.
    for (var r = select(32u, 0u, params.activation > 2u); r < 32u; r++) {
        let i = ((tile.x + r) * params.I + column) / 4u;
        if tile.x + r < params.B && column < params.I { dx[i] = dx[i] * slope4(x[i]); }
        if tile.x + r < params.B && column + 4u < params.I { dx[i + 1u] = dx[i + 1u] * slope4(x[i + 1u]); }
    }
}

fn slope4(saved: vec4<f32>) -> vec4<f32> {
    var slope = saved;
    for (var j = 0u; j < 4u; j++) { slope[j] = activate_slope(params.activation, saved[j]); }
    return slope;
}

// The gradient behind identity, relu or leaky relu; of the others the gradient before them.
fn rectified(sum: vec4<f32>, saved: vec4<f32>) -> vec4<f32> {
    var below = sum;
    below = select(below, vec4<f32>(0.0), params.activation == 1u);
    below = select(below, 0.01 * sum, params.activation == 2u);
    return select(below, sum, saved > vec4<f32>(0.0));
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
    if column < params.I { dx[i] = rectified(sums[2u * r], x[i]); }
    if column + 4u < params.I { dx[i + 1u] = rectified(sums[2u * r + 1u], x[i + 1u]); }
}

fn tile_of_dw(tile: vec2<u32>, lane: u32) {
    let column = tile.y + 8u * lane;
    let stride = params.I / 4u;
    // Of each 8 rows of the tile a lane loads four neighbours, and one of the four terms.
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
    store_db(tile.x, column, 0u, bias[0]);
    store_db(tile.x, column, 8u, bias[1]);
    store_db(tile.x, column, 16u, bias[2]);
    store_db(tile.x, column, 24u, bias[3]);
    store_dw(tile.x, column, 0u);
    store_dw(tile.x, column, 8u);
    store_dw(tile.x, column, 16u);
    store_dw(tile.x, column, 24u);
}

fn store_db(row: u32, column: u32, first: u32, rows: vec4<f32>) {
    let sum = sum_of_terms(rows);
    if column > 0u { return; }
    let i = (row + first) / 4u;
    if 4u * i < params.O { db[i] = sum[0]; }
    if 4u * i + 4u < params.O { db[i + 1u] = sum[1]; }
}

fn store_dw(row: u32, column: u32, first: u32) {
    store_dw_row(row, column, first);
    store_dw_row(row, column, first + 1u);
    store_dw_row(row, column, first + 2u);
    store_dw_row(row, column, first + 3u);
    store_dw_row(row, column, first + 4u);
    store_dw_row(row, column, first + 5u);
    store_dw_row(row, column, first + 6u);
    store_dw_row(row, column, first + 7u);
}

fn store_dw_row(row: u32, column: u32, r: u32) {
    if row + r >= params.O { return; }
    let i = ((row + r) * params.I + column) / 4u;
    if column < params.I { dw[i] = sums[2u * r]; }
    if column + 4u < params.I { dw[i + 1u] = sums[2u * r + 1u]; }
}
