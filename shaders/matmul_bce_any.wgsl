// Buffers of matmul_bce.wgsl for any B, I and O: fours are read and stored word by word.

struct Params { B: u32, I: u32, O: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // (B,I)
@group(0) @binding(2) var<storage, read> w: array<f32>;              // (O,I)
@group(0) @binding(3) var<storage, read> b: array<f32>;              // (O)
@group(0) @binding(4) var<storage, read> picture: array<f32>;        // (B,O), in [0,1]
@group(0) @binding(5) var<storage, read_write> dy: array<f32>;       // (B,O)
@group(0) @binding(6) var<storage, read_write> loss: array<f32>;     // (B,T), nats

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

fn load_b(column: u32) -> vec4<f32> {
    var four: vec4<f32>;
    for (var j = 0u; j < 4u && column + j < params.O; j++) { four[j] = b[column + j]; }
    return four;
}

fn load_picture(row: u32, column: u32) -> vec4<f32> {
    var four: vec4<f32>;
    if row >= params.B { return four; }
    for (var j = 0u; j < 4u && column + j < params.O; j++) { four[j] = picture[row * params.O + column + j]; }
    return four;
}

fn store_dy(row: u32, column: u32, four: vec4<f32>) {
    if row >= params.B { return; }
    for (var j = 0u; j < 4u && column + j < params.O; j++) { dy[row * params.O + column + j] = four[j]; }
}
