
// Fours of the rows of x (B,I) and w (O,I), word by word, zeros past the edge.
fn load_x(row: u32, column: u32) -> vec4<f32> {
    return vec4<f32>(x_at(row, column), x_at(row, column + 1u), x_at(row, column + 2u), x_at(row, column + 3u));
}

fn x_at(row: u32, column: u32) -> f32 {
    if row >= params.B || column >= params.I { return 0.0; }
    return x[row * params.I + column];
}

fn load_w(row: u32, column: u32) -> vec4<f32> {
    return vec4<f32>(w_at(row, column), w_at(row, column + 1u), w_at(row, column + 2u), w_at(row, column + 3u));
}

fn w_at(row: u32, column: u32) -> f32 {
    if row >= params.O || column >= params.I { return 0.0; }
    return w[row * params.I + column];
}
