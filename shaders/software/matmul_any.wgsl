// Buffers of software/matmul.wgsl for any B, I and O. What lies past the last row or column reads as zero and is not
// stored. Four f32 loads cost more than one vec4 load: 17 to 19 GFLOP/s where matmul_vec4.wgsl reaches 28 to 31.

const LEFT = 4u;
const RIGHT = 4u;
const LEAP = 1u;    // columns that activate_y and slope_dx take

struct Params { B: u32, I: u32, O: u32, activation: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,I)
@group(0) @binding(2) var<storage, read> w: array<f32>;          // (O,I)
@group(0) @binding(3) var<storage, read> b: array<f32>;          // (O)
@group(0) @binding(4) var<storage, read> dy: array<f32>;         // (B,O)
@group(0) @binding(5) var<storage, read_write> y: array<f32>;    // (B,O)
@group(0) @binding(6) var<storage, read_write> dx: array<f32>;   // (B,I)
@group(0) @binding(7) var<storage, read_write> dw: array<f32>;   // (O,I)
@group(0) @binding(8) var<storage, read_write> db: array<f32>;   // (O)

// Index of an element of a matrix of `rows` by `columns`; past the edge, of the nearest element, so that every load is
// within its buffer.
fn nearest(row: u32, column: u32, rows: u32, columns: u32) -> u32 {
    return min(row, rows - 1u) * columns + min(column, columns - 1u);
}

fn load_x(row: u32, column: u32) -> mat4x4<f32> {
    var block: mat4x4<f32>;
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            let value = x[nearest(row + r, column + c, params.B, params.I)];
            block[r][c] = select(0.0, value, row + r < params.B && column + c < params.I);
        }
    }
    return block;
}

fn load_w(row: u32, column: u32) -> mat4x4<f32> {
    var block: mat4x4<f32>;
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            let value = w[nearest(row + r, column + c, params.O, params.I)];
            block[r][c] = select(0.0, value, row + r < params.O && column + c < params.I);
        }
    }
    return block;
}

fn load_dy(row: u32, column: u32) -> mat4x4<f32> {
    var block: mat4x4<f32>;
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            let value = dy[nearest(row + r, column + c, params.B, params.O)];
            block[r][c] = select(0.0, value, row + r < params.B && column + c < params.O);
        }
    }
    return block;
}

fn store_y(row: u32, column: u32, sum: mat4x4<f32>) {
    var bias: vec4<f32>;
    for (var c = 0u; c < 4u; c++) { bias[c] = b[min(column + c, params.O - 1u)]; }
    for (var r = 0u; r < 4u; r++) {
        let four = rectify4(params.activation, sum[r] + bias);
        for (var c = 0u; c < 4u; c++) {
            if row + r < params.B && column + c < params.O { y[(row + r) * params.O + column + c] = four[c]; }
        }
    }
}

fn activate_y(row: u32, column: u32) {
    let i = row * params.O + column;
    y[i] = activate(params.activation, y[i]);
}

fn store_dx(row: u32, column: u32, sum: mat4x4<f32>) {
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            let i = (row + r) * params.I + column + c;
            if row + r < params.B && column + c < params.I {
                var one = sum[r][c];
                if params.accumulate != 0u { one += dx[i]; }
                if params.activation == 1u || params.activation == 2u {
                    one = through(params.activation, vec4<f32>(one), vec4<f32>(x[i])).x;
                }
                dx[i] = one;
            }
        }
    }
}

fn slope_dx(row: u32, column: u32) {
    let i = row * params.I + column;
    dx[i] *= activate_slope(params.activation, x[i]);
}

fn add_dw(row: u32, column: u32, sum: mat4x4<f32>) {
    for (var r = 0u; r < 4u; r++) {
        for (var c = 0u; c < 4u; c++) {
            if row + r < params.O && column + c < params.I {
                let i = (row + r) * params.I + column + c;
                if params.accumulate != 0u { dw[i] += sum[r][c]; } else { dw[i] = sum[r][c]; }
            }
        }
    }
}

fn add_db(column: u32, sum: vec4<f32>) {
    for (var c = 0u; c < 4u; c++) {
        if column + c < params.O {
            if params.accumulate != 0u { db[column + c] += sum[c]; } else { db[column + c] = sum[c]; }
        }
    }
}
