
// A tile of dy W in the sizes of product.wgsl, dy (B,O), w (O,I): its rows are of dy from row0 on, its columns of w from column0
// on. The kernel's buffers have load_dy and load_w, which give fours of their rows, zeros past the edge, and store_dx.
fn tile_of_dx(row0: u32, column0: u32, t: vec3<u32>) {
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
