// Rung 4 of C = A B: an invocation owns 4x4 elements of c, in registers, and a workgroup of 256 a 64x64 tile. The inner
// loop is multiply_slices in matmul_tile.wgsl; that of the production kernels, common/product.wgsl, is the same in many
// sizes.
//
// Memory: 4 + 4 loads from workgroup memory feed 16 multiply-adds, where rung 3 needs 32, and a fetched word is used 64
// times: 1/16 byte a flop. Expected of a GPU: the largest step. The sums are independent, so that the arithmetic has 16
// chains to hide its latency with, and a barrier comes after 256 multiply-adds of an invocation, not after 16.
// Next: the same loads in fewer instructions, matmul_5_vec4.wgsl.

struct Params { M: u32, K: u32, N: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;          // (M,K)
@group(0) @binding(2) var<storage, read> b: array<f32>;          // (K,N)
@group(0) @binding(3) var<storage, read_write> c: array<f32>;    // (M,N)

// forward: c[m,n] = sum_k a[m,k] b[k,n]. Past the edge, slices hold zeros.
@compute @workgroup_size(16, 16)
fn forward(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>,
           @builtin(local_invocation_index) index: u32) {
    let row0 = tile.y * TILE;
    let column0 = tile.x * TILE;
    for (var k0 = 0u; k0 < params.K; k0 += DEPTH) {
        for (var e = index; e < DEPTH * TILE; e += 256u) {
            let m = row0 + e / DEPTH;
            let k = k0 + e % DEPTH;
            let slot = (e % DEPTH) * TILE + e / DEPTH;
            left[slot] = 0.0;
            if m < params.M && k < params.K { left[slot] = a[m * params.K + k]; }
            let n = column0 + e % TILE;
            let d = k0 + e / TILE;
            right[e] = 0.0;
            if d < params.K && n < params.N { right[e] = b[d * params.N + n]; }
        }
        workgroupBarrier();
        multiply_slices(t.x, t.y);
        workgroupBarrier();
    }
    store(row0 + 4u * t.y, column0 + 4u * t.x, sum0);
    store(row0 + 4u * t.y + 1u, column0 + 4u * t.x, sum1);
    store(row0 + 4u * t.y + 2u, column0 + 4u * t.x, sum2);
    store(row0 + 4u * t.y + 3u, column0 + 4u * t.x, sum3);
}

fn store(m: u32, n: u32, sum: vec4<f32>) {
    if m >= params.M { return; }
    for (var j = 0u; j < 4u; j++) {
        if n + j < params.N { c[m * params.N + n + j] = sum[j]; }
    }
}
