
// The sums of x W^T in a tile of product.wgsl, x (B,I), w (O,I): rows are of x from row0 on, columns of w from column0
// on. The kernel's buffers have load_x and load_w, which give fours of their rows, zeros past the edge.
// ANCHOR: forward
// k runs along the rows of both operands, so their fours are turned on their way into workgroup memory.
fn multiply_x_and_w(row0: u32, column0: u32, t: vec3<u32>) {
    let index = t.y * ACROSS + t.x;
    fetch_of_y(row0, column0, t.z * DEPTH, index);
    for (var k0 = 0u; k0 < params.I; k0 += SLICES * DEPTH) {
        let k = k0 + t.z * DEPTH;
        put_of_y(row0, column0, k, t.z, index);
        workgroupBarrier();
        if k0 + SLICES * DEPTH < params.I { fetch_of_y(row0, column0, k + SLICES * DEPTH, index); }
        multiply_slices(t);
        workgroupBarrier();
    }
    add_slices(t);
}

// The e-th block of 4x4 of a slice whose terms start at k: those of x, then those of w.
fn block_of_y(row0: u32, column0: u32, k: u32, e: u32) -> mat4x4<f32> {
    let d = k + 4u * (e % (DEPTH / 4u));
    let i = e / (DEPTH / 4u);
    if i < ROWS / 4u {
        let m = row0 + 4u * i;
        return transpose(mat4x4<f32>(load_x(m, d), load_x(m + 1u, d), load_x(m + 2u, d), load_x(m + 3u, d)));
    }
    let n = column0 + 4u * (i - ROWS / 4u);
    return transpose(mat4x4<f32>(load_w(n, d), load_w(n + 1u, d), load_w(n + 2u, d), load_w(n + 3u, d)));
}

const BLOCKS_OF_Y = (LEFT_LOADS + RIGHT_LOADS) / 4u;

fn fetch_of_y(row0: u32, column0: u32, k: u32, index: u32) {
    if index < BLOCKS_OF_Y { next_block = block_of_y(row0, column0, k, index); }
}

// What was fetched, and what is left.
fn put_of_y(row0: u32, column0: u32, k: u32, slice: u32, index: u32) {
    if index < BLOCKS_OF_Y { put_block_of_y(slice, index, next_block); }
    for (var e = index + OWNERS; e < BLOCKS_OF_Y; e += OWNERS) {
        put_block_of_y(slice, e, block_of_y(row0, column0, k, e));
    }
}

fn put_block_of_y(slice: u32, e: u32, block: mat4x4<f32>) {
    let d = 4u * (e % (DEPTH / 4u));
    let i = e / (DEPTH / 4u);
    if i < ROWS / 4u { put_left_block(slice, d, i, block); } else { put_right_block(slice, d, i - ROWS / 4u, block); }
}
// ANCHOR_END: forward
