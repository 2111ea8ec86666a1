// The forward of matmul_eight.wgsl where B, I and O are multiples of 4 and not of 8: the layers next to a latent space. fours.wgsl,
// which is appended, has the product. matmul_vec4.wgsl would do as well, but Mesa takes a quarter of a second to read it.

struct Params { B: u32, I: u32, O: u32, activation: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // (B,I/4)
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;          // (O,I/4)
@group(0) @binding(3) var<storage, read> b: array<vec4<f32>>;          // (O/4)
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;    // (B,O/4)

// forward: y[m,n] = act(sum_k x[m,k] w[n,k] + b[n]). Saved for backward: x and y (x W^T for silu and gelu).
@compute @workgroup_size(8)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(subgroup_invocation_id) lane: u32) {
    let tile = tile_of(group.x, 32u, params.O);
    if tile.x >= params.B { return; }
    let column = tile.y + 8u * lane;
    let own = own_columns(column, params.O);
    let stride = params.I / 4u;
    let x_rows = own_rows(tile.x + lane, params.B) * stride;
    for (var k = 0u; 4u * k < params.I; k++) {
        right[0] = terms_of_w(own.x * params.I + k, stride);
        right[1] = terms_of_w(own.y * params.I + k, stride);
        multiply_rows(0u, x[x_rows.x + k]);
        multiply_rows(8u, x[x_rows.y + k]);
        multiply_rows(16u, x[x_rows.z + k]);
        multiply_rows(24u, x[x_rows.w + k]);
    }
    let bias = mat2x4<f32>(b[own.x], b[own.y]);
    store_y(tile.x, own, 0u, bias);
    store_y(tile.x, own, 8u, bias);
    store_y(tile.x, own, 16u, bias);
    store_y(tile.x, own, 24u, bias);
}

// Four terms of four columns: w is (columns, terms).
fn terms_of_w(at: u32, stride: u32) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(w[at], w[at + stride], w[at + 2u * stride], w[at + 3u * stride]));
}

fn store_y(row: u32, own: vec2<u32>, first: u32, bias: mat2x4<f32>) {
    store_y_row(row, own, first, bias);
    store_y_row(row, own, first + 1u, bias);
    store_y_row(row, own, first + 2u, bias);
    store_y_row(row, own, first + 3u, bias);
    store_y_row(row, own, first + 4u, bias);
    store_y_row(row, own, first + 5u, bias);
    store_y_row(row, own, first + 6u, bias);
    store_y_row(row, own, first + 7u, bias);
}

fn store_y_row(row: u32, own: vec2<u32>, r: u32, bias: mat2x4<f32>) {
    let i = own + min(row + r, params.B - 1u) * params.O / 4u;
    y[i.x] = rectify4(params.activation, sums[r][0] + bias[0]);
    y[i.y] = rectify4(params.activation, sums[r][1] + bias[1]);
}
