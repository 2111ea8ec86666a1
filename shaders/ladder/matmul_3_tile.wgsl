// Rung 3 of C = A B: the 256 invocations of a workgroup own a 16x16 tile of c and share what they load. They move 16x16
// of a and of b into workgroup memory, an element each, wait for each other, and multiply from there.
//
// Memory: a word that was fetched is used 16 times, so 1/4 byte a flop. The price is two loads from workgroup memory a
// multiply-add and two barriers for 16 of them. Expected of a GPU with large caches: little, since they did the
// sharing already. Of an adapter that runs on a CPU: a loss, since workgroup memory is memory like any other there and
// a barrier costs.
// Next: registers, the only memory as fast as the arithmetic, matmul_4_registers.wgsl.

struct Params { M: u32, K: u32, N: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;          // (M,K)
@group(0) @binding(2) var<storage, read> b: array<f32>;          // (K,N)
@group(0) @binding(3) var<storage, read_write> c: array<f32>;    // (M,N)

var<workgroup> a_tile: array<f32, 256>;   // (16,16): rows of c down, k across
var<workgroup> b_tile: array<f32, 256>;   // (16,16): k down, columns of c across

// forward: c[m,n] = sum_k a[m,k] b[k,n]. Past the edge, tiles hold zeros.
@compute @workgroup_size(16, 16)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>) {
    let m = id.y;
    let n = id.x;
    let own = 16u * t.y + t.x;
    var sum = 0.0;
    for (var k0 = 0u; k0 < params.K; k0 += 16u) {
        a_tile[own] = 0.0;
        b_tile[own] = 0.0;
        if m < params.M && k0 + t.x < params.K { a_tile[own] = a[m * params.K + k0 + t.x]; }
        if k0 + t.y < params.K && n < params.N { b_tile[own] = b[(k0 + t.y) * params.N + n]; }
        workgroupBarrier();
        for (var k = 0u; k < 16u; k++) { sum += a_tile[16u * t.y + k] * b_tile[16u * k + t.x]; }
        workgroupBarrier();
    }
    if m < params.M && n < params.N { c[m * params.N + n] = sum; }
}
