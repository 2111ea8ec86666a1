// The products of a linear layer for adapters that run on a CPU and have subgroups of 8, where B, I and O are multiples of
// 8. A workgroup, one subgroup, owns 32 rows and 64 columns of the result; eight.wgsl, which is appended, says why. More rows
// would be faster still, 6 % with 40 and 10 % with 48, but batches are of 64 or 128 rows; backward_w, whose rows are outputs,
// has 40.
//
// ADDS is params.accumulate as a constant: a load that no lane wants takes a third of one that all do. BENDS is whether the
// activation is no rectifier: then a loop behind the tile takes what was stored through bends.wgsl.
//
// Measured at (B,I,O) = (128,784,400) on 2 cores, Mesa 22.3 lavapipe, LLVM 15, GFLOP/s: forward 65, backward_x 66,
// backward_w 54. With loads of vec4<f32> they made 56, 56 and 48, and compiled for twice as long; matmul_vec4.wgsl makes 28,
// 30 and 30.

struct Params { B: u32, I: u32, O: u32, activation: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;          // (B,I/8)
@group(0) @binding(2) var<storage, read> w: array<vec4<u64>>;          // (O,I/8)
@group(0) @binding(3) var<storage, read> b: array<vec4<u64>>;          // (O/8)
@group(0) @binding(4) var<storage, read> dy: array<vec4<u64>>;         // (B,O/8)
@group(0) @binding(5) var<storage, read_write> y: array<vec4<u64>>;    // (B,O/8)
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<u64>>;   // (B,I/8)
@group(0) @binding(7) var<storage, read_write> dw: array<vec4<u64>>;   // (O,I/8)
@group(0) @binding(8) var<storage, read_write> db: array<vec4<u64>>;   // (O/8)

// forward: y[m,n] = act(sum_k x[m,k] w[n,k] + b[n]). Saved for backward: x and y (x W^T for silu and gelu).
@compute @workgroup_size(8)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(group.x, 32u, params.O);
    if tile.x >= params.B { return; }
    let column = tile.y + 8u * lane;
    let own = own_columns(column, params.O);
    multiply_x_and_w(tile.x + lane, own);
    let bias = eight(b[own / 8u]);
    store_y(tile.x, own, 0u, bias);
    store_y(tile.x, own, 8u, bias);
    store_y(tile.x, own, 16u, bias);
    store_y(tile.x, own, 24u, bias);
    if BENDS == 1u {
        for (var r = tile.x; r < min(tile.x + 32u, params.B); r++) { bend_y((r * params.O + own) / 8u); }
    }
}

fn bend_y(i: u32) { y[i] = words(bend(params.activation, eight(y[i]))); }

// The sums of x W^T: of the 32 rows of which a lane's first is `row`, and the lane's columns from `column` on.
fn multiply_x_and_w(row: u32, column: u32) {
    let stride = params.I / 8u;
    var x_at = own_rows(row, params.B) * stride;
    var w_at = column * stride;
    for (var k = 0u; 8u * k < params.I; k++) {
        hold_columns(eight(w[w_at]), eight(w[w_at + stride]), eight(w[w_at + 2u * stride]), eight(w[w_at + 3u * stride]),
                     eight(w[w_at + 4u * stride]), eight(w[w_at + 5u * stride]), eight(w[w_at + 6u * stride]),
                     eight(w[w_at + 7u * stride]));
        multiply_rows(0u, eight(x[x_at.x]));
        multiply_rows(8u, eight(x[x_at.y]));
        multiply_rows(16u, eight(x[x_at.z]));
        multiply_rows(24u, eight(x[x_at.w]));
        x_at += 1u;
        w_at += 1u;
    }
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
    y[(min(row + r, params.B - 1u) * params.O + column) / 8u] = words(rectify(params.activation, sums[r] + bias));
}

