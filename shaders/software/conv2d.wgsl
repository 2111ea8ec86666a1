
// Convolution for adapters that run on a CPU: where the blocks of blocks.wgsl come from and go to. It is appended to
// conv2d_vec4.wgsl, or to conv2d_any.wgsl or conv2d_narrow.wgsl and conv2d_scalar.wgsl, which declare the buffers.
//
// The rows of a tile are the same place in 16 pictures: whether a tap meets the other picture there holds for all of
// them, so nothing is multiplied by zero at the border or between the strides, and the index arithmetic is done once for
// a tap and all its channels. Tiles of one place stand side by side, so that the lanes of a workgroup agree too.

// The first of four channels that are not past the end, where `channel` may be.
fn within(channel: u32, channels: u32) -> u32 {
    return min(channel, (channels - 1u) / 4u * 4u);
}

struct Tile { row: u32, column: u32, group: u32, rest: u32 }

// Tiles are numbered column by column, then row by row, then by group, then by what is left: places or taps.
fn tile_of(index: u32, rows: u32, columns: u32) -> Tile {
    let across = (columns + 4u * RIGHT - 1u) / (4u * RIGHT);
    let down = (rows + 15u) / 16u;
    let above = index / across;
    let rest = above / down;
    return Tile(above % down * 16u, index % across * 4u * RIGHT, rest % params.groups, rest / params.groups);
}

// forward: y[n,o] = act(b[o] + sum over taps and i of x[n under tap, i] w[o,tap,i]). Saved for backward: x and y.
@compute @workgroup_size(8)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let inputs = params.I / params.groups;
    let outputs = params.O / params.groups;
    let taps = params.KH * params.KW;
    let tile = tile_of(id.x + id.y * groups.x * 8u, params.B, outputs);
    if tile.rest >= params.P * params.Q { return; }
    let first = tile.group * outputs;
    for (var u = 0u; u < params.KH; u++) {
        // Below 0 wraps to far above H.
        let h = tile.rest / params.Q * params.stride_h + u * params.dilation_h - params.padding_h;
        if h >= params.H { continue; }
        for (var v = 0u; v < params.KW; v++) {
            let c = tile.rest % params.Q * params.stride_w + v * params.dilation_w - params.padding_w;
            if c >= params.W { continue; }
            for (var i = 0u; i < inputs; i += 4u) {
                for (var r = 0u; r < 16u; r++) {
                    let picture = min(tile.row + r, params.B - 1u);
                    let at = ((picture * params.H + h) * params.W + c) * params.I + tile.group * inputs + i;
                    left[r / 4u][r % 4u] = load_x(at, inputs - i);
                }
                for (var j = 0u; j < RIGHT; j++) {
                    var four: mat4x4<f32>;
                    for (var r = 0u; r < 4u; r++) {
                        let o = first + min(tile.column + 4u * j + r, outputs - 1u);
                        four[r] = load_w((o * taps + u * params.KW + v) * inputs + i, inputs - i);
                    }
                    right[j] = transpose(four);
                }
                multiply_blocks();
            }
        }
    }
    for (var r = 0u; r < 16u; r++) {
        for (var j = 0u; j < RIGHT; j++) {
            let o = tile.column + 4u * j;
            if tile.row + r < params.B && o < outputs {
                let n = (tile.row + r) * params.P * params.Q + tile.rest;
                var sum = sums[RIGHT * (r / 4u) + j][r % 4u];
                if params.bias != 0u { sum += load_b(first + o, outputs - o); }
                for (var l = 0u; l < 4u; l++) { sum[l] = activate(params.activation, sum[l]); }
                store_y(n * params.O + first + o, outputs - o, sum);
            }
        }
    }
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
    for (var u = 0u; u < params.KH; u++) {
        let h = tile.rest / params.W + params.padding_h - u * params.dilation_h;
        let p = h / params.stride_h;
        if p * params.stride_h != h || p >= params.P { continue; }
        for (var v = 0u; v < params.KW; v++) {
            let c = tile.rest % params.W + params.padding_w - v * params.dilation_w;
            let q = c / params.stride_w;
            if q * params.stride_w != c || q >= params.Q { continue; }
            for (var k = 0u; k < outputs; k += 4u) {
                for (var r = 0u; r < 16u; r++) {
                    let picture = min(tile.row + r, params.B - 1u);
                    let at = ((picture * params.P + p) * params.Q + q) * params.O + tile.group * outputs + k;
                    left[r / 4u][r % 4u] = load_dy(at, outputs - k);
                }
                for (var r = 0u; r < 4u; r++) {
                    let o = tile.group * outputs + min(k + r, outputs - 1u);
                    for (var j = 0u; j < RIGHT; j++) {
                        let i = within(tile.column + 4u * j, inputs);
                        right[j][r] = load_w((o * taps + u * params.KW + v) * inputs + i, inputs - i);
                    }
                }
                multiply_blocks();
            }
        }
    }
    for (var r = 0u; r < 16u; r++) {
        for (var j = 0u; j < RIGHT; j++) {
            let i = tile.column + 4u * j;
            if tile.row + r < params.B && i < inputs {
                let m = (tile.row + r) * params.H * params.W + tile.rest;
                var sum = sums[RIGHT * (r / 4u) + j][r % 4u];
                if params.bias != 0u { sum += load_b(first + i, inputs - i); }
                for (var l = 0u; l < 4u; l++) { sum[l] = activate(params.activation, sum[l]); }
                store_dx(m * params.I + first + i, inputs - i, sum);
            }
        }
    }
}

