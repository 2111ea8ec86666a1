// Rung 2 of the sum of a vector: neighbouring invocations read neighbouring words, so that the 64 loads of a turn are
// four whole lines of 64 bytes.
//
// Memory: what is fetched is used, at once. Expected of a GPU: the largest step of this ladder. A CPU's caches hide it.
// Next: the first invocation still adds up 64 shares one by one, reduce_3_tree.wgsl.

struct Params { N: u32, span: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;             // (N)
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;   // (P): P = ceil(N / span)

var<workgroup> shares: array<f32, 64>;

// forward: parts[g] = sum of the g-th `span` words of x.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let end = min(params.N, (group.x + 1u) * params.span);
    var sum = 0.0;
    for (var i = group.x * params.span + index; i < end; i += 64u) { sum += x[i]; }
    shares[index] = sum;
    workgroupBarrier();
    if index == 0u {
        for (var lane = 1u; lane < 64u; lane++) { sum += shares[lane]; }
        parts[group.x] = sum;
    }
}