// backward of y = x W^T to x, and on to what the activation that left x read: dx[m,n] = (dx[m,n] + sum_k dy[m,k] w[k,n]) *
// slope(x[m,n]); the dx before only where x already has a gradient, the slope only where there is an activation.
@compute @workgroup_size(8)
fn backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(group.x, 32u, params.I);
    if tile.x >= params.B { return; }
    let column = tile.y + 8u * lane;
    let stride = params.I / 8u;
    var dy_at = own_rows(tile.x + lane, params.B) * (params.O / 8u);
    var w_at = own_columns(column, params.I) / 8u;
    for (var k = 0u; 8u * k < params.O; k++) {
        hold_terms(eight(w[w_at]), eight(w[w_at + stride]), eight(w[w_at + 2u * stride]), eight(w[w_at + 3u * stride]),
                   eight(w[w_at + 4u * stride]), eight(w[w_at + 5u * stride]), eight(w[w_at + 6u * stride]),
                   eight(w[w_at + 7u * stride]));
        multiply_rows(0u, eight(dy[dy_at.x]));
        multiply_rows(8u, eight(dy[dy_at.y]));
        multiply_rows(16u, eight(dy[dy_at.z]));
        multiply_rows(24u, eight(dy[dy_at.w]));
        dy_at += 1u;
        w_at += params.I;
    }
    store_dx(tile.x, column, 0u);
    store_dx(tile.x, column, 8u);
    store_dx(tile.x, column, 16u);
    store_dx(tile.x, column, 24u);
    if (BENDS == 1u) & (column < params.I) {
        for (var r = tile.x; r < min(tile.x + 32u, params.B); r++) { slope_dx((r * params.I + column) / 8u); }
    }
}

fn slope_dx(i: u32) { dx[i] = words(bend_slope(params.activation, eight(dx[i]), eight(x[i]))); }

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
    let is_inside = (row + r < params.B) & (column < params.I);
    let i = ((row + r) * params.I + column) / 8u;
    var sum = sums[r];
    if is_inside & (ADDS == 1u) { sum += eight(dx[i]); }
    if is_inside & ((params.activation == 1u) | (params.activation == 2u)) {
        let saved = eight(x[i]);
        sum = mat2x4<f32>(through(params.activation, sum[0], saved[0]), through(params.activation, sum[1], saved[1]));
    }
    if is_inside { dx[i] = words(sum); }
}

// backward of y = x W^T + b to W and b: dw[m,n] (+)= sum_k dy[k,m] x[k,n]; db[m] (+)= sum_k dy[k,m]; added
// unless nothing is there yet.
// Every tile sums the bias gradient's terms, which it holds anyway; those of the first column of tiles store it.
@compute @workgroup_size(8)
fn backward_w(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(group.x, 40u, params.I);
    if tile.x >= params.O { return; }
    let column = tile.y + 8u * lane;
    let stride = params.I / 8u;
    // Lane i loads term i.
    var dy_at = lane * (params.O / 8u) + own_eights(tile.x, params.O);
    var last_at = lane * (params.O / 8u) + own_eights(tile.x + 8u, params.O).w;
    var x_at = own_columns(column, params.I) / 8u;
    var bias = array<mat2x4<f32>, 5>();
    for (var k = 0u; 8u * k < params.B; k++) {
        hold_terms(eight(x[x_at]), eight(x[x_at + stride]), eight(x[x_at + 2u * stride]), eight(x[x_at + 3u * stride]),
                   eight(x[x_at + 4u * stride]), eight(x[x_at + 5u * stride]), eight(x[x_at + 6u * stride]),
                   eight(x[x_at + 7u * stride]));
        let left = array<mat2x4<f32>, 5>(eight(dy[dy_at.x]), eight(dy[dy_at.y]), eight(dy[dy_at.z]), eight(dy[dy_at.w]),
                                         eight(dy[last_at]));
        multiply_columns(0u, left[0]);
        multiply_columns(8u, left[1]);
        multiply_columns(16u, left[2]);
        multiply_columns(24u, left[3]);
        multiply_columns(32u, left[4]);
        bias[0] += left[0];
        bias[1] += left[1];
        bias[2] += left[2];
        bias[3] += left[3];
        bias[4] += left[4];
        x_at += params.I;
        dy_at += params.O;
        last_at += params.O;
    }
    add_db(tile.x, column, bias[0]);
    add_db(tile.x + 8u, column, bias[1]);
    add_db(tile.x + 16u, column, bias[2]);
    add_db(tile.x + 24u, column, bias[3]);
    add_db(tile.x + 32u, column, bias[4]);
    add_dw(tile.x, column, 0u);
    add_dw(tile.x, column, 8u);
    add_dw(tile.x, column, 16u);
    add_dw(tile.x, column, 24u);
    add_dw(tile.x, column, 32u);
}

fn add_db(row: u32, column: u32, rows: mat2x4<f32>) {
    var sum = sum_of_terms(rows);
    let is_owner = (column == 0u) & (row < params.O);
    if is_owner & (ADDS == 1u) { sum += eight(db[row / 8u]); }
    if is_owner { db[row / 8u] = words(sum); }
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
    let is_inside = (row + r < params.O) & (column < params.I);
    let i = ((row + r) * params.I + column) / 8u;
    var sum = sums[r];
    if is_inside & (ADDS == 1u) { sum += eight(dw[i]); }
    if is_inside { dw[i] = words(sum); }
}
