
// Eight neighbours in memory as four u64, for adapters that run on a CPU: they load and store component by component and lane
// by lane, whatever the component's size. It is appended to the kernels that do so.
// [0] has the even ones and [1] the odd ones: so a load leaves them.
fn eight(words: vec4<u64>) -> mat2x4<f32> {
    return mat2x4<f32>(bitcast<vec4<f32>>(vec4<u32>(words)), bitcast<vec4<f32>>(vec4<u32>(words >> vec4<u32>(32u))));
}

fn words(eight: mat2x4<f32>) -> vec4<u64> {
    return vec4<u64>(bitcast<vec4<u32>>(eight[0])) | (vec4<u64>(bitcast<vec4<u32>>(eight[1])) << vec4<u32>(32u));
}
