// Rung 6 of C = A B: rung 5 with the sum over k cut into S slices of `depth`, each the work of its own workgroups, and
// a second dispatch that adds the slices up in their order: without atomics, so that results repeat bit for bit.
//
// Memory: S times the stores of c, and as many loads again. It pays where c has fewer tiles than the GPU has cores: the
// gradient of weights, or 128 rows of a batch by 400 features, 14 tiles. On large square products it costs a little.
// Next: the production kernels, shaders/matmul.wgsl (rungs 4 and 5 in tiles of many sizes, the small ones with slices
// inside a workgroup; epilogues, and any shape) and, for adapters that run on a CPU, shaders/software/matmul.wgsl: no
// workgroup memory and no barrier, but 16x16 of c in the registers of a lane.

struct Params { M: u32, K: u32, N: u32, depth: u32, S: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;               // (M,K), in fours
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;               // (K,N), in fours
@group(0) @binding(3) var<storage, read> parts: array<vec4<f32>>;           // (S,M,N), in fours: what partials wrote
@group(0) @binding(4) var<storage, read_write> slices: array<vec4<f32>>;    // (S,M,N), in fours
@group(0) @binding(5) var<storage, read_write> c: array<vec4<f32>>;         // (M,N), in fours

// partials: slices[s,m,n] = sum over the s-th `depth` k of a[m,k] b[k,n].
@compute @workgroup_size(16, 16)
fn partials(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>,
            @builtin(local_invocation_index) index: u32) {
    let columns = params.N / 4u;
    let end = min(params.K, (tile.z + 1u) * params.depth);
    let m = 64u * tile.y + index / 4u;
    let four = 16u * tile.x + index % 16u;
    for (var k0 = tile.z * params.depth; k0 < end; k0 += 16u) {
        let k = k0 + 4u * (index % 4u);
        let d = k0 + index / 16u;
        left[index] = vec4<f32>();
        right[index] = vec4<f32>();
        if m < params.M && k < end { left[index] = a[(m * params.K + k) / 4u]; }
        if d < end && four < columns { right[index] = b[d * columns + four]; }
        workgroupBarrier();
        multiply_fours(t.x, t.y);
        workgroupBarrier();
    }
    let row = 64u * tile.y + 4u * t.y;
    let column = 16u * tile.x + t.x;
    let first = tile.z * params.M;
    if column < columns {
        if row < params.M { slices[(first + row) * columns + column] = sum0; }
        if row + 1u < params.M { slices[(first + row + 1u) * columns + column] = sum1; }
        if row + 2u < params.M { slices[(first + row + 2u) * columns + column] = sum2; }
        if row + 3u < params.M { slices[(first + row + 3u) * columns + column] = sum3; }
    }
}

// sum: c[m,n] = sum over s of parts[s,m,n]. An invocation owns four columns of a row.
@compute @workgroup_size(64)
fn sum(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    let words = params.M * params.N / 4u;
    if i >= words { return; }
    var total = parts[i];
    for (var s = 1u; s < params.S; s++) { total += parts[s * words + i]; }
    c[i] = total;
}
