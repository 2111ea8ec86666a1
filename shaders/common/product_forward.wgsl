
// The sums of x W^T in a tile of product.wgsl, x (B,I), w (O,I): rows are of x from row0 on, columns of w from column0 on. The
// kernel's buffers have load_x and load_w, which give fours of their rows, zeros past the edge.
// ANCHOR: forward
// k runs along the rows of both operands, so blocks of 4x4 are turned on their way into workgroup memory.
fn multiply_x_and_w(row0: u32, column0: u32, t: vec3<u32>) {
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
}

// x[m+i,k+j] and w[n+i,k+j] for four i and four j, j first.
fn turned_x(m: u32, k: u32) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(load_x(m, k), load_x(m + 1u, k), load_x(m + 2u, k), load_x(m + 3u, k)));
}

fn turned_w(n: u32, k: u32) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(load_w(n, k), load_w(n + 1u, k), load_w(n + 2u, k), load_w(n + 3u, k)));
}
// ANCHOR_END: forward
