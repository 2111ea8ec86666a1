
// The sums of x W^T on lanes that share, x (B,I/4), w (O,I/4): of the 32 rows of which a lane's first is `row`, and the lane's
// columns in fours. It is appended, with eight.wgsl, to the kernels that begin with this product.
fn multiply_x_and_w(row: u32, columns: vec2<u32>) {
    let stride = params.I / 4u;
    var x_at = own_rows(row, params.B) * stride;
    var w_at = columns * params.I;
    for (var k = 0u; k < stride; k++) {
        right[0] = terms_of_w(w_at.x, stride);
        right[1] = terms_of_w(w_at.y, stride);
        multiply_rows(0u, x[x_at.x]);
        multiply_rows(8u, x[x_at.y]);
        multiply_rows(16u, x[x_at.z]);
        multiply_rows(24u, x[x_at.w]);
        x_at += 1u;
        w_at += 1u;
    }
}

// Four terms of four columns: w is (columns, terms).
fn terms_of_w(at: u32, stride: u32) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(w[at], w[at + stride], w[at + 2u * stride], w[at + 3u * stride]));
}
