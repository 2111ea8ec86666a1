// Buffers of conv2d.wgsl for any channels: fours are read and stored word by word. And what has one form: the fold of
// backward_x, and the bias gradient.

struct Params {
    B: u32, H: u32, W: u32, I: u32, P: u32, Q: u32, O: u32, KH: u32, KW: u32,
    stride_h: u32, stride_w: u32, padding_h: u32, padding_w: u32, dilation_h: u32, dilation_w: u32,
    groups: u32, activation: u32, bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,H,W,I)
@group(0) @binding(2) var<storage, read> w: array<f32>;          // (O,KH,KW,I/G)
@group(0) @binding(3) var<storage, read> b: array<f32>;          // (O); backward_x, fold: (I). Not read where bias is 0
@group(0) @binding(4) var<storage, read> dy: array<f32>;         // (B,P,Q,O)
@group(0) @binding(5) var<storage, read_write> y: array<f32>;    // (B,P,Q,O)
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;   // (B,H,W,I)
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;   // (O,KH,KW,I/G)
@group(0) @binding(8) var<storage, read_write> db: array<f32>;   // (O)
@group(0) @binding(9) var<storage, read> columns: array<f32>;    // (B,P,Q,KH,KW,I)
@group(0) @binding(10) var<storage, read_write> parts: array<f32>;   // (S,O,KH,KW,I/G); backward_b_parts: (S,O)

// Terms j to j + 3 of places i to i + 3 of `looks`, term by term.
fn turned_x(i: u32, k: u32, group: u32) -> mat4x4<f32> {
    let inputs = params.I / params.groups;
    let t0 = term(k, params.KW, inputs);
    let t1 = next_term(t0, params.KW, inputs);
    let t2 = next_term(t1, params.KW, inputs);
    let t3 = next_term(t2, params.KW, inputs);
    return mat4x4<f32>(seen_x(i, t0, group), seen_x(i, t1, group), seen_x(i, t2, group), seen_x(i, t3, group));
}

fn seen_x(i: u32, t: vec3<u32>, group: u32) -> vec4<f32> {
    let tap = x_tap(t, group);
    return vec4<f32>(x_at(looks[i], tap), x_at(looks[i + 1u], tap), x_at(looks[i + 2u], tap), x_at(looks[i + 3u], tap));
}

// ANCHOR: under
// x where a place looks to under a tap: (row, column, first place of the picture, -), (rows down, columns right,
// channel, -). Below 0 wraps to far above H.
fn x_at(look: vec4<u32>, tap: vec4<u32>) -> f32 {
    let h = look.x + tap.x;
    let v = look.y + tap.y;
    if h >= params.H || v >= params.W { return 0.0; }
    return x[(look.z + h * params.W + v) * params.I + tap.z];
}

// dy where a place of x looks to under a tap, which is as many rows up and columns left.
fn dy_at(look: vec4<u32>, tap: vec4<u32>) -> f32 {
    let p = look.x - tap.x;
    let q = look.y - tap.y;
    if p >= params.P || q >= params.Q { return 0.0; }
    return dy[(look.z + p * params.Q + q) * params.O + tap.z];
}
// ANCHOR_END: under

// x under four taps of `looks`, from one place.
fn x_under(look: vec4<u32>, j: u32) -> vec4<f32> {
    return vec4<f32>(x_at(look, looks[j]), x_at(look, looks[j + 1u]), x_at(look, looks[j + 2u]), x_at(look, looks[j + 3u]));
}

fn turned_dy(i: u32, k: u32, group: u32, phase: Phase) -> mat4x4<f32> {
    let outputs = params.O / params.groups;
    let t0 = term(k, phase.taps.y, outputs);
    let t1 = next_term(t0, phase.taps.y, outputs);
    let t2 = next_term(t1, phase.taps.y, outputs);
    let t3 = next_term(t2, phase.taps.y, outputs);
    return mat4x4<f32>(
        seen_dy(i, t0, group, phase), seen_dy(i, t1, group, phase), seen_dy(i, t2, group, phase), seen_dy(i, t3, group, phase),
    );
}

