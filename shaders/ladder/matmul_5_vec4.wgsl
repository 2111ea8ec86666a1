// Rung 5 of C = A B: rung 4 with every load and store 16 bytes wide, where K and N are multiples of 4. The inner loop
// is multiply_fours in ladder/matmul_fours.wgsl.
//
// Memory: the same bytes, in a quarter of the instructions. Four steps along k take 8 loads from workgroup memory for
// 64 multiply-adds, where rung 4 takes 32, and filling a slice takes each invocation one load of a and one of b.
// Next: this runs at the speed of the arithmetic where there are workgroups enough. Where c has few tiles and K is long
// most of a large GPU stands idle: matmul_6_split_k.wgsl.

struct Params { M: u32, K: u32, N: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;          // (M,K), in fours
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;          // (K,N), in fours
@group(0) @binding(3) var<storage, read_write> c: array<vec4<f32>>;    // (M,N), in fours

// forward: c[m,n] = sum_k a[m,k] b[k,n]. Past the edge, slices hold zeros.
@compute @workgroup_size(16, 16)
fn forward(@builtin(workgroup_id) tile: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>,
           @builtin(local_invocation_index) index: u32) {
    let columns = params.N / 4u;
    let m = 64u * tile.y + index / 4u;
    let four = 16u * tile.x + index % 16u;
    for (var k0 = 0u; k0 < params.K; k0 += 16u) {
        let k = k0 + 4u * (index % 4u);
        let d = k0 + index / 16u;
        left[index] = vec4<f32>();
        right[index] = vec4<f32>();
        if m < params.M && k < params.K { left[index] = a[(m * params.K + k) / 4u]; }
        if d < params.K && four < columns { right[index] = b[d * columns + four]; }
        workgroupBarrier();
        multiply_fours(t.x, t.y);
        workgroupBarrier();
    }
    let row = 64u * tile.y + 4u * t.y;
    let column = 16u * tile.x + t.x;
    if column < columns {
        if row < params.M { c[row * columns + column] = sum0; }
        if row + 1u < params.M { c[(row + 1u) * columns + column] = sum1; }
        if row + 2u < params.M { c[(row + 2u) * columns + column] = sum2; }
        if row + 3u < params.M { c[(row + 3u) * columns + column] = sum3; }
    }
}
