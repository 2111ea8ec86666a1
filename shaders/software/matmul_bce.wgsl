// matmul_bce.wgsl for adapters that run on a CPU and have subgroups of 8, where B, I and O are multiples of 8. A workgroup, one
// subgroup, owns 32 rows and 64 columns, 8 a lane; eight.wgsl, which is appended, says why.

struct Params { B: u32, I: u32, O: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<u64>>;              // (B,I/8)
@group(0) @binding(2) var<storage, read> w: array<vec4<u64>>;              // (O,I/8)
@group(0) @binding(3) var<storage, read> b: array<vec4<u64>>;              // (O/8)
@group(0) @binding(4) var<storage, read> picture: array<vec4<u64>>;        // (B,O/8), in [0,1]
@group(0) @binding(5) var<storage, read_write> dy: array<vec4<u64>>;       // (B,O/8)
@group(0) @binding(6) var<storage, read_write> loss: array<f32>;           // (B,T), nats, T = ceil(O/64)

// Where a lane's results go.
struct Place {
    row: u32,       // the tile's first
    column: u32,    // the lane's first
    own: u32,       // the same inside the result
    bias: mat2x4<f32>,
    lane: u32,
}

// forward: l = x W^T + b; dy = scale * (sigmoid(l) - picture); loss[m,t] = sum over 64 columns of max(l,0) - l*picture + log(1 + e^-|l|).
@compute @workgroup_size(8)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(group.x, 32u, params.O);
    if tile.x >= params.B { return; }
    let column = tile.y + 8u * lane;
    let own = own_columns(column, params.O);
    multiply_x_and_w(tile.x + lane, own);
    let place = Place(tile.x, column, own, eight(b[own / 8u]), lane);
    store(0u, place);
    store(8u, place);
    store(16u, place);
    store(24u, place);
}

fn store(first: u32, place: Place) {
    store_row(first, place);
    store_row(first + 1u, place);
    store_row(first + 2u, place);
    store_row(first + 3u, place);
    store_row(first + 4u, place);
    store_row(first + 5u, place);
    store_row(first + 6u, place);
    store_row(first + 7u, place);
}

fn store_row(r: u32, place: Place) {
    let row = min(place.row + r, params.B - 1u);
    let at = (row * params.O + place.own) / 8u;
    let l = sums[r] + place.bias;
    let want = eight(picture[at]);
    let e = mat2x4<f32>(exp(-abs(l[0])), exp(-abs(l[1])));
    let total = subgroupAdd(select(0.0, nats(l[0], want[0], e[0]) + nats(l[1], want[1], e[1]), place.column < params.O));
    dy[at] = words(mat2x4<f32>(slope(l[0], want[0], e[0]), slope(l[1], want[1], e[1])));
    if place.lane == 0u { loss[row * ((params.O + 63u) / 64u) + place.column / 64u] = total; }
}

// The cross-entropy of four logits, e = e^-|l|.
fn nats(l: vec4<f32>, want: vec4<f32>, e: vec4<f32>) -> f32 {
    return dot(max(l, vec4<f32>(0.0)) - l * want + log(1.0 + e), vec4<f32>(1.0));
}

fn slope(l: vec4<f32>, want: vec4<f32>, e: vec4<f32>) -> vec4<f32> {
    return params.scale * (select(e, vec4<f32>(1.0), l >= vec4<f32>(0.0)) / (1.0 + e) - want);
}
