
// A 64x64 tile of a matrix product, owned by a workgroup of 16x16 invocations with 4x4 of it each, in registers. Both
// operands pass through workgroup memory in slices 16 deep along the summed dimension: a kernel fills `left` and
// `right`, and calls multiply_slices between two barriers.
const TILE = 64u;
const DEPTH = 16u;

var<workgroup> left: array<f32, 1024>;   // (DEPTH, TILE): the slice of the left operand, rows of the result across
var<workgroup> right: array<f32, 1024>;  // (DEPTH, TILE): the slice of the right operand, columns of the result across

// An invocation's 4 rows of 4 columns.
var<private> sum0: vec4<f32>;
var<private> sum1: vec4<f32>;
var<private> sum2: vec4<f32>;
var<private> sum3: vec4<f32>;

fn multiply_slices(tx: u32, ty: u32) {
    for (var k = 0u; k < DEPTH; k++) {
        let i = k * TILE + 4u * ty;
        let j = k * TILE + 4u * tx;
        let r = vec4<f32>(right[j], right[j + 1u], right[j + 2u], right[j + 3u]);
        sum0 = fma(vec4<f32>(left[i]), r, sum0);
        sum1 = fma(vec4<f32>(left[i + 1u]), r, sum1);
        sum2 = fma(vec4<f32>(left[i + 2u]), r, sum2);
        sum3 = fma(vec4<f32>(left[i + 3u]), r, sum3);
    }
}
