// Maxima and means over windows of pictures, channels last, torch.nn.MaxPool2d and AvgPool2d. Size H x W, P x Q of them
// after pooling with windows of KH x KW, SH and SW apart, over a border of TH and TW places. The border is narrower
// than a window, so each window covers a place of the picture.

struct Params {
    B: u32, H: u32, W: u32, C: u32, P: u32, Q: u32,
    KH: u32, KW: u32, SH: u32, SW: u32, TH: u32, TW: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;              // (B,H,W,C)
@group(0) @binding(2) var<storage, read> saved: array<u32>;          // (B,P,Q,C), the index of max
@group(0) @binding(3) var<storage, read> dy: array<f32>;             // (B,P,Q,C)
@group(0) @binding(4) var<storage, read_write> y: array<f32>;        // (B,P,Q,C)
@group(0) @binding(5) var<storage, read_write> index: array<u32>;    // (B,P,Q,C), place h * W + w of the maximum
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;       // (B,H,W,C)

// (picture, row, column, channel) of element i where pictures have these rows and columns.
fn position(i: u32, rows: u32, columns: u32) -> vec4<u32> {
    let place = i / params.C;
    let row = place / columns;
    let picture = row / rows;
    return vec4<u32>(picture, row - picture * rows, place - row * columns, i - place * params.C);
}

// Rows (or columns) [x, y) that a window covers.
fn covered(window: u32, stride: u32, border: u32, kernel: u32, size: u32) -> vec2<u32> {
    let start = window * stride;
    return vec2<u32>(select(0u, start - border, start > border), min(start + kernel - border, size));
}

// Windows [x, y) that cover a row (or column).
fn covering(place: u32, stride: u32, border: u32, kernel: u32, count: u32) -> vec2<u32> {
    let at = place + border;
    return vec2<u32>(select(0u, (at - kernel) / stride + 1u, at >= kernel), min(at / stride + 1u, count));
}

// By its bits: a compiler may take it that v == v.
fn is_nan(v: f32) -> bool {
    return (bitcast<u32>(v) & 0x7fffffffu) > 0x7f800000u;
}

// max: y = the largest x of the window, the first in row-major order where several are; a NaN is larger than all. An
// invocation owns an element of y; neighbours read neighbouring channels.
@compute @workgroup_size(64)
fn max(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.B * params.P * params.Q * params.C { return; }
    let at = position(i, params.P, params.Q);
    let rows = covered(at.y, params.SH, params.TH, params.KH, params.H);
    let columns = covered(at.z, params.SW, params.TW, params.KW, params.W);
    let picture = at.x * params.H * params.W * params.C + at.w;
    var best_place = rows.x * params.W + columns.x;
    var best = x[picture + best_place * params.C];
    for (var h = rows.x; h < rows.y; h++) {
        for (var w = columns.x; w < columns.y; w++) {
            let place = h * params.W + w;
            let v = x[picture + place * params.C];
            if is_nan(v) || (v > best && !is_nan(best)) {
                best = v;
                best_place = place;
            }
        }
    }
    y[i] = best;
    index[i] = best_place;
}

// backward of max: dx = sum of dy over the windows whose maximum this place is. An invocation owns an element of dx.
@compute @workgroup_size(64)
fn backward_max(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.B * params.H * params.W * params.C { return; }
    let at = position(i, params.H, params.W);
    let rows = covering(at.y, params.SH, params.TH, params.KH, params.P);
    let columns = covering(at.z, params.SW, params.TW, params.KW, params.Q);
    let place = at.y * params.W + at.z;
    var sum = 0.0;
    for (var p = rows.x; p < rows.y; p++) {
        for (var q = columns.x; q < columns.y; q++) {
            let o = ((at.x * params.P + p) * params.Q + q) * params.C + at.w;
            if saved[o] == place { sum += dy[o]; }
        }
    }
    dx[i] = sum;
}

// average: y = sum of x over the window / (KH * KW); the border counts as zeros.
@compute @workgroup_size(64)
fn average(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.B * params.P * params.Q * params.C { return; }
    let at = position(i, params.P, params.Q);
    let rows = covered(at.y, params.SH, params.TH, params.KH, params.H);
    let columns = covered(at.z, params.SW, params.TW, params.KW, params.W);
    var sum = 0.0;
    for (var h = rows.x; h < rows.y; h++) {
        for (var w = columns.x; w < columns.y; w++) {
            sum += x[((at.x * params.H + h) * params.W + w) * params.C + at.w];
        }
    }
    y[i] = sum / f32(params.KH * params.KW);
}

// backward of average: dx = sum of dy over the windows that cover this place / (KH * KW).
@compute @workgroup_size(64)
fn backward_average(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.B * params.H * params.W * params.C { return; }
    let at = position(i, params.H, params.W);
    let rows = covering(at.y, params.SH, params.TH, params.KH, params.P);
    let columns = covering(at.z, params.SW, params.TW, params.KW, params.Q);
    var sum = 0.0;
    for (var p = rows.x; p < rows.y; p++) {
        for (var q = columns.x; q < columns.y; q++) {
            sum += dy[((at.x * params.P + p) * params.Q + q) * params.C + at.w];
        }
    }
    dx[i] = sum / f32(params.KH * params.KW);
}
