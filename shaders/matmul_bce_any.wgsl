// Buffers of matmul_bce.wgsl for any B, I and O: fours are read and stored word by word.

struct Params { B: u32, I: u32, O: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // (B,I)
@group(0) @binding(2) var<storage, read> w: array<f32>;              // (O,I)
@group(0) @binding(3) var<storage, read> b: array<f32>;              // (O)
@group(0) @binding(4) var<storage, read> picture: array<f32>;        // (B,O), in [0,1]
@group(0) @binding(5) var<storage, read_write> dy: array<f32>;       // (B,O)
@group(0) @binding(6) var<storage, read_write> loss: array<f32>;     // (B,T), nats

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
