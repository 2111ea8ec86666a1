// Rung 3 of the sum of a vector: the shares are added up by halves, 32 pairs, then 16, in 6 steps in place of 63. It is
// sum_shares in common/sum.wgsl, which the production kernels share.
//
// Memory: as rung 2. It gains where spans are short, so that the end of a workgroup weighs; and its rounding is better:
// a word passes through 6 additions of shares, not up to 63. On adapters that run on a CPU its barriers cost more.
// Next: an invocation waits for each of its loads, reduce_4_unrolled.wgsl.

struct Params { N: u32, span: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;             // (N)
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;   // (P): P = ceil(N / span)

// forward: parts[g] = sum of the g-th `span` words of x.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let end = min(params.N, (group.x + 1u) * params.span);
    var sum = 0.0;
    for (var i = group.x * params.span + index; i < end; i += 64u) { sum += x[i]; }
    shares[index] = sum;
    sum_shares(index);
    if index == 0u { parts[group.x] = shares[0]; }
}
