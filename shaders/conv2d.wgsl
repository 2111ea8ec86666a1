// Convolution of pictures with channels last. x (B,H,W,I) is the large picture, y (B,P,Q,O) the small one, and place
// (h,w) of x meets place (p,q) of y under tap (u,v) of the KH x KW window where
//   h = p * stride_h + u * dilation_h - padding_h,   w = q * stride_w + v * dilation_w - padding_w.
// forward gathers the small picture from the large one, backward_x the large one from the small one: the first is
// nn.Conv2d, the second nn.ConvTranspose2d. With G groups, group g of I/G channels of x meets group g of O/G of y.
//
// Each is the product of two matrices that are never written down (implicit GEMM): a workgroup owns a 64x64 tile of the
// result (common/tile.wgsl) and looks up where each element of its slices comes from.

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

// First row and column of a workgroup's tile in a matrix of `columns` columns; tiles are numbered row by row of tiles.
fn corner(group: vec3<u32>, groups: vec3<u32>, columns: u32) -> vec2<u32> {
    let tile = group.x + group.y * groups.x;
    let across = (columns + TILE - 1u) / TILE;
    return TILE * vec2<u32>(tile / across, tile % across);
}

// ANCHOR: under
// x at the place that place n of y meets under `tap`, channel i; 0 outside. Below 0 wraps to far above H.
fn x_under(n: u32, tap: u32, i: u32) -> f32 {
    let h = n / params.Q % params.P * params.stride_h + tap / params.KW * params.dilation_h - params.padding_h;
    let v = n % params.Q * params.stride_w + tap % params.KW * params.dilation_w - params.padding_w;
    if h >= params.H || v >= params.W { return 0.0; }
    return x[((n / (params.P * params.Q) * params.H + h) * params.W + v) * params.I + i];
}

// dy at the place that place m of x meets under `tap`, channel o; 0 where it meets none.
fn dy_under(m: u32, tap: u32, o: u32) -> f32 {
    let h = m / params.W % params.H + params.padding_h - tap / params.KW * params.dilation_h;
    let v = m % params.W + params.padding_w - tap % params.KW * params.dilation_w;
    let p = h / params.stride_h;
    let q = v / params.stride_w;
    if p * params.stride_h != h || q * params.stride_w != v || p >= params.P || q >= params.Q { return 0.0; }
    return dy[((m / (params.H * params.W) * params.P + p) * params.Q + q) * params.O + o];
}
// ANCHOR_END: under

// forward: y[n,o] = act(b[o] + sum over taps and i of x[n under tap, i] w[o,tap,i]). Rows: places of y; columns: o of a
// group. Saved for backward: x and y.
@compute @workgroup_size(16, 16)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_id) t: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let inputs = params.I / params.groups;
    let outputs = params.O / params.groups;
    let rows = params.B * params.P * params.Q;
    let depth = params.KH * params.KW * inputs;
    let first = corner(group, groups, outputs);
    for (var k0 = 0u; k0 < depth; k0 += DEPTH) {
        for (var e = index; e < DEPTH * TILE; e += 256u) {
            let k = k0 + e % DEPTH;
            let n = first.x + e / DEPTH;
            let o = first.y + e / DEPTH;
            let slot = (e % DEPTH) * TILE + e / DEPTH;
            left[slot] = 0.0;
            right[slot] = 0.0;
            if k < depth && n < rows { left[slot] = x_under(n, k / inputs, group.z * inputs + k % inputs); }
            if k < depth && o < outputs { right[slot] = w[(group.z * outputs + o) * depth + k]; }
        }
        workgroupBarrier();
        multiply_slices(t.x, t.y);
        workgroupBarrier();
    }
    let sums = array<vec4<f32>, 4>(sum0, sum1, sum2, sum3);
    for (var r = 0u; r < 4u; r++) {
        for (var j = 0u; j < 4u; j++) {
            let n = first.x + 4u * t.y + r;
            let o = first.y + 4u * t.x + j;
            if n < rows && o < outputs {
                let channel = group.z * outputs + o;
                var sum = sums[r][j];
                if params.bias != 0u { sum += b[channel]; }
                y[n * params.O + channel] = activate(params.activation, sum);
            }
        }
    }
}

