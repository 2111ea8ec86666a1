
// Buffers of software/conv2d.wgsl for any number of inputs. Of four channels the first `left` are there; the others read
// as zero and are not stored. The buffers of outputs, y and dy, are those of conv2d_any.wgsl or conv2d_whole.wgsl.

struct Params {
    B: u32, H: u32, W: u32, I: u32, P: u32, Q: u32, O: u32, KH: u32, KW: u32,
    stride_h: u32, stride_w: u32, padding_h: u32, padding_w: u32, dilation_h: u32, dilation_w: u32,
    groups: u32, activation: u32, bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,H,W,I)
@group(0) @binding(2) var<storage, read> w: array<f32>;          // (O,KH,KW,I/G)
@group(0) @binding(3) var<storage, read> b: array<f32>;          // (O); backward_x: (I)
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

// Written out: a loop whose end the driver does not know would keep all sums in memory.
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
