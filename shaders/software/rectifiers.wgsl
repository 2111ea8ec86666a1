
// Identity, relu or leaky relu, without branches: on lanes every case of a switch is computed.
fn rectify4(activation: u32, four: vec4<f32>) -> vec4<f32> {
    return select(four, below(activation, four), four <= vec4<f32>(0.0));
}

// The gradient of what these read, from that of what they left.
fn through(activation: u32, dy: vec4<f32>, y: vec4<f32>) -> vec4<f32> {
    return select(below(activation, dy), dy, y > vec4<f32>(0.0));
}

// What these make of a number below 0, and of the gradient there.
fn below(activation: u32, four: vec4<f32>) -> vec4<f32> {
    return select(select(four, vec4<f32>(0.0), activation == 1u), 0.01 * four, activation == 2u);
}
