// The products of a linear layer for adapters that run on a CPU: the arithmetic. It is appended to matmul_vec4.wgsl or
// to matmul_any.wgsl, which declare the buffers and move 4x4 blocks between them and blocks.wgsl.
//
// Measured at (B,I,O) = (128,784,400) and (128,400,784) on 2 cores, Mesa 22.3 lavapipe, in processor time: 28 to 31
// GFLOP/s, the portable form 3. Other tiles: 8x8 20 to 22, 8x16 21 to 25, 16x12 27 to 31, 32x16 33 to 38, but it takes
// three times as long to compile and leaves fewer tiles to share out. 8 terms a turn in place of 4: 27 to 30.

// First row and first column of an invocation's tile. Tiles are numbered row by row of tiles.
fn tile_of(index: u32, columns: u32) -> vec2<u32> {
    let across = (columns + 15u) / 16u;
    return 16u * vec2<u32>(index / across, index % across);
}

// forward: y[m,n] = act(sum_k x[m,k] w[n,k] + b[n]). Saved for backward: x and y (x W^T for silu and gelu).
@compute @workgroup_size(8)
fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
    let tile = tile_of(id.x, params.O);
    if tile.x >= params.B { return; }
    for (var k = 0u; k < params.I; k += 4u) {
        for (var i = 0u; i < 4u; i++) {
            left[i] = load_x(tile.x + 4u * i, k);
            right[i] = transpose(load_w(tile.y + 4u * i, k));
        }
        multiply_blocks();
    }
    for (var i = 0u; i < 16u; i++) { store_y(tile.x + 4u * (i / 4u), tile.y + 4u * (i % 4u), sums[i]); }
    // On lanes every case of a switch is computed, so only activations that are no rectifiers enter it; and with y as stored,
    // so that the switch is here once and not 256 times.
    let rows = select(0u, min(tile.x + 16u, params.B), params.activation > 2u);
    for (var row = tile.x; row < rows; row++) {
        for (var column = tile.y; column < min(tile.y + 16u, params.O); column += LEAP) { activate_y(row, column); }
    }
}

// backward of y = x W^T to x, and on to what the activation that left x read: dx[m,n] = (dx[m,n] + sum_k dy[m,k] w[k,n]) *
// slope(x[m,n]); the dx before only where x already has a gradient, the slope only where there is an activation.
@compute @workgroup_size(8)
fn backward_x(@builtin(global_invocation_id) id: vec3<u32>) {
    let tile = tile_of(id.x, params.I);
    if tile.x >= params.B { return; }
    for (var k = 0u; k < params.O; k += 4u) {
        for (var i = 0u; i < 4u; i++) {
            left[i] = load_dy(tile.x + 4u * i, k);
            right[i] = load_w(k, tile.y + 4u * i);
        }
        multiply_blocks();
    }
    for (var i = 0u; i < 16u; i++) { store_dx(tile.x + 4u * (i / 4u), tile.y + 4u * (i % 4u), sums[i]); }
    let rows = select(0u, min(tile.x + 16u, params.B), params.activation > 2u);
    for (var row = tile.x; row < rows; row++) {
        for (var column = tile.y; column < min(tile.y + 16u, params.I); column += LEAP) { slope_dx(row, column); }
    }
}

// backward of y = x W^T + b to W and b: dw[m,n] (+)= sum_k dy[k,m] x[k,n]; db[m] (+)= sum_k dy[k,m]; added
// unless nothing is there yet.
// Every tile sums the bias gradient's terms, which it holds anyway; those of the first column of tiles store it.
@compute @workgroup_size(8)
fn backward_w(@builtin(global_invocation_id) id: vec3<u32>) {
    let tile = tile_of(id.x, params.I);
    if tile.x >= params.O { return; }
    var bias: array<vec4<f32>, 4>;
    for (var k = 0u; k < params.B; k += 4u) {
        for (var i = 0u; i < 4u; i++) {
            let d = load_dy(k, tile.x + 4u * i);
            bias[i] += d[0] + d[1] + d[2] + d[3];
            left[i] = transpose(d);
            right[i] = load_x(k, tile.y + 4u * i);
        }
        multiply_blocks();
    }
    if tile.y == 0u {
        for (var i = 0u; i < 4u; i++) { add_db(tile.x + 4u * i, bias[i]); }
    }
    for (var i = 0u; i < 16u; i++) { add_dw(tile.x + 4u * (i / 4u), tile.y + 4u * (i % 4u), sums[i]); }
}
