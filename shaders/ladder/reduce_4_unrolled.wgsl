// Rung 4 of the sum of a vector: an invocation takes four words a turn, with a sum for each.
//
// Memory: the bytes of rung 3, but four loads are under way where there was one. What a memory delivers is what is
// under way divided by the time a load takes (Little's law); a GPU's is hundreds of cycles away. The four sums are
// chains of additions that need not wait for each other either.
// Next: the tree's six barriers, reduce_5_subgroup.wgsl.

struct Params { N: u32, span: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;             // (N)
@group(0) @binding(2) var<storage, read_write> parts: array<f32>;   // (P): P = ceil(N / span)

// forward: parts[g] = sum of the g-th `span` words of x.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let end = min(params.N, (group.x + 1u) * params.span);
    var i = group.x * params.span + index;
    var sums = vec4<f32>();
    for (; i + 192u < end; i += 256u) { sums += vec4<f32>(x[i], x[i + 64u], x[i + 128u], x[i + 192u]); }
    for (; i < end; i += 64u) { sums.x += x[i]; }
    shares[index] = (sums.x + sums.y) + (sums.z + sums.w);
    sum_shares(index);
    if index == 0u { parts[group.x] = shares[0]; }
}
