
// The products of a linear layer, y = x W^T + b, and of its backward: the entry points. They are appended to
// matmul_vec4.wgsl or to matmul_any.wgsl, which declare the buffers, read fours of their rows, zeros past the edge
// (those of x and w in common/operands_vec4.wgsl and operands_any.wgsl), and store fours of sums.
// B rows of the batch, I inputs, O outputs. A workgroup owns ROWS x COLUMNS of the result (common/product.wgsl); the
// loops over what is summed are in common/product_forward.wgsl and so on, which the fused kernels share.

// forward: y[m,n] = act(sum_k x[m,k] w[n,k] + b[n]). Saved for backward: x and y (x W^T for silu and gelu).
@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn forward(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>) {
    let row0 = tile.y * ROWS;
    let column0 = tile.x * COLUMNS;
    multiply_x_and_w(row0, column0, t);
    if t.z > 0u { return; }
    for (var i = 0u; i < FOURS; i++) {
        let at = place(t, i);
        store_y(row0 + at.x, column0 + at.y, sum(i));
    }
}

// backward of y = x W^T to x, and on to what the activation that left x read: dx[m,n] = (dx[m,n] + sum_k dy[m,k]
// w[k,n]) * slope(x[m,n]); the dx before only where x already has a gradient, the slope only where there is an
// activation.
@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn backward_x(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>) {
    tile_of_dx(tile.y * ROWS, tile.x * COLUMNS, t);
}

// backward of y = x W^T + b to W and b: dw[m,n] (+)= sum_k dy[k,m] x[k,n]; db[m] (+)= sum_k dy[k,m]; added
// unless nothing is there yet.
@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn backward_w(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>) {
    tile_of_dw(tile.y * ROWS, tile.x * COLUMNS, t);
}