fn seen_dy(i: u32, t: vec3<u32>, group: u32, phase: Phase) -> vec4<f32> {
    let tap = dy_tap(t, group, phase);
    return vec4<f32>(
        dy_at(looks[i], tap), dy_at(looks[i + 1u], tap), dy_at(looks[i + 2u], tap), dy_at(looks[i + 3u], tap),
    );
}

// Four channels of a place of dy.
fn load_dy(n: u32, o: u32, group: u32) -> vec4<f32> {
    return vec4<f32>(dy_word(n, o, group), dy_word(n, o + 1u, group), dy_word(n, o + 2u, group), dy_word(n, o + 3u, group));
}

fn dy_word(n: u32, o: u32, group: u32) -> f32 {
    let outputs = params.O / params.groups;
    if n >= params.B * params.P * params.Q || o >= outputs { return 0.0; }
    return dy[n * params.O + group * outputs + o];
}

// Four terms of the weights of a channel o, and four channels i of the weights of a tap and a channel o.
fn load_terms(o: u32, k: u32, group: u32) -> vec4<f32> {
    return vec4<f32>(
        term_word(o, k, group), term_word(o, k + 1u, group), term_word(o, k + 2u, group), term_word(o, k + 3u, group),
    );
}

fn term_word(o: u32, k: u32, group: u32) -> f32 {
    let outputs = params.O / params.groups;
    let depth = params.KH * params.KW * (params.I / params.groups);
    if o >= outputs || k >= depth { return 0.0; }
    return w[(group * outputs + o) * depth + k];
}

fn load_inputs(tap: u32, i: u32) -> vec4<f32> {
    return vec4<f32>(input_word(tap, i), input_word(tap, i + 1u), input_word(tap, i + 2u), input_word(tap, i + 3u));
}

fn input_word(tap: u32, i: u32) -> f32 {
    let inputs = params.I / params.groups;
    if i >= inputs { return 0.0; }
    return w[tap * inputs + i];
}

fn store_y(n: u32, o: u32, group: u32, sum: vec4<f32>) {
    let outputs = params.O / params.groups;
    if n >= params.B * params.P * params.Q { return; }
    for (var j = 0u; j < 4u && o + j < outputs; j++) {
        let channel = group * outputs + o + j;
        var one = sum[j];
        if params.bias != 0u { one += b[channel]; }
        y[n * params.O + channel] = activate(params.activation, one);
    }
}

fn store_dx(m: u32, i: u32, group: u32, sum: vec4<f32>) {
    let inputs = params.I / params.groups;
    for (var j = 0u; j < 4u && i + j < inputs; j++) {
        let channel = group * inputs + i + j;
        var one = sum[j];
        if params.bias != 0u { one += b[channel]; }
        dx[m * params.I + channel] = activate(params.activation, one);
    }
}

fn add_dw(o: u32, c: u32, group: u32, sum: vec4<f32>) {
    let outputs = params.O / params.groups;
    let columns = params.KH * params.KW * (params.I / params.groups);
    if o >= outputs { return; }
    for (var j = 0u; j < 4u && c + j < columns; j++) { dw[(group * outputs + o) * columns + c + j] += sum[j]; }
}

fn store_part(part: u32, o: u32, c: u32, group: u32, sum: vec4<f32>) {
    let outputs = params.O / params.groups;
    let columns = params.KH * params.KW * (params.I / params.groups);
    if o >= outputs { return; }
    let row = (part * params.O + group * outputs + o) * columns;
    for (var j = 0u; j < 4u && c + j < columns; j++) { parts[row + c + j] = sum[j]; }
}

