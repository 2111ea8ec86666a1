// Convolution for adapters that run on a CPU and have subgroups of 8, where I/G and O/G are multiples of 8. As in conv2d.wgsl
// beside it the rows of a tile are the same place in as many pictures, so that a tap meets all of them or none. A workgroup,
// one subgroup, owns 32 rows and 64 columns; eight.wgsl, which is appended, says why.
//
// Measured at x (128,6,6,128), y (128,3,3,256), 4x4 taps, on one core, Mesa 22.3 lavapipe, LLVM 15, GFLOP/s: forward and
// backward_x 28, backward_w 25, where conv2d_vec4.wgsl makes 18, 19 and 16. Where the result has few columns most lanes would
// be idle, and conv2d_vec4.wgsl is faster.

struct Params {
    B: u32, H: u32, W: u32, I: u32, P: u32, Q: u32, O: u32, KH: u32, KW: u32,
    stride_h: u32, stride_w: u32, padding_h: u32, padding_w: u32, dilation_h: u32, dilation_w: u32,
    groups: u32, activation: u32, bias: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;          // (B,H,W,I/8)
@group(0) @binding(2) var<storage, read> w: array<vec4<u64>>;          // (O,KH,KW,I/G/8)
@group(0) @binding(3) var<storage, read> b: array<vec4<u64>>;          // (O/8); backward_x: (I/8)
@group(0) @binding(4) var<storage, read> dy: array<vec4<u64>>;         // (B,P,Q,O/8)
@group(0) @binding(5) var<storage, read_write> y: array<vec4<u64>>;    // (B,P,Q,O/8)
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<u64>>;   // (B,H,W,I/8)
@group(0) @binding(7) var<storage, read_write> dw: array<vec4<u64>>;   // (O,KH,KW,I/G/8)

// A workgroup's tile: its first row and column, its group, and what is left: the place or the tap.
struct Place { row: u32, column: u32, group: u32, rest: u32 }

// Tiles are numbered column by column, then row by row, then by group, then by what is left.
fn place_of(index: u32, rows: u32, columns: u32) -> Place {
    let across = (columns + 63u) / 64u;
    let down = (rows + 31u) / 32u;
    let above = index / across;
    let rest = above / down;
    return Place(above % down * 32u, index % across * 64u, rest % params.groups, rest / params.groups);
}

// forward: y[n,o] = act(b[o] + sum over taps and i of x[n under tap, i] w[o,tap,i]). Saved for backward: x and y.
@compute @workgroup_size(8)
fn forward(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(subgroup_invocation_id) lane: u32) {
    let inputs = params.I / params.groups;
    let outputs = params.O / params.groups;
    let tile = place_of(id.x + id.y * groups.x, params.B, outputs);
    if tile.rest >= params.P * params.Q { return; }
    let first = tile.group * outputs;
    let column = tile.column + 8u * lane;
    let own = first + own_columns(column, outputs);
    // In eights: of w, whose rows are outputs, the lane's 8 rows.
    let x_rows = own_rows(tile.row + lane, params.B) * (params.H * params.W * params.I / 8u);
    let taps = params.KH * params.KW;
    let stride = taps * inputs / 8u;
    let w_rows = own * stride;
    for (var u = 0u; u * params.KW < taps; u++) {
        // Below 0 wraps to far above H.
        let h = tile.rest / params.Q * params.stride_h + u * params.dilation_h - params.padding_h;
        if h >= params.H { continue; }
        for (var v = 0u; v * params.KH < taps; v++) {
            let c = tile.rest % params.Q * params.stride_w + v * params.dilation_w - params.padding_w;
            if c >= params.W { continue; }
            var x_at = x_rows + ((h * params.W + c) * params.I + tile.group * inputs) / 8u;
            var w_at = w_rows + (u * params.KW + v) * inputs / 8u;
            for (var i = 0u; 8u * i < inputs; i++) {
                hold_columns(eight(w[w_at]), eight(w[w_at + stride]), eight(w[w_at + 2u * stride]),
                             eight(w[w_at + 3u * stride]), eight(w[w_at + 4u * stride]), eight(w[w_at + 5u * stride]),
                             eight(w[w_at + 6u * stride]), eight(w[w_at + 7u * stride]));
                multiply_rows(0u, eight(x[x_at.x]));
                multiply_rows(8u, eight(x[x_at.y]));
                multiply_rows(16u, eight(x[x_at.z]));
                multiply_rows(24u, eight(x[x_at.w]));
                x_at += 1u;
                w_at += 1u;
            }
        }
    }
    let bias = bias_of(own / 8u);
    let place = (tile.rest * params.O + own) / 8u;
    store_y(tile.row, place, 0u, bias);
    store_y(tile.row, place, 8u, bias);
    store_y(tile.row, place, 16u, bias);
    store_y(tile.row, place, 24u, bias);
}

// Without a branch that params alone decide (eight.wgsl). Any tensor has an eight at 0, also one that stands for no bias.
fn bias_of(place: u32) -> mat2x4<f32> {
    let has_bias = params.bias != 0u;
    return eight(select(vec4<u64>(), b[select(0u, place, has_bias)], has_bias));
}

// `place` is that of the lane's first column in the first picture.
fn store_y(picture: u32, place: u32, first: u32, bias: mat2x4<f32>) {
    store_y_row(picture, place, first, bias);
    store_y_row(picture, place, first + 1u, bias);
    store_y_row(picture, place, first + 2u, bias);
    store_y_row(picture, place, first + 3u, bias);
    store_y_row(picture, place, first + 4u, bias);
    store_y_row(picture, place, first + 5u, bias);
    store_y_row(picture, place, first + 6u, bias);
    store_y_row(picture, place, first + 7u, bias);
}

fn store_y_row(picture: u32, place: u32, r: u32, bias: mat2x4<f32>) {
    let i = min(picture + r, params.B - 1u) * (params.P * params.Q * params.O / 8u) + place;
    y[i] = words(rectify(params.activation, sums[r] + bias));
}

// backward of y = x * w to x: dx[m,i] = sum over taps and o of dy[m under tap, o] w[o,tap,i]. As the forward of a
// transposed convolution it adds b[i] and takes the activation.
@compute @workgroup_size(8)
fn backward_x(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(subgroup_invocation_id) lane: u32) {
    let inputs = params.I / params.groups;
    let outputs = params.O / params.groups;
    let tile = place_of(id.x + id.y * groups.x, params.B, inputs);
    if tile.rest >= params.H * params.W { return; }
    let column = tile.column + 8u * lane;
    let own = own_columns(column, inputs);
    let dy_rows = own_rows(tile.row + lane, params.B) * (params.P * params.Q * params.O / 8u);
    let taps = params.KH * params.KW;
    let stride = taps * inputs / 8u;
    let w_columns = tile.group * outputs * stride + own / 8u;
    for (var u = 0u; u * params.KW < taps; u++) {
        let h = tile.rest / params.W + params.padding_h - u * params.dilation_h;
        let p = h / params.stride_h;
        if p * params.stride_h != h || p >= params.P { continue; }
        for (var v = 0u; v * params.KH < taps; v++) {
            let c = tile.rest % params.W + params.padding_w - v * params.dilation_w;
            let q = c / params.stride_w;
            if q * params.stride_w != c || q >= params.Q { continue; }
            var dy_at = dy_rows + ((p * params.Q + q) * params.O + tile.group * outputs) / 8u;
            var w_at = w_columns + (u * params.KW + v) * inputs / 8u;
            for (var k = 0u; 8u * k < outputs; k++) {
                hold_terms(eight(w[w_at]), eight(w[w_at + stride]), eight(w[w_at + 2u * stride]),
                           eight(w[w_at + 3u * stride]), eight(w[w_at + 4u * stride]), eight(w[w_at + 5u * stride]),
                           eight(w[w_at + 6u * stride]), eight(w[w_at + 7u * stride]));
                multiply_rows(0u, eight(dy[dy_at.x]));
                multiply_rows(8u, eight(dy[dy_at.y]));
                multiply_rows(16u, eight(dy[dy_at.z]));
                multiply_rows(24u, eight(dy[dy_at.w]));
                dy_at += 1u;
                w_at += 8u * stride;
            }
        }
    }
    let first = tile.group * inputs;
    let bias = bias_of((first + own) / 8u);
    let place = (tile.rest * params.I + first + own) / 8u;
    store_dx(tile.row, place, 0u, bias);
    store_dx(tile.row, place, 8u, bias);
    store_dx(tile.row, place, 16u, bias);
    store_dx(tile.row, place, 24u, bias);
}

// As store_y.
fn store_dx(picture: u32, place: u32, first: u32, bias: mat2x4<f32>) {
    store_dx_row(picture, place, first, bias);
    store_dx_row(picture, place, first + 1u, bias);
    store_dx_row(picture, place, first + 2u, bias);
    store_dx_row(picture, place, first + 3u, bias);
    store_dx_row(picture, place, first + 4u, bias);
    store_dx_row(picture, place, first + 5u, bias);
    store_dx_row(picture, place, first + 6u, bias);
    store_dx_row(picture, place, first + 7u, bias);
}

fn store_dx_row(picture: u32, place: u32, r: u32, bias: mat2x4<f32>) {
    let i = min(picture + r, params.B - 1u) * (params.H * params.W * params.I / 8u) + place;
    dx[i] = words(rectify(params.activation, sums[r] + bias));
}

// backward of y = x * w to w: dw[o,tap,i] += sum over places n of y of dy[n,o] x[n under tap, i]. A tile is of one tap; its
// terms are 8 pictures at a time of each place.
@compute @workgroup_size(8)
fn backward_w(@builtin(workgroup_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(subgroup_invocation_id) lane: u32) {
    let inputs = params.I / params.groups;
    let outputs = params.O / params.groups;
    let taps = params.KH * params.KW;
    let tile = place_of(id.x + id.y * groups.x, outputs, inputs);
    if tile.rest >= taps { return; }
    let first = tile.group * outputs;
    let column = tile.column + 8u * lane;
    let p = met(tile.rest / params.KW * params.dilation_h, params.padding_h, params.stride_h, params.H, params.P);
    let q = met(tile.rest % params.KW * params.dilation_w, params.padding_w, params.stride_w, params.W, params.Q);
    let dy_picture = params.P * params.Q * params.O / 8u;
    let x_picture = params.H * params.W * params.I / 8u;
    let dy_columns = first / 8u + own_eights(tile.row, outputs);
    let x_column = (tile.group * inputs + own_columns(column, inputs)) / 8u;
    // One loop, since the sums are copied wherever one ends. Places innermost: they are neighbours in memory, where pictures
    // are far apart.
    var picture = 0u;
    var at = vec2<u32>(p.first, q.first);
    for (var left = (params.B + 7u) / 8u * p.count * q.count; left > 0u; left--) {
        let x_place = (at.x * params.stride_h + p.offset) * params.W + at.y * params.stride_w + q.offset;
        let x_at = x_place * params.I / 8u + x_column;
        let low = min(vec4<u32>(picture) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(params.B - 1u)) * x_picture + x_at;
        let high = min(vec4<u32>(picture) + vec4<u32>(4u, 5u, 6u, 7u), vec4<u32>(params.B - 1u)) * x_picture + x_at;
        hold_terms(eight(x[low.x]), eight(x[low.y]), eight(x[low.z]), eight(x[low.w]),
                   eight(x[high.x]), eight(x[high.y]), eight(x[high.z]), eight(x[high.w]));
        let own = picture + lane;
        let dy_at = dy_columns + min(own, params.B - 1u) * dy_picture + (at.x * params.Q + at.y) * params.O / 8u;
        // Past the last picture there is nothing to add.
        let is_there = own < params.B;
        multiply_columns(0u, eight(select(vec4<u64>(), dy[dy_at.x], is_there)));
        multiply_columns(8u, eight(select(vec4<u64>(), dy[dy_at.y], is_there)));
        multiply_columns(16u, eight(select(vec4<u64>(), dy[dy_at.z], is_there)));
        multiply_columns(24u, eight(select(vec4<u64>(), dy[dy_at.w], is_there)));
        at.y++;
        let row_ends = at.y == q.first + q.count;
        at = select(at, vec2<u32>(at.x + 1u, q.first), row_ends);
        let picture_ends = at.x == p.first + p.count;
        at.x = select(at.x, p.first, picture_ends);
        picture = select(picture, picture + 8u, picture_ends);
    }
    let place = ((first * taps + tile.rest) * inputs + column) / 8u;
    add_dw(tile.row, column, place, 0u);
    add_dw(tile.row, column, place, 8u);
    add_dw(tile.row, column, place, 16u);
    add_dw(tile.row, column, place, 24u);
}

// The places of the small picture that meet the large one under a tap: place p meets p * stride + offset, where the offset
// below 0 wraps.
struct Met { first: u32, count: u32, offset: u32 }

fn met(tap: u32, padding: u32, stride: u32, large: u32, small: u32) -> Met {
    let first = (max(padding, tap) - tap + stride - 1u) / stride;
    let end = min((max(large + padding, tap) - tap + stride - 1u) / stride, small);
    return Met(first, max(end, first) - first, tap - padding);
}

// `place` is that of the lane's first column in the first row of the group.
fn add_dw(row: u32, column: u32, place: u32, first: u32) {
    add_dw_row(row, column, place, first);
    add_dw_row(row, column, place, first + 1u);
    add_dw_row(row, column, place, first + 2u);
    add_dw_row(row, column, place, first + 3u);
    add_dw_row(row, column, place, first + 4u);
    add_dw_row(row, column, place, first + 5u);
    add_dw_row(row, column, place, first + 6u);
    add_dw_row(row, column, place, first + 7u);
}

fn add_dw_row(row: u32, column: u32, place: u32, r: u32) {
    let inputs = params.I / params.groups;
    if (row + r >= params.O / params.groups) | (column >= inputs) { return; }
    let i = (row + r) * (params.KH * params.KW * inputs / 8u) + place;
    dw[i] = words(eight(dw[i]) + sums[r]);
}
