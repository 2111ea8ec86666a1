// Rung 5 of the sum of a vector: lanes that run in lockstep, a subgroup, add up their sums among their registers,
// without workgroup memory and barriers. One barrier is left, for the few sums of the subgroups. Needs an adapter with
// subgroups; they have 4 to 64 lanes (NVIDIA 32, AMD 32 or 64, Intel 8 to 32, lavapipe 8), so nothing here depends on
// how many.
//
// Memory: as rung 4. It gains where the end of a workgroup weighs. The order of the sum in a subgroup is the adapter's
// choice: the same in every run, but not the same on every adapter.
// Next: this runs at the speed of the memory; the production kernels, shaders/reduce.wgsl, are rung 3 for rows of a
// matrix. Faster still is not to store what is only summed: bce.loss and its like sum what they compute.

struct Params { N: u32, span: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;             // (N)
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;   // (P): P = ceil(N / span)

var<workgroup> shares: array<f32, 64>;   // a sum for each subgroup, of which there may be as many as invocations

// forward: parts[g] = sum of the g-th `span` words of x.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32,
           @builtin(subgroup_invocation_id) lane: u32, @builtin(subgroup_id) subgroup: u32,
           @builtin(num_subgroups) subgroups: u32) {
    let end = min(params.N, (group.x + 1u) * params.span);
    var i = group.x * params.span + index;
    var sums = vec4<f32>();
    for (; i + 192u < end; i += 256u) { sums += vec4<f32>(x[i], x[i + 64u], x[i + 128u], x[i + 192u]); }
    for (; i < end; i += 64u) { sums.x += x[i]; }
    let sum = subgroupAdd((sums.x + sums.y) + (sums.z + sums.w));
    if lane == 0u { shares[subgroup] = sum; }
    workgroupBarrier();
    if index == 0u {
        var total = shares[0];
        for (var s = 1u; s < subgroups; s++) { total += shares[s]; }
        parts[group.x] = total;
    }
}
