// Buffers of matmul.wgsl where B, I and O are multiples of 4: a four is one load or store of 16 bytes.

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

fn load_dy(row: u32, column: u32) -> vec4<f32> {
    if row >= params.B || column >= params.O { return vec4<f32>(); }
    return dy[(row * params.O + column) / 4u];
}

fn store_y(row: u32, column: u32, sum: vec4<f32>) {
    if row >= params.B || column >= params.O { return; }
    var four = sum + b[column / 4u];
    four = activate4(params.activation, four);
    y[(row * params.O + column) / 4u] = four;
}

fn store_dx(row: u32, column: u32, sum: vec4<f32>) {
    if row >= params.B || column >= params.I { return; }
    let i = (row * params.I + column) / 4u;
    var four = sum;
    if params.accumulate != 0u { four += dx[i]; }
    if params.activation != 0u { four *= activate_slope4(params.activation, x[i]); }
    dx[i] = four;
}

fn add_dw(row: u32, column: u32, sum: vec4<f32>) {
    if row >= params.O || column >= params.I { return; }
    let i = (row * params.I + column) / 4u;
    if params.accumulate != 0u { dw[i] += sum; } else { dw[i] = sum; }
}

fn add_db(column: u32, sum: vec4<f32>) {
    if column >= params.O { return; }
    if params.accumulate != 0u { db[column / 4u] += sum; } else { db[column / 4u] = sum; }
}
