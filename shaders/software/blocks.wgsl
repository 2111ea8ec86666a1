
// Products of 4x4 blocks for adapters that run on a CPU.
//
// A software adapter runs a workgroup as a loop over SIMD lanes. Workgroup memory is ordinary memory there, a barrier
// cuts the loop in pieces, and a load goes lane by lane, while a multiply-add is one instruction for all lanes. So,
// unlike on a GPU: no workgroup memory, no barrier, and as many multiply-adds a load as fit. An invocation owns 4 * LEFT
// rows and 4 * RIGHT columns of the result; with 4 and 4, for 4 terms of the sum it makes 32 vec4 loads and 1024
// multiply-adds. All loops over blocks have constant bounds: the driver unrolls them, and the arrays become registers
// and stack slots. The kernel that this is appended to says what LEFT and RIGHT are.

// A block is a list of 4 rows of 4 columns: m[r] is row r, though WGSL calls it a column. WGSL's product right * left
// is therefore the block product left right.
var<private> left: array<mat4x4<f32>, LEFT>;         // block i: rows 4i.. of the left operand, 4 terms
var<private> right: array<mat4x4<f32>, RIGHT>;       // block j: 4 terms, columns 4j.. of the right operand
var<private> sums: array<mat4x4<f32>, LEFT * RIGHT>;    // block RIGHT * i + j of the result

// Adds four terms to every sum.
fn multiply_blocks() {
    for (var i = 0u; i < LEFT; i++) {
        for (var j = 0u; j < RIGHT; j++) { sums[RIGHT * i + j] += right[j] * left[i]; }
    }
}
