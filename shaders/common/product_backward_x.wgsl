
// A tile of dy W in the sizes of product.wgsl, dy (B,O), w (O,I): its rows are of dy from row0 on, its columns of w
// from column0 on. The kernel's buffers have load_dy and load_w, which give fours of their rows, zeros past the edge,
// and store_dx.
fn tile_of_dx(row0: u32, column0: u32, t: vec3<u32>) {
    let index = t.y * ACROSS + t.x;
    fetch_of_dx(row0, column0, t.z * DEPTH, index);
    for (var k0 = 0u; k0 < params.O; k0 += SLICES * DEPTH) {
        let k = k0 + t.z * DEPTH;
        put_of_dx(row0, column0, k, t.z, index);
        workgroupBarrier();
        if k0 + SLICES * DEPTH < params.O { fetch_of_dx(row0, column0, k + SLICES * DEPTH, index); }
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

// The e-th block of 4x4 of a slice whose terms start at k: dy's fours run along its rows, and are turned on their way.
fn dy_of_dx(row0: u32, k: u32, e: u32) -> mat4x4<f32> {
    let m = row0 + 4u * (e / (DEPTH / 4u));
    let d = k + 4u * (e % (DEPTH / 4u));
    return transpose(mat4x4<f32>(load_dy(m, d), load_dy(m + 1u, d), load_dy(m + 2u, d), load_dy(m + 3u, d)));
}

// The e-th four.
fn w_of_dx(column0: u32, k: u32, e: u32) -> vec4<f32> {
    return load_w(k + e / (COLUMNS / 4u), column0 + 4u * (e % (COLUMNS / 4u)));
}

fn fetch_of_dx(row0: u32, column0: u32, k: u32, index: u32) {
    if index < LEFT_LOADS / 4u { next_block = dy_of_dx(row0, k, index); }
    if index < RIGHT_LOADS { next_right[0] = w_of_dx(column0, k, index); }
    if index + OWNERS < RIGHT_LOADS { next_right[1] = w_of_dx(column0, k, index + OWNERS); }
}

// What was fetched, and what is left.
fn put_of_dx(row0: u32, column0: u32, k: u32, slice: u32, index: u32) {
    if index < LEFT_LOADS / 4u { put_dy_of_dx(slice, index, next_block); }
    if index < RIGHT_LOADS { put_w_of_dx(slice, index, next_right[0]); }
    if index + OWNERS < RIGHT_LOADS { put_w_of_dx(slice, index + OWNERS, next_right[1]); }
    for (var e = index + OWNERS; e < LEFT_LOADS / 4u; e += OWNERS) { put_dy_of_dx(slice, e, dy_of_dx(row0, k, e)); }
    for (var e = index + 2u * OWNERS; e < RIGHT_LOADS; e += OWNERS) { put_w_of_dx(slice, e, w_of_dx(column0, k, e)); }
}

fn put_dy_of_dx(slice: u32, e: u32, block: mat4x4<f32>) {
    put_left_block(slice, 4u * (e % (DEPTH / 4u)), e / (DEPTH / 4u), block);
}

fn put_w_of_dx(slice: u32, e: u32, four: vec4<f32>) { put_right(slice, e / (COLUMNS / 4u), e % (COLUMNS / 4u), four); }
