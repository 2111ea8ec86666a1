
// Convolution of pictures with channels last. x (B,H,W,I) is the large picture, y (B,P,Q,O) the small one, and place
// (h,w) of x meets place (p,q) of y under tap (u,v) of the KH x KW window where
//   h = p * stride_h + u * dilation_h - padding_h,   w = q * stride_w + v * dilation_w - padding_w.
// forward gathers the small picture from the large one, backward_x the large one from the small one: the first is
// nn.Conv2d, the second nn.ConvTranspose2d. With G groups, group g of I/G channels of x meets group g of O/G of y.
//
// Each is the product of two matrices that are never written down (implicit GEMM): a workgroup owns ROWS x COLUMNS of
// the result (common/product.wgsl) and looks up where each element of its slices comes from. This is the arithmetic; it
// is appended to conv2d_vec4.wgsl or to conv2d_any.wgsl, which declare the buffers and read and store fours of them.

// Where the rows of a workgroup's tile look to, or under backward_w its columns: worked out once, since divisions cost.
var<workgroup> looks: array<vec4<u32>, max(ROWS, COLUMNS)>;

// Outside of every picture, and not so far that adding a tap would wrap.
const FAR = 0x40000000u;

// First row and column of a workgroup's tile in a matrix of `columns` columns; tiles are numbered row by row of tiles.
fn corner(group: vec3<u32>, groups: vec3<u32>, columns: u32) -> vec2<u32> {
    let tile = group.x + group.y * groups.x;
    let across = (columns + COLUMNS - 1u) / COLUMNS;
    return vec2<u32>(tile / across * ROWS, tile % across * COLUMNS);
}

// Term k of a sum over taps, `width` to a row, and channels: row of the tap, its place in the row, channel.
fn term(k: u32, width: u32, channels: u32) -> vec3<u32> {
    let tap = k / channels;
    return vec3<u32>(tap / width, tap % width, k % channels);
}

fn next_term(t: vec3<u32>, width: u32, channels: u32) -> vec3<u32> {
    if t.z + 1u < channels { return vec3<u32>(t.x, t.y, t.z + 1u); }
    if t.y + 1u < width { return vec3<u32>(t.x, t.y + 1u, 0u); }
    return vec3<u32>(t.x + 1u, 0u, 0u);
}

// Place n of y, or none: its first row and column of x, and the first place of its picture.
fn look_of_y(n: u32) -> vec4<u32> {
    if n >= params.B * params.P * params.Q { return vec4<u32>(FAR); }
    return vec4<u32>(
        n / params.Q % params.P * params.stride_h - params.padding_h, n % params.Q * params.stride_w - params.padding_w,
        n / (params.P * params.Q) * params.H * params.W, n,
    );
}

// What a tap adds to that, and the channel; nowhere past the last tap.
fn x_tap(t: vec3<u32>, group: u32) -> vec4<u32> {
    if t.x >= params.KH { return vec4<u32>(FAR); }
    return vec4<u32>(t.x * params.dilation_h, t.y * params.dilation_w, group * (params.I / params.groups) + t.z, 0u);
}

// ANCHOR: forward
// forward: y[n,o] = act(b[o] + sum over taps and i of x[n under tap, i] w[o,tap,i]). Rows: places of y; columns: o of a
// group. Saved for backward: x and y.
@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
           @builtin(local_invocation_id) t: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let depth = params.KH * params.KW * (params.I / params.groups);
    let first = corner(group, groups, params.O / params.groups);
    for (var r = index; r < ROWS; r += SLICES * OWNERS) { looks[r] = look_of_y(first.x + r); }
    workgroupBarrier();
    for (var k0 = 0u; k0 < depth; k0 += SLICES * DEPTH) {
        let k = k0 + t.z * DEPTH;
        for (var e = t.y * ACROSS + t.x; e < (ROWS + COLUMNS) / 4u * (DEPTH / 4u); e += OWNERS) {
            let d = e % (DEPTH / 4u) * 4u;
            let i = e / (DEPTH / 4u);
            if i < ROWS / 4u {
                put_left_block(t.z, d, i, turned_x(4u * i, k + d, group.z));
            } else {
                let j = i - ROWS / 4u;
                put_right_block(t.z, d, j, turned_terms(first.y + 4u * j, k + d, group.z));
            }
        }
        workgroupBarrier();
        multiply_slices(t);
        workgroupBarrier();
    }
    add_slices(t);
    if t.z > 0u { return; }
    for (var i = 0u; i < FOURS; i++) {
        let at = place(t, i);
        store_y(first.x + at.x, first.y + at.y, group.z, sum(i));
    }
}
// ANCHOR_END: forward

