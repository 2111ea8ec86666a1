
// Buffers of software/conv2d.wgsl for any number of channels. Of four channels the first `left` are there; the others
// read as zero and are not stored. With WHOLE_OUTPUTS all four are, where they are those of y and dy.

struct Params {
    B: u32, H: u32, W: u32, I: u32, P: u32, Q: u32, O: u32, KH: u32, KW: u32,
    stride_h: u32, stride_w: u32, padding_h: u32, padding_w: u32, dilation_h: u32, dilation_w: u32,
    groups: u32, activation: u32, bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,H,W,I)
@group(0) @binding(2) var<storage, read> w: array<f32>;          // (O,KH,KW,I/G)
@group(0) @binding(3) var<storage, read> b: array<f32>;          // (O); backward_x: (I)
@group(0) @binding(4) var<storage, read> dy: array<f32>;         // (B,P,Q,O)
@group(0) @binding(5) var<storage, read_write> y: array<f32>;    // (B,P,Q,O)
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;   // (B,H,W,I)
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;   // (O,KH,KW,I/G)

// The index of the l-th channel, or of the last one there is: every load is within its buffer.
fn at(i: u32, l: u32, left: u32) -> u32 { return i + min(l, left - 1u); }

fn there(four: vec4<f32>, left: u32) -> vec4<f32> {
    return select(vec4<f32>(0.0), four, vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(left));
}

fn load_x(i: u32, left: u32) -> vec4<f32> {
    return there(vec4<f32>(x[i], x[at(i, 1u, left)], x[at(i, 2u, left)], x[at(i, 3u, left)]), left);
}

fn load_w(i: u32, left: u32) -> vec4<f32> {
    return there(vec4<f32>(w[i], w[at(i, 1u, left)], w[at(i, 2u, left)], w[at(i, 3u, left)]), left);
}

fn load_b(i: u32, left: u32) -> vec4<f32> {
    return there(vec4<f32>(b[i], b[at(i, 1u, left)], b[at(i, 2u, left)], b[at(i, 3u, left)]), left);
}

fn load_dy(i: u32, left: u32) -> vec4<f32> {
    if WHOLE_OUTPUTS { return vec4<f32>(dy[i], dy[i + 1u], dy[i + 2u], dy[i + 3u]); }
    return there(vec4<f32>(dy[i], dy[at(i, 1u, left)], dy[at(i, 2u, left)], dy[at(i, 3u, left)]), left);
}

// Written out: a loop whose end the driver does not know would keep all sums in memory.
fn store_y(i: u32, left: u32, four: vec4<f32>) {
    y[i] = four.x;
    if WHOLE_OUTPUTS || left > 1u { y[i + 1u] = four.y; }
    if WHOLE_OUTPUTS || left > 2u { y[i + 2u] = four.z; }
    if WHOLE_OUTPUTS || left > 3u { y[i + 3u] = four.w; }
}

fn store_dx(i: u32, left: u32, four: vec4<f32>) {
    dx[i] = four.x;
    if left > 1u { dx[i + 1u] = four.y; }
    if left > 2u { dx[i + 2u] = four.z; }
    if left > 3u { dx[i + 3u] = four.w; }
}

fn add_dw(i: u32, left: u32, four: vec4<f32>) {
    dw[i] += four.x;
    if left > 1u { dw[i + 1u] += four.y; }
    if left > 2u { dw[i + 2u] += four.z; }
    if left > 3u { dw[i + 3u] += four.w; }
}