// backward of y = x * w to w: dw[o,tap,i] += sum over places n of y of dy[n,o] x[n under tap, i]. A tile is of one tap; its
// terms are 4 pictures at a time of each place.
@compute @workgroup_size(8)
fn backward_w(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let inputs = params.I / params.groups;
    let outputs = params.O / params.groups;
    let taps = params.KH * params.KW;
    let tile = tile_of(id.x + id.y * groups.x * 8u, outputs, inputs);
    if tile.rest >= taps { return; }
    let first = tile.group * outputs;
    for (var n = 0u; n < params.P * params.Q; n++) {
        let h = n / params.Q * params.stride_h + tile.rest / params.KW * params.dilation_h - params.padding_h;
        let c = n % params.Q * params.stride_w + tile.rest % params.KW * params.dilation_w - params.padding_w;
        if h >= params.H || c >= params.W { continue; }
        for (var k = 0u; k < params.B; k += 4u) {
            for (var r = 0u; r < 4u; r++) {
                let picture = min(k + r, params.B - 1u);
                let place = picture * params.P * params.Q + n;
                for (var i = 0u; i < 4u; i++) {
                    let o = within(tile.row + 4u * i, outputs);
                    let four = load_dy(place * params.O + first + o, outputs - o);
                    // Past the last picture there is nothing to add.
                    left[i][r] = select(vec4<f32>(0.0), four, k + r < params.B);
                }
                for (var j = 0u; j < RIGHT; j++) {
                    let i = within(tile.column + 4u * j, inputs);
                    let at = ((picture * params.H + h) * params.W + c) * params.I + tile.group * inputs + i;
                    right[j][r] = load_x(at, inputs - i);
                }
            }
            for (var i = 0u; i < 4u; i++) { left[i] = transpose(left[i]); }
            multiply_blocks();
        }
    }
    for (var r = 0u; r < 16u; r++) {
        for (var j = 0u; j < RIGHT; j++) {
            let o = tile.row + r;
            let i = tile.column + 4u * j;
            if o < outputs && i < inputs {
                add_dw(((first + o) * taps + tile.rest) * inputs + i, inputs - i, sums[RIGHT * (r / 4u) + j][r % 4u]);
            }
        }
    }
}
