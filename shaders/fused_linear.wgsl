
// The backward of a linear layer y = x W^T + b in one dispatch, where x is what an activation left. dx and dW are
// products that do not need each other: each has workgroups of its own, and the barrier that two dispatches would have
// between them, on the gradients' account, is saved. It is appended to the buffers of matmul.wgsl; gradients are
// assigned (params.accumulate is 0): nothing clears them first.

// backward: dx[m,n] = sum_k dy[m,k] w[k,n] * slope(x[m,n]); dw[m,n] = sum_k dy[k,m] x[k,n]; db[m] = sum_k dy[k,m].
// The first rows of workgroups own tiles of dx, the others of dw.
@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn backward(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>) {
    let of_dx = (params.B + ROWS - 1u) / ROWS;
    if tile.y < of_dx {
        tile_of_dx(tile.y * ROWS, tile.x * COLUMNS, t);
    } else {
        tile_of_dw((tile.y - of_dx) * ROWS, tile.x * COLUMNS, t);
    }
}
