// matmul_bce.wgsl for adapters that run on a CPU and have subgroups of 8, where B, I and O are multiples of 8. A workgroup, one
// subgroup, owns 32 outputs and 64 rows of the batch, 8 a lane: eight_turned.wgsl, which is appended, says why. A lane has all
// 32 outputs of its rows, so that no others are asked for the loss.
//
// Measured at (B,I,O) = (128,400,784) on 2 cores, Mesa 22.3 lavapipe, LLVM 15: 1.37 ms; with 32 rows and
// 64 outputs, and the loss summed over lanes, 1.5.

struct Params { B: u32, I: u32, O: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;              // (B,I/8)
@group(0) @binding(2) var<storage, read> w: array<vec4<u64>>;              // (O,I/8)
@group(0) @binding(3) var<storage, read> b: array<vec4<u64>>;              // (O/8)
@group(0) @binding(4) var<storage, read> picture: array<vec4<u64>>;        // (B,O/8), in [0,1]
@group(0) @binding(5) var<storage, read_write> dy: array<vec4<u64>>;       // (B,O/8)
@group(0) @binding(6) var<storage, read_write> loss: array<f32>;           // (B,T), nats, T = ceil(O/32)

// forward: l = x W^T + b; dy = scale * (sigmoid(l) - picture); loss[m,t] = sum over 32 columns of max(l,0) - l*picture + log(1 + e^-|l|).
@compute @workgroup_size(8)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = turned_tile(group.x);
    if tile.x >= params.O { return; }
    let row = tile.y + 8u * lane;
    multiply_w_and_x(row, tile.x, lane);
    store_l(row, tile.x, 0u);
    store_l(row, tile.x, 8u);
    store_l(row, tile.x, 16u);
    store_l(row, tile.x, 24u);
    // The logits come back from where dy will be: a loop this way is short to read for Mesa, where 32 calls with constants
    // would be longer than the product.
    for (var m = row; m < min(row + 8u, params.B); m++) {
        var total = vec4<f32>();
        for (var column = tile.x; column < min(tile.x + 32u, params.O); column += 8u) {
            let i = (m * params.O + column) / 8u;
            let l = eight(dy[i]);
            let want = eight(picture[i]);
            let e = mat2x4<f32>(exp(-abs(l[0])), exp(-abs(l[1])));
            dy[i] = words(mat2x4<f32>(slope(l[0], want[0], e[0]), slope(l[1], want[1], e[1])));
            total += nats(l[0], want[0], e[0]) + nats(l[1], want[1], e[1]);
        }
        loss[m * ((params.O + 31u) / 32u) + tile.x / 32u] = dot(total, vec4<f32>(1.0));
    }
}

fn store_l(row: u32, column: u32, first: u32) {
    if column + first >= params.O { return; }
    let bias = eight(b[(column + first) / 8u]);
    store_l_row(row, column + first, across(first, 0u) + bias);
    store_l_row(row + 1u, column + first, across(first, 1u) + bias);
    store_l_row(row + 2u, column + first, across(first, 2u) + bias);
    store_l_row(row + 3u, column + first, across(first, 3u) + bias);
    store_l_row(row + 4u, column + first, across(first, 4u) + bias);
    store_l_row(row + 5u, column + first, across(first, 5u) + bias);
    store_l_row(row + 6u, column + first, across(first, 6u) + bias);
    store_l_row(row + 7u, column + first, across(first, 7u) + bias);
}

// Lanes are in step: those past the end have stored the last row before its owner reads it.
fn store_l_row(row: u32, column: u32, logits: mat2x4<f32>) {
    dy[(min(row, params.B - 1u) * params.O + column) / 8u] = words(logits);
}

// The cross-entropies of four logits, e = e^-|l|.
fn nats(l: vec4<f32>, want: vec4<f32>, e: vec4<f32>) -> vec4<f32> {
    return max(l, vec4<f32>(0.0)) - l * want + log(1.0 + e);
}

fn slope(l: vec4<f32>, want: vec4<f32>, e: vec4<f32>) -> vec4<f32> {
    return params.scale * (select(e, vec4<f32>(1.0), l >= vec4<f32>(0.0)) / (1.0 + e) - want);
}
