
// Convolution for adapters that run on a CPU: where the blocks of blocks.wgsl come from and go to. It is appended to
// conv2d_vec4.wgsl, or to conv2d_scalar.wgsl and the files that say for which channels that is; these declare the buffers.
//
// The rows of a tile are the same place in 16 pictures: whether a tap meets the other picture there holds for all of
// them, so nothing is multiplied by zero at the border or between the strides, and the index arithmetic is done once for
// a tap and all its channels. Tiles of one place stand side by side, so that the lanes of a workgroup agree too.

// The first of four channels that are not past the end, where `channel` may be.
fn within(channel: u32, channels: u32) -> u32 {
    return min(channel, (channels - 1u) / 4u * 4u);
}

// Where four neighbouring rows of a matrix begin; rows past the end are the last one.
fn rows_at(row: u32, rows: u32, stride: u32) -> vec4<u32> {
    return min(vec4<u32>(row) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(rows - 1u)) * stride;
}

// With WHOLE_ROWS a window's row of KW places, side by side in x as in w, counts as one place of KW * I channels: grey
// and colour pictures have too few channels to fill a block. It takes neighbouring taps and no padding in the row.
fn window_columns() -> u32 { if WHOLE_ROWS { return 1u; } return params.KW; }
fn window_inputs() -> u32 { if WHOLE_ROWS { return params.KW * params.I; } return params.I / params.groups; }

struct Tile { row: u32, column: u32, group: u32, rest: u32 }

// Tiles are numbered column by column, then row by row, then by group, then by what is left: places or taps.
fn tile_of(index: u32, rows: u32, columns: u32) -> Tile {
    let across = (columns + 4u * RIGHT - 1u) / (4u * RIGHT);
    let down = (rows + 4u * LEFT - 1u) / (4u * LEFT);
    let above = index / across;
    let rest = above / down;
    return Tile(above % down * 4u * LEFT, index % across * 4u * RIGHT, rest % params.groups, rest / params.groups);
}

// forward: y[n,o] = act(b[o] + sum over taps and i of x[n under tap, i] w[o,tap,i]). Saved for backward: x and y.
@compute @workgroup_size(8)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let inputs = window_inputs();
    let outputs = params.O / params.groups;
    let columns = window_columns();
    let tile = tile_of(id.x + id.y * groups.x * 8u, params.B, outputs);
    if tile.rest >= params.P * params.Q { return; }
    let first = tile.group * outputs;
    let picture = params.H * params.W * params.I;
    for (var u = 0u; u < params.KH; u++) {
        // Below 0 wraps to far above H.
        let h = tile.rest / params.Q * params.stride_h + u * params.dilation_h - params.padding_h;
        if h >= params.H { continue; }
        for (var v = 0u; v < columns; v++) {
            let c = tile.rest % params.Q * params.stride_w + v * params.dilation_w - params.padding_w;
            if c >= params.W { continue; }
            for (var i = 0u; i < inputs; i += 4u) {
                let x_at = (h * params.W + c) * params.I + tile.group * inputs + i;
                for (var r = 0u; r < LEFT; r++) {
                    let at = rows_at(tile.row + 4u * r, params.B, picture) + x_at;
                    left[r] = mat4x4<f32>(load_x(at.x, inputs - i), load_x(at.y, inputs - i), load_x(at.z, inputs - i),
                                          load_x(at.w, inputs - i));
                }
                let w_at = ((first * params.KH + u) * columns + v) * inputs + i;
                for (var j = 0u; j < RIGHT; j++) {
                    let at = rows_at(tile.column + 4u * j, outputs, params.KH * columns * inputs) + w_at;
                    right[j] = transpose(mat4x4<f32>(load_w(at.x, inputs - i), load_w(at.y, inputs - i),
                                                     load_w(at.z, inputs - i), load_w(at.w, inputs - i)));
                }
                multiply_blocks();
            }
        }
    }
    for (var i = 0u; i < LEFT * RIGHT; i++) {
        let o = tile.column + 4u * (i % RIGHT);
        finish_y(tile.row + 4u * (i / RIGHT), tile.rest * params.O + first + o, first + o, outputs - min(o, outputs), sums[i]);
    }
}

// Stores a block of y: four pictures from `picture` on, `left` channels from `channel` on, `at` within a picture.
fn finish_y(picture: u32, at: u32, channel: u32, left: u32, sum: mat4x4<f32>) {
    if left == 0u { return; }
    for (var r = 0u; r < 4u; r++) {
        if picture + r < params.B {
            store_y((picture + r) * params.P * params.Q * params.O + at, left, with_epilogue(sum[r], channel, left));
        }
    }
}

fn with_epilogue(sum: vec4<f32>, channel: u32, left: u32) -> vec4<f32> {
    var four = sum;
    if params.bias != 0u { four += load_b(channel, left); }
    // Identity, relu or leaky relu, without branches: on lanes every case of a switch is computed.
    var below = four;
    below = select(below, vec4<f32>(0.0), params.activation == 1u);
    below = select(below, 0.01 * four, params.activation == 2u);
    return select(four, below, four <= vec4<f32>(0.0));
}