// Four terms of the weights of four channels o, term by term.
fn turned_terms(o: u32, k: u32, group: u32) -> mat4x4<f32> {
    return transpose(
        mat4x4<f32>(
            load_terms(o, k, group), load_terms(o + 1u, k, group), load_terms(o + 2u, k, group), load_terms(o + 3u, k, group),
        ),
    );
}

// ANCHOR: phase
// A stride of s meets a place of x only with the taps u for which (h + padding - u dilation) is a multiple of s. The
// places with the same remainder a of h + padding share these taps: every other place and every other tap, where s is
// 2. They are a phase, a product of its own without a zero in it. For rows and columns:
struct Phase {
    remainder: vec2<u32>,
    // Places of the phase in a picture.
    size: vec2<u32>,
    // Its taps: the first, how many, and how far apart; the same in places of y.
    first: vec2<u32>,
    taps: vec2<u32>,
    apart: vec2<u32>,
    first_up: vec2<u32>,
    apart_up: vec2<u32>,
}

fn phase_of(number: u32) -> Phase {
    let stride = vec2<u32>(params.stride_h, params.stride_w);
    let dilation = vec2<u32>(params.dilation_h, params.dilation_w);
    let kernel = vec2<u32>(params.KH, params.KW);
    let large = vec2<u32>(params.H, params.W);
    let padding = vec2<u32>(params.padding_h, params.padding_w);
    var phase: Phase;
    phase.remainder = vec2<u32>(number / stride.y, number % stride.y);
    for (var a = 0u; a < 2u; a++) {
        let origin = phase_origin(phase.remainder[a], stride[a], padding[a]);
        phase.size[a] = (max(large[a], origin) - origin + stride[a] - 1u) / stride[a];
        var u = 0u;
        while u < kernel[a] && u * dilation[a] % stride[a] != phase.remainder[a] { u++; }
        var apart = 1u;
        while apart * dilation[a] % stride[a] != 0u { apart++; }
        phase.first[a] = u;
        phase.apart[a] = apart;
        phase.taps[a] = (kernel[a] - u + apart - 1u) / apart;
        // Exact where there are taps, and not used where there are none.
        phase.first_up[a] = (max(u * dilation[a], phase.remainder[a]) - phase.remainder[a]) / stride[a];
        phase.apart_up[a] = apart * dilation[a] / stride[a];
    }
    return phase;
}

// The first place of a phase.
fn phase_origin(remainder: u32, stride: u32, padding: u32) -> u32 {
    return (remainder + stride - padding % stride) % stride;
}
// ANCHOR_END: phase

// Row n of a phase, or none: where a tap that is nowhere up would find it in y, the first place of its picture there,
// and its place in x.
fn look_of_x(n: u32, phase: Phase) -> vec4<u32> {
    let size = phase.size.x * phase.size.y;
    if n >= params.B * size { return vec4<u32>(FAR); }
    let picture = n / size;
    let row = n / phase.size.y % phase.size.x;
    let column = n % phase.size.y;
    let h = phase_origin(phase.remainder.x, params.stride_h, params.padding_h) + row * params.stride_h;
    let v = phase_origin(phase.remainder.y, params.stride_w, params.padding_w) + column * params.stride_w;
    return vec4<u32>(
        (h + params.padding_h) / params.stride_h, (v + params.padding_w) / params.stride_w,
        picture * params.P * params.Q, (picture * params.H + h) * params.W + v,
    );
}

// How far up and left a tap of the phase is in y, and the channel; nowhere past the last tap.
fn dy_tap(t: vec3<u32>, group: u32, phase: Phase) -> vec4<u32> {
    if t.x >= phase.taps.x { return vec4<u32>(2u * FAR); }
    return vec4<u32>(phase.first_up + t.xy * phase.apart_up, group * (params.O / params.groups) + t.z, 0u);
}

