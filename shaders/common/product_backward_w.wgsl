
// A tile of dy^T x in the sizes of product.wgsl, dy (B,O), x (B,I): its rows are columns of dy from row0 on, its columns those of x
// from column0 on. Those of the first column also sum the bias gradient, whose terms they hold anyway. The kernel's
// buffers have load_dy and load_x, which give fours of their rows, zeros past the edge, and add_dw and add_db.
fn tile_of_dw(row0: u32, column0: u32, t: vec3<u32>) {
    let index = t.y * ACROSS + t.x;
    let sums_bias = column0 == 0u && index < ROWS / 4u;
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
