// Buffers of fused_weights.wgsl where I, O and all places are multiples of 4: a four is one load or store of 16 bytes.

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<vec4<f32>>;                  // (B,I0/4)
@group(0) @binding(2) var<storage, read> dy0: array<vec4<f32>>;                 // (B,O0/4)
@group(0) @binding(3) var<storage, read> x1: array<vec4<f32>>;                  // (rows,I1/4): B rows; x0 where there is no such layer
@group(0) @binding(4) var<storage, read> dy1: array<vec4<f32>>;                 // (rows,O1/4): B rows; dy0 where there is no such layer
@group(0) @binding(5) var<storage, read> x2: array<vec4<f32>>;                  // (rows,I2/4): B rows; x0 where there is no such layer
@group(0) @binding(6) var<storage, read> dy2: array<vec4<f32>>;                 // (rows,O2/4): B rows; dy0 where there is no such layer
@group(0) @binding(7) var<storage, read_write> gradients: array<vec4<f32>>;     // (words/4): every parameter's, flat

fn load_x(row: u32, column: u32) -> vec4<f32> {
    if row >= params.B || column >= own.I { return vec4<f32>(); }
    let i = (row * own.I + column) / 4u;
    if number == 0u { return x0[i]; }
    if number == 1u { return x1[i]; }
    return x2[i];
}

fn load_dy(row: u32, column: u32) -> vec4<f32> {
    if row >= params.B || column >= own.O { return vec4<f32>(); }
    let i = (row * own.O + column) / 4u;
    if number == 0u { return dy0[i]; }
    if number == 1u { return dy1[i]; }
    return dy2[i];
}

fn add_dw(row: u32, column: u32, sum: vec4<f32>) {
    if row < own.O && column < own.I { gradients[(dw_place(row) + column) / 4u] = sum; }
}

fn add_db(row: u32, sum: vec4<f32>) {
    if row < own.O { gradients[db_place(row) / 4u] = sum; }
}
