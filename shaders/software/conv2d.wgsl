// Convolution for adapters that run on a CPU, for any sizes: the formulas of conv2d.wgsl. tile.wgsl, which is appended,
// says what such an adapter wants.
//
// In forward and backward_x the rows of a tile are one place in 16 pictures: whether a tap meets the other picture
// there holds for all of them, so nothing is multiplied by zero at the border or between the strides, and the index
// arithmetic is done once for a tap and all its channels.

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

struct Tile { row: u32, column: u32, group: u32, place: u32 }

// Tiles are numbered column by column, then row by row, then by group, then by place.
fn tile_of(id: vec3<u32>, workgroups: vec3<u32>, rows: u32, columns: u32) -> Tile {
    let index = id.x + id.y * workgroups.x * 8u;
    let across = (columns + 15u) / 16u;
    let down = (rows + 15u) / 16u;
    let product = index / across / down;
    return Tile(16u * (index / across % down), 16u * (index % across), product % params.groups, product / params.groups);
}

// forward: y[n,o] = act(b[o] + sum over taps and i of x[n under tap, i] w[o,tap,i]).
@compute @workgroup_size(8)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>) {
    let inputs = params.I / params.groups;
    let outputs = params.O / params.groups;
    let tile = tile_of(id, workgroups, params.B, outputs);
    if tile.place >= params.P * params.Q { return; }
    let first = tile.group * outputs;
    for (var u = 0u; u < params.KH; u++) {
        // Below 0 wraps to far above H.
        let h = tile.place / params.Q * params.stride_h + u * params.dilation_h - params.padding_h;
        if h >= params.H { continue; }
        for (var v = 0u; v < params.KW; v++) {
            let c = tile.place % params.Q * params.stride_w + v * params.dilation_w - params.padding_w;
            if c >= params.W { continue; }
            let x_at = (h * params.W + c) * params.I + tile.group * inputs;
            let w_at = (u * params.KW + v) * inputs;
            for (var i = 0u; i < inputs; i++) {
                for (var t = 0u; t < 16u; t++) {
                    let picture = min(tile.row + t, params.B - 1u);
                    left[t / 4u][0][t % 4u] = x[picture * params.H * params.W * params.I + x_at + i];
                    let o = first + min(tile.column + t, outputs - 1u);
                    right[t / 4u][0][t % 4u] = w[o * params.KH * params.KW * inputs + w_at + i];
                }
                add_term(0u);
            }
        }
    }
    for (var f = 0u; f < 16u; f++) {
        store_y(tile.row + f / 4u * 4u, tile, tile.column + f % 4u * 4u, sums[f]);
    }
}

fn store_y(picture: u32, tile: Tile, column: u32, sum: mat4x4<f32>) {
    for (var r = 0u; r < 4u; r++) { store_y_row(picture + r, tile, column, sum[r]); }
}

fn store_y_row(picture: u32, tile: Tile, column: u32, sum: vec4<f32>) {
    let outputs = params.O / params.groups;
    let channel = tile.group * outputs + column;
    let at = (picture * params.P * params.Q + tile.place) * params.O + channel;
    for (var c = 0u; c < 4u; c++) {
        if (picture < params.B) & (column + c < outputs) { y[at + c] = with_epilogue(sum[c], channel + c); }
    }
}

fn with_epilogue(sum: f32, channel: u32) -> f32 {
    var one = sum;
    if params.bias != 0u { one += b[channel]; }
    // Identity, relu or leaky relu, without branches: on lanes every case of a switch is computed.
    let below = select(select(one, 0.0, params.activation == 1u), 0.01 * one, params.activation == 2u);
    return select(one, below, one <= 0.0);
}

