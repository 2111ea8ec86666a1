
// A 64x64 tile of a matrix product in steps of 16 along k, all of it in vec4: what matmul_tile.wgsl does with single
// words. A workgroup is 16x16 invocations with 4x4 of the tile each.
var<workgroup> left: array<vec4<f32>, 256>;    // (64,4): 64 rows, four k each across
var<workgroup> right: array<vec4<f32>, 256>;   // (16,16): 16 k, four columns each across

// An invocation's 4 rows of 4 columns.
var<private> sum0: vec4<f32>;
var<private> sum1: vec4<f32>;
var<private> sum2: vec4<f32>;
var<private> sum3: vec4<f32>;

fn multiply_fours(tx: u32, ty: u32) {
    for (var k = 0u; k < 4u; k++) {
        let l = 16u * ty + k;
        let r = 64u * k + tx;
        let right0 = right[r];
        let right1 = right[r + 16u];
        let right2 = right[r + 32u];
        let right3 = right[r + 48u];
        sum0 = row(left[l], right0, right1, right2, right3, sum0);
        sum1 = row(left[l + 4u], right0, right1, right2, right3, sum1);
        sum2 = row(left[l + 8u], right0, right1, right2, right3, sum2);
        sum3 = row(left[l + 12u], right0, right1, right2, right3, sum3);
    }
}

// sum plus four elements of a row of the left operand times four rows of the right one.
fn row(l: vec4<f32>, r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32>, sum: vec4<f32>) -> vec4<f32> {
    return fma(l.wwww, r3, fma(l.zzzz, r2, fma(l.yyyy, r1, fma(l.xxxx, r0, sum))));
}
