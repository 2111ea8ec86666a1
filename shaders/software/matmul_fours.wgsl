// The forward and backward_x of matmul_eight.wgsl where B, I and O are multiples of 4 and not of 8: the layers next to a latent
// space. fours.wgsl, which is appended, has the product.
//
// Measured at (B,I,O) = (128,400,20) on 2 cores, Mesa 22.3 lavapipe, LLVM 15: backward_x in 97 us, added in 130, where
// matmul_vec4.wgsl takes 222 and 228.

struct Params { B: u32, I: u32, O: u32, activation: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // (B,I/4)
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;          // (O,I/4)
@group(0) @binding(3) var<storage, read> b: array<vec4<f32>>;          // (O/4)
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;         // (B,O/4)
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;    // (B,O/4)
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;   // (B,I/4)

// forward: y[m,n] = act(sum_k x[m,k] w[n,k] + b[n]). Saved for backward: x and y (x W^T for silu and gelu).
@compute @workgroup_size(8)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(group.x, 32u, params.O);
    if tile.x >= params.B { return; }
    let column = tile.y + 8u * lane;
    let own = own_columns(column, params.O);
    let stride = params.I / 4u;
    let x_rows = own_rows(tile.x + lane, params.B) * stride;
    for (var k = 0u; 4u * k < params.I; k++) {
        right[0] = terms_of_w(own.x * params.I + k, stride);
        right[1] = terms_of_w(own.y * params.I + k, stride);
        multiply_rows(0u, x[x_rows.x + k]);
        multiply_rows(8u, x[x_rows.y + k]);
        multiply_rows(16u, x[x_rows.z + k]);
        multiply_rows(24u, x[x_rows.w + k]);
    }
    let bias = mat2x4<f32>(b[own.x], b[own.y]);
    store_y(tile.x, own, 0u, bias);
    store_y(tile.x, own, 8u, bias);
    store_y(tile.x, own, 16u, bias);
    store_y(tile.x, own, 24u, bias);
    if BENDS == 1u {
        for (var r = tile.x; r < min(tile.x + 32u, params.B); r++) { bend_y(own + r * params.O / 4u); }
    }
}

fn bend_y(i: vec2<u32>) {
    let bent = bend(params.activation, mat2x4<f32>(y[i.x], y[i.y]));
    y[i.x] = bent[0];
    y[i.y] = bent[1];
}

// Four terms of four columns: w is (columns, terms).
fn terms_of_w(at: u32, stride: u32) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(w[at], w[at + stride], w[at + 2u * stride], w[at + 3u * stride]));
}

fn store_y(row: u32, own: vec2<u32>, first: u32, bias: mat2x4<f32>) {
    store_y_row(row, own, first, bias);
    store_y_row(row, own, first + 1u, bias);
    store_y_row(row, own, first + 2u, bias);
    store_y_row(row, own, first + 3u, bias);
    store_y_row(row, own, first + 4u, bias);
    store_y_row(row, own, first + 5u, bias);
    store_y_row(row, own, first + 6u, bias);
    store_y_row(row, own, first + 7u, bias);
}

fn store_y_row(row: u32, own: vec2<u32>, r: u32, bias: mat2x4<f32>) {
    let i = own + min(row + r, params.B - 1u) * params.O / 4u;
    y[i.x] = rectify4(params.activation, sums[r][0] + bias[0]);
    y[i.y] = rectify4(params.activation, sums[r][1] + bias[1]);
}

// backward of y = x W^T to x, and on to what the activation that left x read: dx[m,n] = (dx[m,n] + sum_k dy[m,k] w[k,n]) *
// slope(x[m,n]); the dx before only where x already has a gradient, the slope only where there is an activation.
@compute @workgroup_size(8)
fn backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(group.x, 32u, params.I);
    if tile.x >= params.B { return; }
    let own = own_columns(tile.y + 8u * lane, params.I);
    let stride = params.I / 4u;
    let dy_rows = own_rows(tile.x + lane, params.B) * (params.O / 4u);
    for (var k = 0u; 4u * k < params.O; k++) {
        let w_at = own + 4u * k * stride;
        right[0] = mat4x4<f32>(w[w_at.x], w[w_at.x + stride], w[w_at.x + 2u * stride], w[w_at.x + 3u * stride]);
        right[1] = mat4x4<f32>(w[w_at.y], w[w_at.y + stride], w[w_at.y + 2u * stride], w[w_at.y + 3u * stride]);
        multiply_rows(0u, dy[dy_rows.x + k]);
        multiply_rows(8u, dy[dy_rows.y + k]);
        multiply_rows(16u, dy[dy_rows.z + k]);
        multiply_rows(24u, dy[dy_rows.w + k]);
    }
    store_dx(tile.x, own, 0u);
    store_dx(tile.x, own, 8u);
    store_dx(tile.x, own, 16u);
    store_dx(tile.x, own, 24u);
    if BENDS == 1u {
        for (var r = tile.x; r < min(tile.x + 32u, params.B); r++) { slope_dx(own + r * params.I / 4u); }
    }
}

fn slope_dx(i: vec2<u32>) {
    let sloped = bend_slope(params.activation, mat2x4<f32>(dx[i.x], dx[i.y]), mat2x4<f32>(x[i.x], x[i.y]));
    dx[i.x] = sloped[0];
    dx[i.y] = sloped[1];
}

fn store_dx(row: u32, own: vec2<u32>, first: u32) {
    store_dx_row(row, own, first);
    store_dx_row(row, own, first + 1u);
    store_dx_row(row, own, first + 2u);
    store_dx_row(row, own, first + 3u);
    store_dx_row(row, own, first + 4u);
    store_dx_row(row, own, first + 5u);
    store_dx_row(row, own, first + 6u);
    store_dx_row(row, own, first + 7u);
}

// Lanes past the last column do what its owner does, in step with it, and add to the same dx; no row is added to twice.
fn store_dx_row(row: u32, own: vec2<u32>, r: u32) {
    let is_inside = row + r < params.B;
    let i = own + (row + r) * params.I / 4u;
    var low = sums[r][0];
    var high = sums[r][1];
    if is_inside & (ADDS == 1u) {
        low += dx[i.x];
        high += dx[i.y];
    }
    if is_inside & ((params.activation == 1u) | (params.activation == 2u)) {
        low = through(params.activation, low, x[i.x]);
        high = through(params.activation, high, x[i.y]);
    }
    if is_inside {
        dx[i.x] = low;
        dx[i.y] = high;
    }
}
