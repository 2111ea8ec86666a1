
// Activations that are no rectifiers, of eight numbers. With their switch in each of a tile's stores a shader would be many times
// as long, so they are taken in a loop behind it, from memory.

fn bend(activation: u32, eight: mat2x4<f32>) -> mat2x4<f32> {
    return mat2x4<f32>(activate4(activation, eight[0]), activate4(activation, eight[1]));
}

fn bend_slope(activation: u32, dy: mat2x4<f32>, y: mat2x4<f32>) -> mat2x4<f32> {
    return mat2x4<f32>(dy[0] * activate_slope4(activation, y[0]), dy[1] * activate_slope4(activation, y[1]));
}
