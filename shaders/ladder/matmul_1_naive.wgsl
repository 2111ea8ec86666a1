// Rung 1 of the matrix product C = A B: an invocation owns an element and does what the formula says.
//
// Memory: each multiply-add loads two words, 4 bytes a flop, where a GPU has arithmetic for 10 to 80 flops a byte. And
// neighbouring invocations own neighbouring rows: their loads of a lie K words apart and their stores N. A GPU fetches
// memory in lines of 32 to 128 bytes for all lanes of a subgroup at once; here every lane needs a line of its own.
// Next: nothing but who owns which element, matmul_2_coalesced.wgsl.

struct Params { M: u32, K: u32, N: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;          // (M,K)
@group(0) @binding(2) var<storage, read> b: array<f32>;          // (K,N)
@group(0) @binding(3) var<storage, read_write> c: array<f32>;    // (M,N)

// forward: c[m,n] = sum_k a[m,k] b[k,n].
@compute @workgroup_size(16, 16)
fn forward(@builtin(global_invocation_id) id: vec3<u32>) {
    let m = id.x;
    let n = id.y;
    if m >= params.M || n >= params.N { return; }
    var sum = 0.0;
    for (var k = 0u; k < params.K; k++) { sum += a[m * params.K + k] * b[k * params.N + n]; }
    c[m * params.N + n] = sum;
}
