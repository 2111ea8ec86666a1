// The backward of a linear layer y = x W^T + b in one dispatch, where x is what an activation left. dx and dW are products
// that do not need each other: each has workgroups of its own, and the barrier that two dispatches would have between
// them, on the gradients' account, is saved.
// B rows of the batch, I inputs, O outputs. A workgroup owns a 64x64 tile of one result (common/tile.wgsl); rows and columns
// past the edge are read as zero and never stored. Unlike in matmul.wgsl gradients are assigned: nothing clears them first.

struct Params { B: u32, I: u32, O: u32, activation: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,I), after the activation
@group(0) @binding(2) var<storage, read> w: array<f32>;          // (O,I)
@group(0) @binding(3) var<storage, read> dy: array<f32>;         // (B,O)
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;   // (B,I), before the activation
@group(0) @binding(5) var<storage, read_write> dw: array<f32>;   // (O,I)
@group(0) @binding(6) var<storage, read_write> db: array<f32>;   // (O)

// backward: dx[m,n] = sum_k dy[m,k] w[k,n] * slope(x[m,n]); dw[m,n] = sum_k dy[k,m] x[k,n]; db[m] = sum_k dy[k,m].
// The first workgroups own tiles of dx, row by row of tiles, the others of dw.
@compute @workgroup_size(16, 16)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>,
            @builtin(local_invocation_index) index: u32) {
    let across = (params.I + TILE - 1u) / TILE;
    let of_dx = across * ((params.B + TILE - 1u) / TILE);
    if group.x < of_dx {
        tile_of_dx(TILE * (group.x / across), TILE * (group.x % across), t.xy, index);
    } else {
        let tile = group.x - of_dx;
        tile_of_dw(TILE * (tile / across), TILE * (tile % across), t.xy, index);
    }
}

fn tile_of_dx(row0: u32, column0: u32, t: vec2<u32>, index: u32) {
    for (var k0 = 0u; k0 < params.O; k0 += DEPTH) {
        for (var e = index; e < DEPTH * TILE; e += 256u) {
            let k = k0 + e % DEPTH;
            let i = e / DEPTH;
            left[(e % DEPTH) * TILE + i] = 0.0;
            if k < params.O && row0 + i < params.B { left[(e % DEPTH) * TILE + i] = dy[(row0 + i) * params.O + k]; }
            let n = column0 + e % TILE;
            let d = e / TILE;
            right[e] = 0.0;
            if k0 + d < params.O && n < params.I { right[e] = w[(k0 + d) * params.I + n]; }
        }
        workgroupBarrier();
        multiply_slices(t.x, t.y);
        workgroupBarrier();
    }
    store_dx(row0 + 4u * t.y, column0 + 4u * t.x, sum0);
    store_dx(row0 + 4u * t.y + 1u, column0 + 4u * t.x, sum1);
    store_dx(row0 + 4u * t.y + 2u, column0 + 4u * t.x, sum2);
    store_dx(row0 + 4u * t.y + 3u, column0 + 4u * t.x, sum3);
}

fn store_dx(m: u32, n: u32, sum: vec4<f32>) {
    if m >= params.B { return; }
    for (var j = 0u; j < 4u; j++) {
        let i = m * params.I + n + j;
        if n + j < params.I { dx[i] = sum[j] * activate_slope(params.activation, x[i]); }
    }
}

fn tile_of_dw(row0: u32, column0: u32, t: vec2<u32>, index: u32) {
    var bias = 0.0;
    for (var k0 = 0u; k0 < params.B; k0 += DEPTH) {
        for (var e = index; e < DEPTH * TILE; e += 256u) {
            let k = k0 + e / TILE;
            let i = e % TILE;
            left[e] = 0.0;
            right[e] = 0.0;
            if k < params.B && row0 + i < params.O { left[e] = dy[k * params.O + row0 + i]; }
            if k < params.B && column0 + i < params.I { right[e] = x[k * params.I + column0 + i]; }
        }
        workgroupBarrier();
        multiply_slices(t.x, t.y);
        if column0 == 0u && index < TILE {
            for (var d = 0u; d < DEPTH; d++) { bias += left[d * TILE + index]; }
        }
        workgroupBarrier();
    }
    if column0 == 0u && index < TILE && row0 + index < params.O { db[row0 + index] = bias; }
    store_dw(row0 + 4u * t.y, column0 + 4u * t.x, sum0);
    store_dw(row0 + 4u * t.y + 1u, column0 + 4u * t.x, sum1);
    store_dw(row0 + 4u * t.y + 2u, column0 + 4u * t.x, sum2);
    store_dw(row0 + 4u * t.y + 3u, column0 + 4u * t.x, sum3);
}

fn store_dw(m: u32, n: u32, sum: vec4<f32>) {
    if m >= params.O { return; }
    for (var j = 0u; j < 4u; j++) {
        if n + j < params.I { dw[m * params.I + n + j] = sum[j]; }
    }
}
