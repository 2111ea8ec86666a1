// Rung 2 of C = A B: the indices change places. Neighbouring invocations own neighbouring columns, so that a subgroup's
// loads of b and stores of c fill whole lines of memory, and its load of a is one word for all of them.
//
// Memory: still two loads a multiply-add, but of each fetched line all bytes are used. Expected of a GPU: several times
// as fast as rung 1. Of an adapter that runs on a CPU: little, its caches hold the lines until they are used up.
// Next: a word of a is loaded by N invocations and one of b by M; neighbours could share, matmul_3_tile.wgsl.

struct Params { M: u32, K: u32, N: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;          // (M,K)
@group(0) @binding(2) var<storage, read> b: array<f32>;          // (K,N)
@group(0) @binding(3) var<storage, read_write> c: array<f32>;    // (M,N)

// forward: c[m,n] = sum_k a[m,k] b[k,n].
@compute @workgroup_size(16, 16)
fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
    let m = id.y;
    let n = id.x;
    if m >= params.M || n >= params.N { return; }
    var sum = 0.0;
    for (var k = 0u; k < params.K; k++) { sum += a[m * params.K + k] * b[k * params.N + n]; }
    c[m * params.N + n] = sum;
}
