// The weights' gradients of up to three linear layers in one dispatch: layers whose gradients need nothing of each other
// fill a large GPU together, without a barrier between them. Layer l has I inputs x (B,I) and O outputs with the gradient
// dy (B,O). Its outputs from `split` on belong to a second parameter: a VAE's two heads are one layer here.
// A workgroup owns a 64x64 tile of one layer's dW (common/tile.wgsl). Everything is assigned; `gradients` is the flat buffer
// of all parameters' gradients, and places in it are counted in words.

struct Params {
    B: u32,
    I0: u32, O0: u32, split0: u32, dw0: u32, dv0: u32, db0: u32, dc0: u32,
    I1: u32, O1: u32, split1: u32, dw1: u32, dv1: u32, db1: u32, dc1: u32,
    I2: u32, O2: u32, split2: u32, dw2: u32, dv2: u32, db2: u32, dc2: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<f32>;                 // (B,I0)
@group(0) @binding(2) var<storage, read> dy0: array<f32>;                // (B,O0)
@group(0) @binding(3) var<storage, read> x1: array<f32>;                 // (rows,I1): B rows; x0 where there is no such layer
@group(0) @binding(4) var<storage, read> dy1: array<f32>;                // (rows,O1): B rows; dy0 where there is no such layer
@group(0) @binding(5) var<storage, read> x2: array<f32>;                 // (rows,I2): B rows; x0 where there is no such layer
@group(0) @binding(6) var<storage, read> dy2: array<f32>;                // (rows,O2): B rows; dy0 where there is no such layer
@group(0) @binding(7) var<storage, read_write> gradients: array<f32>;    // (words): every parameter's, flat

// Where a layer's gradients go: dW and db of its first `split` outputs to dw and db, of the others to dv and dc.
struct Layer { I: u32, O: u32, split: u32, dw: u32, dv: u32, db: u32, dc: u32 }

fn layer(l: u32) -> Layer {
    let p = params;
    if l == 0u { return Layer(p.I0, p.O0, p.split0, p.dw0, p.dv0, p.db0, p.dc0); }
    if l == 1u { return Layer(p.I1, p.O1, p.split1, p.dw1, p.dv1, p.db1, p.dc1); }
    return Layer(p.I2, p.O2, p.split2, p.dw2, p.dv2, p.db2, p.dc2);
}

fn tiles(l: Layer) -> u32 { return ((l.I + TILE - 1u) / TILE) * ((l.O + TILE - 1u) / TILE); }

fn load_x(l: u32, i: u32) -> f32 {
    if l == 0u { return x0[i]; }
    if l == 1u { return x1[i]; }
    return x2[i];
}

fn load_dy(l: u32, i: u32) -> f32 {
    if l == 0u { return dy0[i]; }
    if l == 1u { return dy1[i]; }
    return dy2[i];
}

// backward: dw[m,n] = sum_k dy[k,m] x[k,n]; db[m] = sum_k dy[k,m], of each layer.
@compute @workgroup_size(16, 16)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_id) t: vec3<u32>,
            @builtin(local_invocation_index) index: u32) {
    var tile = group.x;
    var number = 0u;
    var l = layer(0u);
    while number < 2u && tile >= tiles(l) {
        tile -= tiles(l);
        number += 1u;
        l = layer(number);
    }
    let across = (l.I + TILE - 1u) / TILE;
    let row0 = TILE * (tile / across);
    let column0 = TILE * (tile % across);
    var bias = 0.0;
    for (var k0 = 0u; k0 < params.B; k0 += DEPTH) {
        for (var e = index; e < DEPTH * TILE; e += 256u) {
            let k = k0 + e / TILE;
            let i = e % TILE;
            left[e] = 0.0;
            right[e] = 0.0;
            if k < params.B && row0 + i < l.O { left[e] = load_dy(number, k * l.O + row0 + i); }
            if k < params.B && column0 + i < l.I { right[e] = load_x(number, k * l.I + column0 + i); }
        }
        workgroupBarrier();
        multiply_slices(t.x, t.y);
        if column0 == 0u && index < TILE {
            for (var d = 0u; d < DEPTH; d++) { bias += left[d * TILE + index]; }
        }
        workgroupBarrier();
    }
    if column0 == 0u && index < TILE && row0 + index < l.O {
        let m = row0 + index;
        gradients[select(l.db + m, l.dc + m - l.split, m >= l.split)] = bias;
    }
    store_dw(l, row0 + 4u * t.y, column0 + 4u * t.x, sum0);
    store_dw(l, row0 + 4u * t.y + 1u, column0 + 4u * t.x, sum1);
    store_dw(l, row0 + 4u * t.y + 2u, column0 + 4u * t.x, sum2);
    store_dw(l, row0 + 4u * t.y + 3u, column0 + 4u * t.x, sum3);
}

fn store_dw(l: Layer, m: u32, n: u32, sum: vec4<f32>) {
    if m >= l.O { return; }
    let row = select(l.dw + m * l.I, l.dv + (m - l.split) * l.I, m >= l.split);
    for (var j = 0u; j < 4u; j++) {
        if n + j < l.I { gradients[row + n + j] = sum[j]; }
    }
}
