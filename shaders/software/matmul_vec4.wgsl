// Buffers of software/matmul.wgsl where B, I and O are multiples of 4: a row of a 4x4 block is one vec4 load.
// Blocks past the last row or column read the last one instead, and are not stored.

const LEFT = 4u;
const RIGHT = 4u;
const LEAP = 4u;    // columns that activate_y and slope_dx take

struct Params { B: u32, I: u32, O: u32, activation: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // (B,I/4)
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;          // (O,I/4)
@group(0) @binding(3) var<storage, read> b: array<vec4<f32>>;          // (O/4)
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;         // (B,O/4)
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;    // (B,O/4)
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;   // (B,I/4)
@group(0) @binding(7) var<storage, read_write> dw: array<vec4<f32>>;   // (O,I/4)
@group(0) @binding(8) var<storage, read_write> db: array<vec4<f32>>;   // (O/4)

// Index of the vec4 at (row, column) of the block at or before the last one, in a matrix of `rows` by `columns`.
fn block(row: u32, column: u32, rows: u32, columns: u32) -> u32 {
    return (min(row, rows - 4u) * columns + min(column, columns - 4u)) / 4u;
}

fn load_x(row: u32, column: u32) -> mat4x4<f32> {
    let i = block(row, column, params.B, params.I);
    let stride = params.I / 4u;
    return mat4x4<f32>(x[i], x[i + stride], x[i + 2u * stride], x[i + 3u * stride]);
}

fn load_w(row: u32, column: u32) -> mat4x4<f32> {
    let i = block(row, column, params.O, params.I);
    let stride = params.I / 4u;
    return mat4x4<f32>(w[i], w[i + stride], w[i + 2u * stride], w[i + 3u * stride]);
}

fn load_dy(row: u32, column: u32) -> mat4x4<f32> {
    let i = block(row, column, params.B, params.O);
    let stride = params.O / 4u;
    return mat4x4<f32>(dy[i], dy[i + stride], dy[i + 2u * stride], dy[i + 3u * stride]);
}

fn store_y(row: u32, column: u32, sum: mat4x4<f32>) {
    if row >= params.B || column >= params.O { return; }
    for (var r = 0u; r < 4u; r++) {
        y[((row + r) * params.O + column) / 4u] = rectify4(params.activation, sum[r] + b[column / 4u]);
    }
}

fn activate_y(row: u32, column: u32) {
    let i = (row * params.O + column) / 4u;
    y[i] = activate4(params.activation, y[i]);
}

fn store_dx(row: u32, column: u32, sum: mat4x4<f32>) {
    if row >= params.B || column >= params.I { return; }
    for (var r = 0u; r < 4u; r++) {
        let i = ((row + r) * params.I + column) / 4u;
        var four = sum[r];
        if params.accumulate != 0u { four += dx[i]; }
        if params.activation == 1u || params.activation == 2u { four = through(params.activation, four, x[i]); }
        dx[i] = four;
    }
}

fn slope_dx(row: u32, column: u32) {
    let i = (row * params.I + column) / 4u;
    dx[i] *= activate_slope4(params.activation, x[i]);
}

fn add_dw(row: u32, column: u32, sum: mat4x4<f32>) {
    if row >= params.O || column >= params.I { return; }
    for (var r = 0u; r < 4u; r++) {
        let i = ((row + r) * params.I + column) / 4u;
        if params.accumulate != 0u { dw[i] += sum[r]; } else { dw[i] = sum[r]; }
    }
}

fn add_db(column: u32, sum: vec4<f32>) {
    if column >= params.O { return; }
    if params.accumulate != 0u { db[column / 4u] += sum; } else { db[column / 4u] = sum; }
}
