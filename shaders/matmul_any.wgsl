// Buffers of matmul.wgsl for any B, I and O: fours are read and stored word by word.

struct Params { B: u32, I: u32, O: u32, activation: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,I); backward_x: (words), of dy where there is no activation
@group(0) @binding(2) var<storage, read> w: array<f32>;          // (O,I)
@group(0) @binding(3) var<storage, read> b: array<f32>;          // (O)
@group(0) @binding(4) var<storage, read> dy: array<f32>;         // (B,O)
@group(0) @binding(5) var<storage, read_write> y: array<f32>;    // (B,O)
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;   // (B,I)
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;   // (O,I)
@group(0) @binding(8) var<storage, read_write> db: array<f32>;   // (O)

fn load_dy(row: u32, column: u32) -> vec4<f32> {
    return vec4<f32>(dy_at(row, column), dy_at(row, column + 1u), dy_at(row, column + 2u), dy_at(row, column + 3u));
}

fn dy_at(row: u32, column: u32) -> f32 {
    let is_inside = (row < params.B) & (column < params.O);
    return select(0.0, dy[select(0u, row * params.O + column, is_inside)], is_inside);
}

fn store_y(row: u32, column: u32, sum: vec4<f32>) {
    if row >= params.B { return; }
    for (var j = 0u; j < 4u && column + j < params.O; j++) {
        y[row * params.O + column + j] = activate(params.activation, sum[j] + b[column + j]);
    }
}

fn store_dx(row: u32, column: u32, sum: vec4<f32>) {
    if row >= params.B { return; }
    for (var j = 0u; j < 4u && column + j < params.I; j++) {
        let i = row * params.I + column + j;
        var one = sum[j];
        if params.accumulate != 0u { one += dx[i]; }
        if params.activation != 0u { one *= activate_slope(params.activation, x[i]); }
        dx[i] = one;
    }
}

fn add_dw(row: u32, column: u32, sum: vec4<f32>) {
    if row >= params.O { return; }
    for (var j = 0u; j < 4u && column + j < params.I; j++) {
        let i = row * params.I + column + j;
        if params.accumulate != 0u { dw[i] += sum[j]; } else { dw[i] = sum[j]; }
    }
}

fn add_db(column: u32, sum: vec4<f32>) {
    for (var j = 0u; j < 4u && column + j < params.O; j++) {
        if params.accumulate != 0u { db[column + j] += sum[j]; } else { db[column + j] = sum[j]; }
    }
}