// backward of y = x * w to x: dx[m,i] = sum over taps and o of dy[m under tap, o] w[o,tap,i]. As the forward of a
// transposed convolution it adds b[i] and takes the activation.
@compute @workgroup_size(8)
fn backward_x(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>) {
    let inputs = params.I / params.groups;
    let outputs = params.O / params.groups;
    let tile = tile_of(id, workgroups, params.B, inputs);
    if tile.place >= params.H * params.W { return; }
    for (var u = 0u; u < params.KH; u++) {
        let h = tile.place / params.W + params.padding_h - u * params.dilation_h;
        let p = h / params.stride_h;
        if p * params.stride_h != h || p >= params.P { continue; }
        for (var v = 0u; v < params.KW; v++) {
            let c = tile.place % params.W + params.padding_w - v * params.dilation_w;
            let q = c / params.stride_w;
            if q * params.stride_w != c || q >= params.Q { continue; }
            for (var o = tile.group * outputs; o < (tile.group + 1u) * outputs; o++) {
                let w_at = ((o * params.KH + u) * params.KW + v) * inputs;
                for (var t = 0u; t < 16u; t++) {
                    let picture = min(tile.row + t, params.B - 1u);
                    left[t / 4u][0][t % 4u] = dy[((picture * params.P + p) * params.Q + q) * params.O + o];
                    right[t / 4u][0][t % 4u] = w[w_at + min(tile.column + t, inputs - 1u)];
                }
                add_term(0u);
            }
        }
    }
    for (var f = 0u; f < 16u; f++) {
        store_dx(tile.row + f / 4u * 4u, tile, tile.column + f % 4u * 4u, sums[f]);
    }
}

fn store_dx(picture: u32, tile: Tile, column: u32, sum: mat4x4<f32>) {
    for (var r = 0u; r < 4u; r++) { store_dx_row(picture + r, tile, column, sum[r]); }
}

fn store_dx_row(picture: u32, tile: Tile, column: u32, sum: vec4<f32>) {
    let inputs = params.I / params.groups;
    let channel = tile.group * inputs + column;
    let at = (picture * params.H * params.W + tile.place) * params.I + channel;
    for (var c = 0u; c < 4u; c++) {
        if (picture < params.B) & (column + c < inputs) { dx[at + c] = with_epilogue(sum[c], channel + c); }
    }
}

// backward of y = x * w to w: dw[o,tap,i] += sum over places n of y of dy[n,o] x[n under tap, i]. The columns of the
// product are the inputs of all taps: pictures have too few channels for a tile of one tap.
@compute @workgroup_size(8)
fn backward_w(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>) {
    let inputs = params.I / params.groups;
    let outputs = params.O / params.groups;
    let columns = params.KH * params.KW * inputs;
    let tile = tile_of(id, workgroups, outputs, columns);
    if tile.place > 0u { return; }
    let first = tile.group * outputs;
    let picture = params.H * params.W * params.I;
    for (var place = 0u; place < params.P * params.Q; place++) {
        var at: array<u32, 16>;
        var is_there: array<bool, 16>;
        for (var t = 0u; t < 16u; t++) {
            let column = min(tile.column + t, columns - 1u);
            let tap = column / inputs;
            let h = place / params.Q * params.stride_h + tap / params.KW * params.dilation_h - params.padding_h;
            let c = place % params.Q * params.stride_w + tap % params.KW * params.dilation_w - params.padding_w;
            is_there[t] = (h < params.H) & (c < params.W);
            at[t] = select(0u, (h * params.W + c) * params.I + tile.group * inputs + column % inputs, is_there[t]);
        }
        for (var n = 0u; n < params.B; n++) {
            let dy_at = (n * params.P * params.Q + place) * params.O + first;
            for (var t = 0u; t < 16u; t++) {
                left[t / 4u][0][t % 4u] = dy[dy_at + min(tile.row + t, outputs - 1u)];
                right[t / 4u][0][t % 4u] = select(0.0, x[n * picture + at[t]], is_there[t]);
            }
            add_term(0u);
        }
    }
    for (var f = 0u; f < 16u; f++) {
        add_dw(tile.row + f / 4u * 4u, tile, tile.column + f % 4u * 4u, sums[f]);
    }
}

fn add_dw(row: u32, tile: Tile, column: u32, sum: mat4x4<f32>) {
    for (var r = 0u; r < 4u; r++) { add_dw_row(row + r, tile, column, sum[r]); }
}

fn add_dw_row(row: u32, tile: Tile, column: u32, sum: vec4<f32>) {
    let outputs = params.O / params.groups;
    let columns = params.KH * params.KW * (params.I / params.groups);
    let at = (tile.group * outputs + row) * columns + column;
    for (var c = 0u; c < 4u; c++) {
        if (row < outputs) & (column + c < columns) { dw[at + c] += sum[c]; }
    }
}
