// Buffers of fused_weights.wgsl for any sizes: fours are read and stored word by word.

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<f32>;                  // (B,I0)
@group(0) @binding(2) var<storage, read> dy0: array<f32>;                 // (B,O0)
@group(0) @binding(3) var<storage, read> x1: array<f32>;                  // (rows,I1): B rows; x0 where there is no such layer
@group(0) @binding(4) var<storage, read> dy1: array<f32>;                 // (rows,O1): B rows; dy0 where there is no such layer
@group(0) @binding(5) var<storage, read> x2: array<f32>;                  // (rows,I2): B rows; x0 where there is no such layer
@group(0) @binding(6) var<storage, read> dy2: array<f32>;                 // (rows,O2): B rows; dy0 where there is no such layer
@group(0) @binding(7) var<storage, read_write> gradients: array<f32>;     // (words): every parameter's, flat

fn load_x(row: u32, column: u32) -> vec4<f32> {
    return vec4<f32>(x_at(row, column), x_at(row, column + 1u), x_at(row, column + 2u), x_at(row, column + 3u));
}

fn x_at(row: u32, column: u32) -> f32 {
    if row >= params.B || column >= own.I { return 0.0; }
    let i = row * own.I + column;
    if number == 0u { return x0[i]; }
    if number == 1u { return x1[i]; }
    return x2[i];
}

fn load_dy(row: u32, column: u32) -> vec4<f32> {
    return vec4<f32>(dy_at(row, column), dy_at(row, column + 1u), dy_at(row, column + 2u), dy_at(row, column + 3u));
}

fn dy_at(row: u32, column: u32) -> f32 {
    if row >= params.B || column >= own.O { return 0.0; }
    let i = row * own.O + column;
    if number == 0u { return dy0[i]; }
    if number == 1u { return dy1[i]; }
    return dy2[i];
}

fn add_dw(row: u32, column: u32, sum: vec4<f32>) {
    if row >= own.O { return; }
    for (var j = 0u; j < 4u && column + j < own.I; j++) { gradients[dw_place(row) + column + j] = sum[j]; }
}

fn add_db(row: u32, sum: vec4<f32>) {
    for (var j = 0u; j < 4u && row + j < own.O; j++) { gradients[db_place(row + j)] = sum[j]; }
}