// ANCHOR: fold
// fold: dx[m,i] = act(b[i] + sum over taps of columns[m under tap, tap, i]): the rest of backward_x where dy w is there
// already, for every place of y and every tap. For grey and colour pictures, whose few channels would leave the tiles
// of backward_x nearly empty. An invocation owns an element of dx.
@compute @workgroup_size(64)
fn fold(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let index = linear_index(id, groups);
    if index >= params.B * params.H * params.W * params.I { return; }
    let m = index / params.I;
    let i = index % params.I;
    let picture = m / (params.H * params.W) * params.P;
    let h = m / params.W % params.H + params.padding_h;
    let c = m % params.W + params.padding_w;
    // Only the places that reach m with some tap: divisions and taps that miss would cost more than the sum.
    let reach_h = (params.KH - 1u) * params.dilation_h;
    let reach_w = (params.KW - 1u) * params.dilation_w;
    let last_p = min(h / params.stride_h, params.P - 1u);
    let last_q = min(c / params.stride_w, params.Q - 1u);
    var sum = 0.0;
    for (var p = (max(h, reach_h) - reach_h + params.stride_h - 1u) / params.stride_h; p <= last_p; p++) {
        let u = (h - p * params.stride_h) / params.dilation_h;
        if u * params.dilation_h != h - p * params.stride_h { continue; }
        for (var q = (max(c, reach_w) - reach_w + params.stride_w - 1u) / params.stride_w; q <= last_q; q++) {
            let v = (c - q * params.stride_w) / params.dilation_w;
            if v * params.dilation_w != c - q * params.stride_w { continue; }
            sum += columns[((((picture + p) * params.Q + q) * params.KH + u) * params.KW + v) * params.I + i];
        }
    }
    if params.bias != 0u { sum += b[i]; }
    dx[index] = activate(params.activation, sum);
}
// ANCHOR_END: fold

var<workgroup> column_sums: array<f32, 64>;   // (8,8): a column's sums over every eighth row

// backward of y = x * w + b to b: db[o] += sum over places n of dy[n,o]. dy has B * P * Q places of O channels.
// A workgroup owns 8 columns; neighbouring invocations read neighbouring words.
@compute @workgroup_size(64)
fn backward_b(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let o = 8u * group.x + index % 8u;
    let places = params.B * params.P * params.Q;
    var sum = 0.0;
    if o < params.O {
        for (var n = index / 8u; n < places; n += 8u) { sum += dy[n * params.O + o]; }
    }
    column_sums[index] = sum;
    workgroupBarrier();
    if index < 8u && o < params.O {
        for (var r = 1u; r < 8u; r++) { sum += column_sums[8u * r + index]; }
        db[o] += sum;
    }
}

var<workgroup> part_sums: array<f32, 256>;   // (256/width,width): a channel's sums over the rows of an invocation

// backward_b_parts: parts[s,o] = sum over the s-th share of the places n of dy[n,o]. A workgroup owns up to 64 channels
// of a share. With one channel every invocation reads places of its own; with 64 there are four to a channel.
@compute @workgroup_size(256)
fn backward_b_parts(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                    @builtin(local_invocation_index) index: u32) {
    let width = min(params.O, 64u);
    let rows = 256u / width;
    let row = index / width;
    let o = 64u * group.x + index % width;
    let places = params.B * params.P * params.Q;
    let share = share_of(places, groups.y);
    let end = min((group.y + 1u) * share, places);
    var sum = 0.0;
    if row < rows && o < params.O {
        for (var n = group.y * share + row; n < end; n += rows) { sum += dy[n * params.O + o]; }
    }
    part_sums[index] = sum;
    workgroupBarrier();
    for (var half = 1u << firstLeadingBit(rows - 1u); half > 0u; half /= 2u) {
        if row < half && row + half < rows { part_sums[index] += part_sums[index + half * width]; }
        workgroupBarrier();
    }
    if row == 0u && o < params.O { parts[group.y * params.O + o] = part_sums[index]; }
}
