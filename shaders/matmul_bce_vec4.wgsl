// Buffers of matmul_bce.wgsl where B, I and O are multiples of 4: a four is one load or store of 16 bytes.

struct Params { B: u32, I: u32, O: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;              // (B,I/4)
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;              // (O,I/4)
@group(0) @binding(3) var<storage, read> b: array<vec4<f32>>;              // (O/4)
@group(0) @binding(4) var<storage, read> picture: array<vec4<f32>>;        // (B,O/4), in [0,1]
@group(0) @binding(5) var<storage, read_write> dy: array<vec4<f32>>;       // (B,O/4)
@group(0) @binding(6) var<storage, read_write> loss: array<f32>;           // (B,T), nats

fn load_b(column: u32) -> vec4<f32> {
    if column >= params.O { return vec4<f32>(); }
    return b[column / 4u];
}

fn load_picture(row: u32, column: u32) -> vec4<f32> {
    if row >= params.B || column >= params.O { return vec4<f32>(); }
    return picture[(row * params.O + column) / 4u];
}

fn store_dy(row: u32, column: u32, four: vec4<f32>) {
    if row >= params.B || column >= params.O { return; }
    dy[(row * params.O + column) / 4u] = four;
}
