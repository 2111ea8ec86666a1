
// Fours of the rows of x (B,I/4) and w (O,I/4), zeros past the edge.
fn load_x(row: u32, column: u32) -> vec4<f32> {
    if row >= params.B || column >= params.I { return vec4<f32>(); }
    return x[(row * params.I + column) / 4u];
}

fn load_w(row: u32, column: u32) -> vec4<f32> {
    if row >= params.O || column >= params.I { return vec4<f32>(); }
    return w[(row * params.I + column) / 4u];
}
