// Buffers of conv2d.wgsl where I/G and O/G are multiples of 4: a four is one load or store of 16 bytes, and under one
// tap.

struct Params {
    B: u32, H: u32, W: u32, I: u32, P: u32, Q: u32, O: u32, KH: u32, KW: u32,
    stride_h: u32, stride_w: u32, padding_h: u32, padding_w: u32, dilation_h: u32, dilation_w: u32,
    groups: u32, activation: u32, bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // (B,H,W,I/4)
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;          // (O,KH,KW,I/G/4)
@group(0) @binding(3) var<storage, read> b: array<vec4<f32>>;          // (O/4); backward_x: (I/4). Not read where bias is 0
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;         // (B,P,Q,O/4)
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;    // (B,P,Q,O/4)
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;   // (B,H,W,I/4)
@group(0) @binding(7) var<storage, read_write> dw: array<vec4<f32>>;   // (O,KH,KW,I/G/4)
@group(0) @binding(8) var<storage, read_write> parts: array<vec4<f32>>;   // (S,O,KH,KW,I/G/4)

// Terms j to j + 3 of places i to i + 3 of `looks`, term by term.
fn turned_x(i: u32, k: u32, group: u32) -> mat4x4<f32> {
    let tap = x_tap(term(k, params.KW, params.I / params.groups), group);
    return transpose(
        mat4x4<f32>(x_at(looks[i], tap), x_at(looks[i + 1u], tap), x_at(looks[i + 2u], tap), x_at(looks[i + 3u], tap)),
    );
}

fn x_at(look: vec4<u32>, tap: vec4<u32>) -> vec4<f32> {
    let h = look.x + tap.x;
    let v = look.y + tap.y;
    if h >= params.H || v >= params.W { return vec4<f32>(); }
    return x[((look.z + h * params.W + v) * params.I + tap.z) / 4u];
}

fn dy_at(look: vec4<u32>, tap: vec4<u32>) -> vec4<f32> {
    let p = look.x - tap.x;
    let q = look.y - tap.y;
    if p >= params.P || q >= params.Q { return vec4<f32>(); }
    return dy[((look.z + p * params.Q + q) * params.O + tap.z) / 4u];
}

// x under four taps of `looks`, from one place: the first one's tap, and four channels.
fn x_under(look: vec4<u32>, j: u32) -> vec4<f32> {
    return x_at(look, looks[j]);
}

fn turned_dy(i: u32, k: u32, group: u32, phase: Phase) -> mat4x4<f32> {
    let tap = dy_tap(term(k, phase.taps.y, params.O / params.groups), group, phase);
    return transpose(
        mat4x4<f32>(dy_at(looks[i], tap), dy_at(looks[i + 1u], tap), dy_at(looks[i + 2u], tap), dy_at(looks[i + 3u], tap)),
    );
}

// Four channels of a place of dy.
fn load_dy(n: u32, o: u32, group: u32) -> vec4<f32> {
    let outputs = params.O / params.groups;
    if n >= params.B * params.P * params.Q || o >= outputs { return vec4<f32>(); }
    return dy[(n * params.O + group * outputs + o) / 4u];
}

// Four terms of the weights of a channel o, and four channels i of the weights of a tap and a channel o.
fn load_terms(o: u32, k: u32, group: u32) -> vec4<f32> {
    let outputs = params.O / params.groups;
    let depth = params.KH * params.KW * (params.I / params.groups);
    if o >= outputs || k >= depth { return vec4<f32>(); }
    return w[((group * outputs + o) * depth + k) / 4u];
}

fn load_inputs(tap: u32, i: u32) -> vec4<f32> {
    let inputs = params.I / params.groups;
    if i >= inputs { return vec4<f32>(); }
    return w[(tap * inputs + i) / 4u];
}

fn store_y(n: u32, o: u32, group: u32, sum: vec4<f32>) {
    let outputs = params.O / params.groups;
    if n >= params.B * params.P * params.Q || o >= outputs { return; }
    let channel = group * outputs + o;
    var four = sum;
    if params.bias != 0u { four += b[channel / 4u]; }
    four = activate4(params.activation, four);
    y[(n * params.O + channel) / 4u] = four;
}

fn store_dx(m: u32, i: u32, group: u32, sum: vec4<f32>) {
    let inputs = params.I / params.groups;
    if i >= inputs { return; }
    let channel = group * inputs + i;
    var four = sum;
    if params.bias != 0u { four += b[channel / 4u]; }
    four = activate4(params.activation, four);
    dx[(m * params.I + channel) / 4u] = four;
}

fn add_dw(o: u32, c: u32, group: u32, sum: vec4<f32>) {
    let outputs = params.O / params.groups;
    let columns = params.KH * params.KW * (params.I / params.groups);
    if o >= outputs || c >= columns { return; }
    dw[((group * outputs + o) * columns + c) / 4u] += sum;
}

fn store_part(part: u32, o: u32, c: u32, group: u32, sum: vec4<f32>) {
    let outputs = params.O / params.groups;
    let columns = params.KH * params.KW * (params.I / params.groups);
    if o >= outputs || c >= columns { return; }
    parts[((part * params.O + group * outputs + o) * columns + c) / 4u] = sum;
}
