
// Fours of the rows of x (B,I) and w (O,I), word by word, zeros past the edge. Without a branch: a block that is turned
// has 16 words, and SwiftShader takes minutes to build as many branches in a loop.
fn load_x(row: u32, column: u32) -> vec4<f32> {
    return vec4<f32>(x_at(row, column), x_at(row, column + 1u), x_at(row, column + 2u), x_at(row, column + 3u));
}

fn x_at(row: u32, column: u32) -> f32 {
    let is_inside = (row < params.B) & (column < params.I);
    return select(0.0, x[select(0u, row * params.I + column, is_inside)], is_inside);
}

fn load_w(row: u32, column: u32) -> vec4<f32> {
    return vec4<f32>(w_at(row, column), w_at(row, column + 1u), w_at(row, column + 2u), w_at(row, column + 3u));
}

fn w_at(row: u32, column: u32) -> f32 {
    let is_inside = (row < params.O) & (column < params.I);
    return select(0.0, w[select(0u, row * params.I + column, is_inside)], is_inside);
}
