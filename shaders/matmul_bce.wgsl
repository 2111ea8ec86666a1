
// The last layer of a decoder with the loss behind it: logits l = x W^T + b go no further than the registers they are
// summed in. What leaves is the gradient of binary cross-entropy (bce.wgsl) and its value, summed over 32 columns. It
// is appended to matmul_bce_vec4.wgsl or to matmul_bce_any.wgsl, which declare the buffers.
// B rows of the batch, I inputs, O outputs, T = ceil(O/32). A workgroup owns ROWS x COLUMNS of the result
// (common/product.wgsl), 8 invocations side by side the 32 columns of a part.

// forward: l = x W^T + b; dy = scale * (sigmoid(l) - picture); loss[m,t] = sum over 32 columns of max(l,0) - l*picture
// + log(1 + e^-|l|).
@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn forward(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>) {
    let row0 = tile.y * ROWS;
    let column0 = tile.x * COLUMNS;
    multiply_x_and_w(row0, column0, t);
    let index = t.y * ACROSS + t.x;
    for (var block = 0u; block < TALL; block++) {
        let at = place(t, 4u * block);
        let row = row0 + at.x;
        let column = column0 + at.y;
        if t.z == 0u {
            tiles[index] = vec4<f32>(store(row, column, sum(4u * block)), store(row + 1u, column, sum(4u * block + 1u)),
                                     store(row + 2u, column, sum(4u * block + 2u)), store(row + 3u, column, sum(4u * block + 3u)));
        }
        workgroupBarrier();
        if t.z == 0u && t.x % 8u == 0u {
            var rows = tiles[index];
            for (var i = 1u; i < 8u; i++) { rows += tiles[index + i]; }
            for (var r = 0u; r < 4u; r++) { store_loss(row + r, column / 32u, rows[r]); }
        }
        workgroupBarrier();
    }
}

// Stores dy of four logits, but for their bias, and returns their loss.
fn store(row: u32, column: u32, sum: vec4<f32>) -> f32 {
    let l = sum + load_b(column);
    let want = load_picture(row, column);
    let e = exp(-abs(l));
    store_dy(row, column, params.scale * (select(e, vec4<f32>(1.0), l >= vec4<f32>(0.0)) / (1.0 + e) - want));
    let nats = max(l, vec4<f32>(0.0)) - l * want + log(1.0 + e);
    let is_inside = vec4<u32>(column) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.O);
    return dot(select(vec4<f32>(), nats, is_inside), vec4<f32>(1.0));
}

fn store_loss(row: u32, part: u32, sum: f32) {
    let parts = (params.O + 31u) / 32u;
    if row < params.B && part < parts { loss[row * parts + part] = sum; }
}