// backward of y = x * w to x: dx[m,i] = sum over taps and o of dy[m under tap, o] w[o,tap,i]. Rows: places of x; columns:
// i of a group. As the forward of a transposed convolution it adds b[i] and takes the activation.
@compute @workgroup_size(16, 16)
fn backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_id) t: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let inputs = params.I / params.groups;
    let outputs = params.O / params.groups;
    let rows = params.B * params.H * params.W;
    let taps = params.KH * params.KW;
    let depth = taps * outputs;
    let first = corner(group, groups, inputs);
    for (var k0 = 0u; k0 < depth; k0 += DEPTH) {
        for (var e = index; e < DEPTH * TILE; e += 256u) {
            let k = k0 + e % DEPTH;
            let m = first.x + e / DEPTH;
            let slot = (e % DEPTH) * TILE + e / DEPTH;
            left[slot] = 0.0;
            if k < depth && m < rows { left[slot] = dy_under(m, k / outputs, group.z * outputs + k % outputs); }
            let d = k0 + e / TILE;
            let i = first.y + e % TILE;
            right[e] = 0.0;
            if d < depth && i < inputs {
                right[e] = w[((group.z * outputs + d % outputs) * taps + d / outputs) * inputs + i];
            }
        }
        workgroupBarrier();
        multiply_slices(t.x, t.y);
        workgroupBarrier();
    }
    let sums = array<vec4<f32>, 4>(sum0, sum1, sum2, sum3);
    for (var r = 0u; r < 4u; r++) {
        for (var j = 0u; j < 4u; j++) {
            let m = first.x + 4u * t.y + r;
            let i = first.y + 4u * t.x + j;
            if m < rows && i < inputs {
                let channel = group.z * inputs + i;
                var sum = sums[r][j];
                if params.bias != 0u { sum += b[channel]; }
                dx[m * params.I + channel] = activate(params.activation, sum);
            }
        }
    }
}

// ANCHOR: fold
// fold: dx[m,i] = act(b[i] + sum over taps of columns[m under tap, tap, i]): the rest of backward_x where dy w is there
// already, for every place of y and every tap. For grey and colour pictures, whose few channels would leave the tiles of
// backward_x nearly empty. An invocation owns an element of dx.
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

// backward of y = x * w to w: dw[o,tap,i] += sum over places n of y of dy[n,o] x[n under tap, i]. Rows: o of a group;
// columns: taps and i.
@compute @workgroup_size(16, 16)
fn backward_w(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_id) t: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let inputs = params.I / params.groups;
    let outputs = params.O / params.groups;
    let columns = params.KH * params.KW * inputs;
    let depth = params.B * params.P * params.Q;
    let first = corner(group, groups, columns);
    for (var k0 = 0u; k0 < depth; k0 += DEPTH) {
        for (var e = index; e < DEPTH * TILE; e += 256u) {
            let n = k0 + e / TILE;
            let o = first.x + e % TILE;
            let c = first.y + e % TILE;
            left[e] = 0.0;
            right[e] = 0.0;
            if n < depth && o < outputs { left[e] = dy[n * params.O + group.z * outputs + o]; }
            if n < depth && c < columns { right[e] = x_under(n, c / inputs, group.z * inputs + c % inputs); }
        }
        workgroupBarrier();
        multiply_slices(t.x, t.y);
        workgroupBarrier();
    }
    let sums = array<vec4<f32>, 4>(sum0, sum1, sum2, sum3);
    for (var r = 0u; r < 4u; r++) {
        for (var j = 0u; j < 4u; j++) {
            let o = first.x + 4u * t.y + r;
            let c = first.y + 4u * t.x + j;
            if o < outputs && c < columns { dw[(group.z * outputs + o) * columns + c] += sums[r][j]; }
        }
    }
}

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
