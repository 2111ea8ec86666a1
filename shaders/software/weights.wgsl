// weights.wgsl for adapters that run on a CPU and have subgroups of 8, where all sizes and places are multiples of 4. A workgroup,
// one subgroup, owns 32 rows and 64 columns of one layer's dW; fours.wgsl, which is appended, has the products.
// For small layers: a load runs through the branches of all three tensors, with two of them masked.

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x0: array<vec4<f32>>;                 // (B,I0/4)
@group(0) @binding(2) var<storage, read> dy0: array<vec4<f32>>;                // (B,O0/4)
@group(0) @binding(3) var<storage, read> x1: array<vec4<f32>>;                 // (rows,I1/4): B rows; x0 where there is no such layer
@group(0) @binding(4) var<storage, read> dy1: array<vec4<f32>>;                // (rows,O1/4): B rows; dy0 where there is no such layer
@group(0) @binding(5) var<storage, read> x2: array<vec4<f32>>;                 // (rows,I2/4): B rows; x0 where there is no such layer
@group(0) @binding(6) var<storage, read> dy2: array<vec4<f32>>;                // (rows,O2/4): B rows; dy0 where there is no such layer
@group(0) @binding(7) var<storage, read_write> gradients: array<vec4<f32>>;    // (words/4): every parameter's, flat

fn tiles(l: Layer) -> u32 { return ((l.I + 63u) / 64u) * ((l.O + 31u) / 32u); }

fn load_x(l: u32, i: u32) -> vec4<f32> {
    var four: vec4<f32>;
    if l == 0u { four = x0[i]; }
    if l == 1u { four = x1[i]; }
    if l == 2u { four = x2[i]; }
    return four;
}

fn load_dy(l: u32, i: u32) -> vec4<f32> {
    var four: vec4<f32>;
    if l == 0u { four = dy0[i]; }
    if l == 1u { four = dy1[i]; }
    if l == 2u { four = dy2[i]; }
    return four;
}

// backward: dw[m,n] = sum_k dy[k,m] x[k,n]; db[m] = sum_k dy[k,m], of each layer.
@compute @workgroup_size(8)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    var index = group.x;
    var number = 0u;
    var l = layer(0u);
    while number < 2u && index >= tiles(l) {
        index -= tiles(l);
        number += 1u;
        l = layer(number);
    }
    let tile = tile_of(index, 32u, l.I);
    let column = tile.y + 8u * lane;
    let stride = l.I / 4u;
    var dy_at = lane % 4u * (l.O / 4u) + own_fours(tile.x + lane / 4u * 4u, l.O);
    var x_at = own_columns(column, l.I);
    var bias = mat4x4<f32>();
    for (var k = 0u; k < params.B; k += 4u) {
        right[0] = mat4x4<f32>(load_x(number, x_at.x), load_x(number, x_at.x + stride), load_x(number, x_at.x + 2u * stride),
                               load_x(number, x_at.x + 3u * stride));
        right[1] = mat4x4<f32>(load_x(number, x_at.y), load_x(number, x_at.y + stride), load_x(number, x_at.y + 2u * stride),
                               load_x(number, x_at.y + 3u * stride));
        let left = mat4x4<f32>(load_dy(number, dy_at.x), load_dy(number, dy_at.y), load_dy(number, dy_at.z),
                               load_dy(number, dy_at.w));
        multiply_columns(0u, left[0]);
        multiply_columns(8u, left[1]);
        multiply_columns(16u, left[2]);
        multiply_columns(24u, left[3]);
        bias += left;
        x_at += l.I;
        dy_at += l.O;
    }
    store_db(l, tile.x, column, bias[0]);
    store_db(l, tile.x + 8u, column, bias[1]);
    store_db(l, tile.x + 16u, column, bias[2]);
    store_db(l, tile.x + 24u, column, bias[3]);
    store_dw(l, tile.x, column, 0u);
    store_dw(l, tile.x, column, 8u);
    store_dw(l, tile.x, column, 16u);
    store_dw(l, tile.x, column, 24u);
}

fn store_db(l: Layer, row: u32, column: u32, rows: vec4<f32>) {
    let sum = sum_of_terms(rows);
    if column > 0u { return; }
    if row < l.O { gradients[select(l.db + row, l.dc + row - l.split, row >= l.split) / 4u] = sum[0]; }
    let next = row + 4u;
    if next < l.O { gradients[select(l.db + next, l.dc + next - l.split, next >= l.split) / 4u] = sum[1]; }
}

fn store_dw(l: Layer, row: u32, column: u32, first: u32) {
    store_dw_row(l, row, column, first);
    store_dw_row(l, row, column, first + 1u);
    store_dw_row(l, row, column, first + 2u);
    store_dw_row(l, row, column, first + 3u);
    store_dw_row(l, row, column, first + 4u);
    store_dw_row(l, row, column, first + 5u);
    store_dw_row(l, row, column, first + 6u);
    store_dw_row(l, row, column, first + 7u);
}

fn store_dw_row(l: Layer, row: u32, column: u32, r: u32) {
    let m = row + r;
    if m >= l.O { return; }
    let i = (select(l.dw + m * l.I, l.dv + (m - l.split) * l.I, m >= l.split) + column) / 4u;
    if column < l.I { gradients[i] = sums[r][0]; }
    if column + 4u < l.I { gradients[i + 1u] = sums[r][1]; }
}
