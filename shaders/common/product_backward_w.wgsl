
// A tile of dy^T x in the sizes of product.wgsl, dy (B,O), x (B,I): its rows are columns of dy from row0 on, its
// columns those of x from column0 on. Those of the first column also sum the bias gradient, whose terms they hold
// anyway. The kernel's buffers have load_dy and load_x, which give fours of their rows, zeros past the edge, and add_dw
// and add_db.
fn tile_of_dw(row0: u32, column0: u32, t: vec3<u32>) {
    let index = t.y * ACROSS + t.x;
    let sums_bias = column0 == 0u && index < ROWS / 4u;
    var bias: vec4<f32>;
    fetch_of_dw(row0, column0, t.z * DEPTH, index);
    for (var k0 = 0u; k0 < params.B; k0 += SLICES * DEPTH) {
        let k = k0 + t.z * DEPTH;
        put_of_dw(row0, column0, k, t.z, index);
        workgroupBarrier();
        if k0 + SLICES * DEPTH < params.B { fetch_of_dw(row0, column0, k + SLICES * DEPTH, index); }
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

// The e-th four of a slice whose terms start at row k of both operands.
fn dy_of_dw(row0: u32, k: u32, e: u32) -> vec4<f32> {
    return load_dy(k + e / (ROWS / 4u), row0 + 4u * (e % (ROWS / 4u)));
}

fn x_of_dw(column0: u32, k: u32, e: u32) -> vec4<f32> {
    return load_x(k + e / (COLUMNS / 4u), column0 + 4u * (e % (COLUMNS / 4u)));
}

fn fetch_of_dw(row0: u32, column0: u32, k: u32, index: u32) {
    if index < LEFT_LOADS { next_left[0] = dy_of_dw(row0, k, index); }
    if index + OWNERS < LEFT_LOADS { next_left[1] = dy_of_dw(row0, k, index + OWNERS); }
    if index < RIGHT_LOADS { next_right[0] = x_of_dw(column0, k, index); }
    if index + OWNERS < RIGHT_LOADS { next_right[1] = x_of_dw(column0, k, index + OWNERS); }
}

// What was fetched, and what is left.
fn put_of_dw(row0: u32, column0: u32, k: u32, slice: u32, index: u32) {
    if index < LEFT_LOADS { put_dy_of_dw(slice, index, next_left[0]); }
    if index + OWNERS < LEFT_LOADS { put_dy_of_dw(slice, index + OWNERS, next_left[1]); }
    if index < RIGHT_LOADS { put_x_of_dw(slice, index, next_right[0]); }
    if index + OWNERS < RIGHT_LOADS { put_x_of_dw(slice, index + OWNERS, next_right[1]); }
    for (var e = index + 2u * OWNERS; e < LEFT_LOADS; e += OWNERS) { put_dy_of_dw(slice, e, dy_of_dw(row0, k, e)); }
    for (var e = index + 2u * OWNERS; e < RIGHT_LOADS; e += OWNERS) { put_x_of_dw(slice, e, x_of_dw(column0, k, e)); }
}

fn put_dy_of_dw(slice: u32, e: u32, four: vec4<f32>) { put_left(slice, e / (ROWS / 4u), e % (ROWS / 4u), four); }

fn put_x_of_dw(slice: u32, e: u32, four: vec4<f32>) { put_right(slice, e / (COLUMNS / 4u), e % (COLUMNS / 4u), four); }