// backward of y = x * w to x: dx[m,i] = sum over taps and o of dy[m under tap, o] w[o,tap,i]. As the forward of a
// transposed convolution it adds b[i] and takes the activation.
@compute @workgroup_size(8)
fn backward_x(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let inputs = params.I / params.groups;
    let outputs = params.O / params.groups;
    let taps = params.KH * params.KW;
    let tile = tile_of(id.x + id.y * groups.x * 8u, params.B, inputs);
    if tile.rest >= params.H * params.W { return; }
    let first = tile.group * inputs;
    let picture = params.P * params.Q * params.O;
    for (var u = 0u; u < params.KH; u++) {
        let h = tile.rest / params.W + params.padding_h - u * params.dilation_h;
        let p = h / params.stride_h;
        if p * params.stride_h != h || p >= params.P { continue; }
        for (var v = 0u; v < params.KW; v++) {
            let c = tile.rest % params.W + params.padding_w - v * params.dilation_w;
            let q = c / params.stride_w;
            if q * params.stride_w != c || q >= params.Q { continue; }
            for (var k = 0u; k < outputs; k += 4u) {
                let dy_at = (p * params.Q + q) * params.O + tile.group * outputs + k;
                for (var r = 0u; r < LEFT; r++) {
                    let at = rows_at(tile.row + 4u * r, params.B, picture) + dy_at;
                    left[r] = mat4x4<f32>(load_dy(at.x, outputs - k), load_dy(at.y, outputs - k),
                                          load_dy(at.z, outputs - k), load_dy(at.w, outputs - k));
                }
                let w_at = ((tile.group * outputs * params.KH + u) * params.KW + v) * inputs;
                let o_at = rows_at(k, outputs, taps * inputs) + w_at;
                for (var j = 0u; j < RIGHT; j++) {
                    let i = within(tile.column + 4u * j, inputs);
                    let at = o_at + i;
                    right[j] = mat4x4<f32>(load_w(at.x, inputs - i), load_w(at.y, inputs - i), load_w(at.z, inputs - i),
                                           load_w(at.w, inputs - i));
                }
                multiply_blocks();
            }
        }
    }
    for (var b = 0u; b < LEFT * RIGHT; b++) {
        let i = tile.column + 4u * (b % RIGHT);
        finish_dx(tile.row + 4u * (b / RIGHT), tile.rest * params.I + first + i, first + i, inputs - min(i, inputs), sums[b]);
    }
}

// Stores a block of dx, as finish_y one of y.
fn finish_dx(picture: u32, at: u32, channel: u32, left: u32, sum: mat4x4<f32>) {
    if left == 0u { return; }
    for (var r = 0u; r < 4u; r++) {
        if picture + r < params.B {
            store_dx((picture + r) * params.H * params.W * params.I + at, left, with_epilogue(sum[r], channel, left));
        }
    }
}

// backward of y = x * w to w: dw[o,tap,i] += sum over places n of y of dy[n,o] x[n under tap, i]. A tile is of one tap; its
// terms are 4 pictures at a time of each place.
@compute @workgroup_size(8)
fn backward_w(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let inputs = window_inputs();
    let outputs = params.O / params.groups;
    let taps = params.KH * window_columns();
    let tile = tile_of(id.x + id.y * groups.x * 8u, outputs, inputs);
    if tile.rest >= taps { return; }
    let first = tile.group * outputs;
    let picture = params.H * params.W * params.I;
    let u = tile.rest / window_columns() * params.dilation_h;
    let v = tile.rest % window_columns() * params.dilation_w;
    // Places innermost: they are neighbours in memory, where pictures are far apart.
    for (var k = 0u; k < params.B; k += 4u) {
        let dy_rows = rows_at(k, params.B, params.P * params.Q * params.O) + first;
        let x_rows = rows_at(k, params.B, picture) + tile.group * inputs;
        // Past the last picture there is nothing to add.
        let is_there = vec4<f32>(vec4<u32>(k) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.B));
        for (var p = 0u; p < params.P; p++) {
            let h = p * params.stride_h + u - params.padding_h;
            if h >= params.H { continue; }
            for (var q = 0u; q < params.Q; q++) {
                let c = q * params.stride_w + v - params.padding_w;
                if c >= params.W { continue; }
                let dy_at = dy_rows + (p * params.Q + q) * params.O;
                for (var r = 0u; r < LEFT; r++) {
                    let o = within(tile.row + 4u * r, outputs);
                    let at = dy_at + o;
                    let four = mat4x4<f32>(load_dy(at.x, outputs - o), load_dy(at.y, outputs - o),
                                           load_dy(at.z, outputs - o), load_dy(at.w, outputs - o));
                    left[r] = transpose(four);
                }
                let x_at = x_rows + (h * params.W + c) * params.I;
                for (var j = 0u; j < RIGHT; j++) {
                    let i = within(tile.column + 4u * j, inputs);
                    let at = x_at + i;
                    right[j] = mat4x4<f32>(load_x(at.x, inputs - i) * is_there.x, load_x(at.y, inputs - i) * is_there.y,
                                           load_x(at.z, inputs - i) * is_there.z, load_x(at.w, inputs - i) * is_there.w);
                }
                multiply_blocks();
            }
        }
    }
    for (var b = 0u; b < LEFT * RIGHT; b++) {
        let o = tile.row + 4u * (b / RIGHT);
        let i = tile.column + 4u * (b % RIGHT);
        finish_dw((first + o) * taps + tile.rest, outputs - min(o, outputs), i, inputs - min(i, inputs), sums[b]);
    }
}

// Adds a block to dw: of `rows` rows four, taps() apart from `at` on, of `left` channels from `i` on four.
fn finish_dw(at: u32, rows: u32, i: u32, left: u32, sum: mat4x4<f32>) {
    if left == 0u { return; }
    let taps = params.KH * window_columns();
    for (var r = 0u; r < 4u; r++) {
        if r < rows { add_dw((at + r * taps) * window_inputs() + i, left, sum[r]); }
    }
}
