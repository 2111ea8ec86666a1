// The products of a linear layer, y = x W^T + b, and of its backward.
// B rows of the batch, I inputs, O outputs. A workgroup owns a 64x64 tile of the result (common/tile.wgsl); rows and
// columns past the edge are read as zero and never stored.

struct Params { B: u32, I: u32, O: u32, activation: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,I)
@group(0) @binding(2) var<storage, read> w: array<f32>;          // (O,I)
@group(0) @binding(3) var<storage, read> b: array<f32>;          // (O)
@group(0) @binding(4) var<storage, read> dy: array<f32>;         // (B,O)
@group(0) @binding(5) var<storage, read_write> y: array<f32>;    // (B,O)
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;   // (B,I)
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;   // (O,I)
@group(0) @binding(8) var<storage, read_write> db: array<f32>;   // (O)

// ANCHOR: forward
// forward: y[m,n] = act(sum_k x[m,k] w[n,k] + b[n]). Saved for backward: x and y (x W^T for silu and gelu).
@compute @workgroup_size(16, 16)
fn forward(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>,
           @builtin(local_invocation_index) index: u32) {
    let row0 = tile.y * TILE;
    let column0 = tile.x * TILE;
    for (var k0 = 0u; k0 < params.I; k0 += DEPTH) {
        for (var e = index; e < DEPTH * TILE; e += 256u) {
            let k = k0 + e % DEPTH;
            let i = e / DEPTH;
            let slot = (e % DEPTH) * TILE + i;
            left[slot] = 0.0;
            right[slot] = 0.0;
            if k < params.I && row0 + i < params.B { left[slot] = x[(row0 + i) * params.I + k]; }
            if k < params.I && column0 + i < params.O { right[slot] = w[(column0 + i) * params.I + k]; }
        }
        workgroupBarrier();
        multiply_slices(t.x, t.y);
        workgroupBarrier();
    }
    store_y(row0 + 4u * t.y, column0 + 4u * t.x, sum0);
    store_y(row0 + 4u * t.y + 1u, column0 + 4u * t.x, sum1);
    store_y(row0 + 4u * t.y + 2u, column0 + 4u * t.x, sum2);
    store_y(row0 + 4u * t.y + 3u, column0 + 4u * t.x, sum3);
}
// ANCHOR_END: forward

fn store_y(m: u32, n: u32, sum: vec4<f32>) {
    if m >= params.B { return; }
    for (var j = 0u; j < 4u; j++) {
        if n + j < params.O { y[m * params.O + n + j] = activate(params.activation, sum[j] + b[n + j]); }
    }
}

// backward of y = x W^T to x: dx[m,n] (+)= sum_k dy[m,k] w[k,n]; added where x already has a gradient.
@compute @workgroup_size(16, 16)
fn backward_x(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>,
              @builtin(local_invocation_index) index: u32) {
    let row0 = tile.y * TILE;
    let column0 = tile.x * TILE;
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
        if n + j < params.I {
            if params.accumulate != 0u { dx[i] += sum[j]; } else { dx[i] = sum[j]; }
        }
    }
}

// backward of y = x W^T + b to W and b: dw[m,n] += sum_k dy[k,m] x[k,n]; db[m] += sum_k dy[k,m].
// The workgroups of the first column of tiles also sum the bias gradient, whose terms they hold anyway.
@compute @workgroup_size(16, 16)
fn backward_w(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>,
              @builtin(local_invocation_index) index: u32) {
    let row0 = tile.y * TILE;
    let column0 = tile.x * TILE;
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
        if tile.x == 0u && index < TILE {
            for (var d = 0u; d < DEPTH; d++) { bias += left[d * TILE + index]; }
        }
        workgroupBarrier();
    }
    if tile.x == 0u && index < TILE && row0 + index < params.O { db[row0 + index] += bias; }
    store_dw(row0 + 4u * t.y, column0 + 4u * t.x, sum0);
    store_dw(row0 + 4u * t.y + 1u, column0 + 4u * t.x, sum1);
    store_dw(row0 + 4u * t.y + 2u, column0 + 4u * t.x, sum2);
    store_dw(row0 + 4u * t.y + 3u, column0 + 4u * t.x, sum3);
}

fn store_dw(m: u32, n: u32, sum: vec4<f32>) {
    if m >= params.O { return; }
    for (var j = 0u; j < 4u; j++) {
        if n + j < params.I { dw[m * params.I + n + j] += sum[j]; }
    }
}
