// Rung 1 of the sum of a vector: a workgroup owns `span` words, each of its 64 invocations a run of them, and the first
// one adds up what the others found. A second dispatch, reduce.whole, adds up the workgroups' sums; all rungs share it.
//
// Memory: every word is read once by any rung, 4 bytes a flop, so the peak is the memory's. Here neighbours read words
// span / 64 apart: a GPU fetches a line of 32 to 128 bytes for a lane and uses 4 of it before other lanes' lines push
// it out of the cache. Then one lane works while 63 wait.
// Next: nothing but who reads which word, reduce_2_coalesced.wgsl.

struct Params { N: u32, span: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;             // (N)
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;   // (P): P = ceil(N / span)

var<workgroup> shares: array<f32, 64>;

// forward: parts[g] = sum of the g-th `span` words of x.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let end = min(params.N, (group.x + 1u) * params.span);
    let run = (params.span + 63u) / 64u;
    let first = group.x * params.span + index * run;
    var sum = 0.0;
    for (var i = first; i < min(first + run, end); i++) { sum += x[i]; }
    shares[index] = sum;
    workgroupBarrier();
    if index == 0u {
        for (var lane = 1u; lane < 64u; lane++) { sum += shares[lane]; }
        parts[group.x] = sum;
    }
}
