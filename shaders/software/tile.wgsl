
// A tile of 16 x 16 sums, which one invocation owns, for adapters that run on a CPU.
//
// Such an adapter runs a workgroup as a loop over SIMD lanes. Workgroup memory is ordinary memory there, a barrier cuts
// the loop in pieces, and a load goes lane by lane, while a multiply-add is one instruction for all lanes. So, unlike
// on a GPU: no workgroup memory, no barrier, and as many multiply-adds a load as fit, here 256 for 32 words. All loops
// over the tile have constant bounds: the driver unrolls them, and the arrays become registers and stack slots.
//
// Rows and columns past the edge read the last one, and are not stored.

// ANCHOR: terms
var<private> left: array<mat4x4<f32>, 4>;     // left[i][t]: term t of rows 4 i to 4 i + 3
var<private> right: array<mat4x4<f32>, 4>;    // right[j][t]: term t of columns 4 j to 4 j + 3
var<private> sums: array<mat4x4<f32>, 16>;    // sums[4 i + j][r]: row 4 i + r, columns 4 j to 4 j + 3

fn add_term(t: u32) {
    for (var i = 0u; i < 4u; i++) {
        let rows = left[i][t];
        for (var j = 0u; j < 4u; j++) {
            let four = right[j][t];
            sums[4u * i + j] += mat4x4<f32>(rows.x * four, rows.y * four, rows.z * four, rows.w * four);
        }
    }
}
// ANCHOR_END: terms
