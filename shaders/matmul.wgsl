
// The products of a linear layer, y = x W^T + b, and of its backward: the arithmetic. It is appended to matmul_vec4.wgsl or to
// matmul_any.wgsl, which declare the buffers, read fours of their rows, zeros past the edge, and store fours of sums.
// B rows of the batch, I inputs, O outputs. A workgroup owns ROWS x COLUMNS of the result (common/product.wgsl).

// ANCHOR: forward
// forward: y[m,n] = act(sum_k x[m,k] w[n,k] + b[n]). Saved for backward: x and y (x W^T for silu and gelu).
// k runs along the rows of both operands, so blocks of 4x4 are turned on their way into workgroup memory.
@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn forward(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>) {
    let row0 = tile.y * ROWS;
    let column0 = tile.x * COLUMNS;
    for (var k0 = 0u; k0 < params.I; k0 += SLICES * DEPTH) {
        let k = k0 + t.z * DEPTH;
        for (var e = t.y * ACROSS + t.x; e < (ROWS + COLUMNS) / 4u * (DEPTH / 4u); e += OWNERS) {
            let d = e % (DEPTH / 4u) * 4u;
            let i = e / (DEPTH / 4u);
            if i < ROWS / 4u {
                put_left_block(t.z, d, i, turned_x(row0 + 4u * i, k + d));
            } else {
                let j = i - ROWS / 4u;
                put_right_block(t.z, d, j, turned_w(column0 + 4u * j, k + d));
            }
        }
        workgroupBarrier();
        multiply_slices(t);
        workgroupBarrier();
    }
    add_slices(t);
    if t.z > 0u { return; }
    for (var i = 0u; i < FOURS; i++) {
        let at = place(t, i);
        store_y(row0 + at.x, column0 + at.y, sum(i));
    }
}
// ANCHOR_END: forward

// x[m+i,k+j] and w[n+i,k+j] for four i and four j, j first.
fn turned_x(m: u32, k: u32) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(load_x(m, k), load_x(m + 1u, k), load_x(m + 2u, k), load_x(m + 3u, k)));
}

fn turned_w(n: u32, k: u32) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(load_w(n, k), load_w(n + 1u, k), load_w(n + 2u, k), load_w(n + 3u, k)));
}

// backward of y = x W^T to x, and on to what the activation that left x read: dx[m,n] = (dx[m,n] + sum_k dy[m,k] w[k,n]) *
// slope(x[m,n]); the dx before only where x already has a gradient, the slope only where there is an activation.
@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn backward_x(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>) {
    let row0 = tile.y * ROWS;
    let column0 = tile.x * COLUMNS;
    for (var k0 = 0u; k0 < params.O; k0 += SLICES * DEPTH) {
        let k = k0 + t.z * DEPTH;
        for (var e = t.y * ACROSS + t.x; e < ROWS / 4u * (DEPTH / 4u); e += OWNERS) {
            let d = e % (DEPTH / 4u) * 4u;
            let i = e / (DEPTH / 4u);
            put_left_block(t.z, d, i, turned_dy(row0 + 4u * i, k + d));
        }
        for (var e = t.y * ACROSS + t.x; e < DEPTH * COLUMNS / 4u; e += OWNERS) {
            let j = e % (COLUMNS / 4u);
            let d = e / (COLUMNS / 4u);
            put_right(t.z, d, j, load_w(k + d, column0 + 4u * j));
        }
        workgroupBarrier();
        multiply_slices(t);
        workgroupBarrier();
    }
    add_slices(t);
    if t.z > 0u { return; }
    for (var i = 0u; i < FOURS; i++) {
        let at = place(t, i);
        store_dx(row0 + at.x, column0 + at.y, sum(i));
    }
}

fn turned_dy(m: u32, k: u32) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(load_dy(m, k), load_dy(m + 1u, k), load_dy(m + 2u, k), load_dy(m + 3u, k)));
}

// backward of y = x W^T + b to W and b: dw[m,n] (+)= sum_k dy[k,m] x[k,n]; db[m] (+)= sum_k dy[k,m]; added
// unless nothing is there yet.
// The workgroups of the first column of tiles also sum the bias gradient, whose terms they hold anyway.
@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn backward_w(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>) {
    let row0 = tile.y * ROWS;
    let column0 = tile.x * COLUMNS;
    let index = t.y * ACROSS + t.x;
    let sums_bias = tile.x == 0u && index < ROWS / 4u;
    var bias: vec4<f32>;
    for (var k0 = 0u; k0 < params.B; k0 += SLICES * DEPTH) {
        let k = k0 + t.z * DEPTH;
        for (var e = index; e < DEPTH * ROWS / 4u; e += OWNERS) {
            let i = e % (ROWS / 4u);
            let d = e / (ROWS / 4u);
            put_left(t.z, d, i, load_dy(k + d, row0 + 4u * i));
        }
        for (var e = index; e < DEPTH * COLUMNS / 4u; e += OWNERS) {
            let j = e % (COLUMNS / 4u);
            let d = e / (COLUMNS / 4u);
            put_right(t.z, d, j, load_x(k + d, column0 + 4u * j));
        }
        workgroupBarrier();
        multiply_slices(t);
        if sums_bias {
            for (var d = 0u; d < DEPTH; d++) { bias += tiles[t.z * SLICE + d * LEFT + index]; }
        }
        workgroupBarrier();
    }
    if SLICES > 1u {
        if sums_bias { tiles[t.z * (ROWS / 4u) + index] = bias; }
        workgroupBarrier();
        if sums_bias {
            for (var s = 1u; s < SLICES; s++) { bias += tiles[s * (ROWS / 4u) + index]; }
        }
        workgroupBarrier();
    }
    add_slices(t);
    if t.z > 0u { return; }
    if sums_bias { add_db(row0 + 4u * index, bias); }
    for (var i = 0u; i < FOURS; i++) {
        let at = place(t, i);
        add_dw(row0 + at.x, column0 + at.y, sum(i));
    }
}
