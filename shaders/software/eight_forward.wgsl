// The sums of x W^T on lanes that share, x (B,I/8), w (O,I/8): of the 32 rows of which a lane's first is `row`, and the lane's
// columns from `column` on. It is appended, with eight.wgsl, to the kernels that begin with this product.
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