// backward of y = x * w to x: dx[m,i] = sum over taps and o of dy[m under tap, o] w[o,tap,i]. Rows: places of x of a
// phase; columns: i of a group. As the forward of a transposed convolution it adds b[i] and takes the activation.
@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn backward_x(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_id) t: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let phases = params.stride_h * params.stride_w;
    let phase = phase_of(group.z % phases);
    let g = group.z / phases;
    let outputs = params.O / params.groups;
    let taps = params.KH * params.KW;
    let depth = phase.taps.x * phase.taps.y * outputs;
    let first = corner(group, groups, params.I / params.groups);
    for (var r = index; r < ROWS; r += SLICES * OWNERS) { looks[r] = look_of_x(first.x + r, phase); }
    workgroupBarrier();
    for (var k0 = 0u; k0 < depth; k0 += SLICES * DEPTH) {
        let k = k0 + t.z * DEPTH;
        for (var e = t.y * ACROSS + t.x; e < ROWS / 4u * (DEPTH / 4u); e += OWNERS) {
            let d = e % (DEPTH / 4u) * 4u;
            let i = e / (DEPTH / 4u);
            put_left_block(t.z, d, i, turned_dy(4u * i, k + d, g, phase));
        }
        for (var e = t.y * ACROSS + t.x; e < DEPTH * COLUMNS / 4u; e += OWNERS) {
            let j = e % (COLUMNS / 4u);
            let d = e / (COLUMNS / 4u);
            var four: vec4<f32>;
            if k + d < depth {
                let at = term(k + d, phase.taps.y, outputs);
                let tap = phase.first + at.xy * phase.apart;
                four = load_inputs((g * outputs + at.z) * taps + tap.x * params.KW + tap.y, first.y + 4u * j);
            }
            put_right(t.z, d, j, four);
        }
        workgroupBarrier();
        multiply_slices(t);
        workgroupBarrier();
    }
    add_slices(t);
    if t.z > 0u { return; }
    for (var i = 0u; i < FOURS; i++) {
        let at = place(t, i);
        let look = looks[at.x];
        if look.w != FAR { store_dx(look.w, first.y + at.y, g, sum(i)); }
    }
}

// backward of y = x * w to w: dw[o,tap,i] += sum over places n of y of dy[n,o] x[n under tap, i]. Rows: o of a group;
// columns: taps and i.
@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn backward_w(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
              @builtin(local_invocation_id) t: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let first = corner(group, groups, params.KH * params.KW * (params.I / params.groups));
    sum_places(0u, params.B * params.P * params.Q, first, group.z, t, index);
    if t.z > 0u { return; }
    for (var i = 0u; i < FOURS; i++) {
        let at = place(t, i);
        add_dw(first.x + at.x, first.y + at.y, group.z, sum(i));
    }
}

// ANCHOR: parts
// backward_w_parts: parts[s,o,tap,i] = the same over the s-th share of the places. Weights are few and places many:
// without shares a 4x4 window of one channel to 16 would be one tile, and one workgroup would walk through every
// picture.
@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn backward_w_parts(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
                    @builtin(local_invocation_id) t: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let g = group.z % params.groups;
    let part = group.z / params.groups;
    let places = params.B * params.P * params.Q;
    let share = share_of(places, groups.z / params.groups);
    let first = corner(group, groups, params.KH * params.KW * (params.I / params.groups));
    sum_places(part * share, min((part + 1u) * share, places), first, g, t, index);
    if t.z > 0u { return; }
    for (var i = 0u; i < FOURS; i++) {
        let at = place(t, i);
        store_part(part, first.x + at.x, first.y + at.y, g, sum(i));
    }
}

// Places of a part, the last one perhaps fewer: a multiple of what all slices of any tile take at a time, so that none
// reaches into the next part.
const SHARE = 64u;

fn share_of(places: u32, parts: u32) -> u32 {
    return (places + parts * SHARE - 1u) / (parts * SHARE) * SHARE;
}
// ANCHOR_END: parts

// The tile of backward_w at `first`, over places `start` to `end`.
fn sum_places(start: u32, end: u32, first: vec2<u32>, group: u32, t: vec3<u32>, index: u32) {
    for (var c = index; c < COLUMNS; c += SLICES * OWNERS) {
        looks[c] = x_tap(term(first.y + c, params.KW, params.I / params.groups), group);
    }
    workgroupBarrier();
    for (var k0 = start; k0 < end; k0 += SLICES * DEPTH) {
        let k = k0 + t.z * DEPTH;
        for (var e = t.y * ACROSS + t.x; e < DEPTH * ROWS / 4u; e += OWNERS) {
            let i = e % (ROWS / 4u);
            let d = e / (ROWS / 4u);
            put_left(t.z, d, i, load_dy(k + d, first.x + 4u * i, group));
        }
        for (var e = t.y * ACROSS + t.x; e < DEPTH * COLUMNS / 4u; e += OWNERS) {
            let j = e % (COLUMNS / 4u);
            let d = e / (COLUMNS / 4u);
            put_right(t.z, d, j, x_under(look_of_y(k + d), 4u * j));
        }
        workgroupBarrier();
        multiply_slices(t);
        workgroupBarrier();
    }
    add_slices(t);
}
