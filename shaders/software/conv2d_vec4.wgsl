// Buffers of software/conv2d.wgsl where I/G and O/G are multiples of 4: four channels are one load. An index is that of
// the first of them; how many there are left in the row does not matter.

const RIGHT = 4u;
const WHOLE_ROWS = false;

struct Params {
    B: u32, H: u32, W: u32, I: u32, P: u32, Q: u32, O: u32, KH: u32, KW: u32,
    stride_h: u32, stride_w: u32, padding_h: u32, padding_w: u32, dilation_h: u32, dilation_w: u32,
    groups: u32, activation: u32, bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // (B,H,W,I/4)
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;          // (O,KH,KW,I/G/4)
@group(0) @binding(3) var<storage, read> b: array<vec4<f32>>;          // (O/4); backward_x: (I/4)
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;         // (B,P,Q,O/4)
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;    // (B,P,Q,O/4)
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;   // (B,H,W,I/4)
@group(0) @binding(7) var<storage, read_write> dw: array<vec4<f32>>;   // (O,KH,KW,I/G/4)

fn load_x(i: u32, left: u32) -> vec4<f32> { return x[i / 4u]; }
fn load_w(i: u32, left: u32) -> vec4<f32> { return w[i / 4u]; }
fn load_b(i: u32, left: u32) -> vec4<f32> { return b[i / 4u]; }
fn load_dy(i: u32, left: u32) -> vec4<f32> { return dy[i / 4u]; }
fn store_y(i: u32, left: u32, four: vec4<f32>) { y[i / 4u] = four; }
fn store_dx(i: u32, left: u32, four: vec4<f32>) { dx[i / 4u] = four; }
fn add_dw(i: u32, left: u32, four: vec4<f32>) { dw[i / 4u] += four; }
