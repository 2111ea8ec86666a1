// The products of a linear layer for adapters that run on a CPU, the formulas of matmul.wgsl, where I and O are
// multiples of 4. tile.wgsl, which is appended, says what such an adapter wants. A vec4 costs it little more than half
// of four f32.

struct Params { B: u32, I: u32, O: u32, activation: u32, accumulate: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;          // (B,I/4); backward_x: (words/4), of dy or x
@group(0) @binding(2) var<storage, read> w: array<vec4<f32>>;          // (O,I/4)
@group(0) @binding(3) var<storage, read> b: array<vec4<f32>>;          // (O/4)
@group(0) @binding(4) var<storage, read> dy: array<vec4<f32>>;         // (B,O/4)
@group(0) @binding(5) var<storage, read_write> y: array<vec4<f32>>;    // (B,O/4)
@group(0) @binding(6) var<storage, read_write> dx: array<vec4<f32>>;   // (B,I/4)
@group(0) @binding(7) var<storage, read_write> dw: array<vec4<f32>>;   // (O,I/4)
@group(0) @binding(8) var<storage, read_write> db: array<vec4<f32>>;   // (O/4)

// First row and first column of an invocation's tile. Tiles are numbered row by row of tiles.
fn tile_of(id: vec3<u32>, groups: vec3<u32>, columns: u32) -> vec2<u32> {
    let index = id.x + id.y * groups.x * 8u;
    let across = (columns + 15u) / 16u;
    return 16u * vec2<u32>(index / across, index % across);
}

// Where four rows from `row` on have the four at `column`, in a matrix of `rows` by `columns`.
fn rows_at(row: u32, column: u32, rows: u32, columns: u32) -> vec4<u32> {
    let four = min(vec4<u32>(row) + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(rows - 1u));
    return (four * columns + min(column, columns - 4u)) / 4u;
}

fn rows_of_x(row: u32, column: u32) -> mat4x4<f32> {
    let at = rows_at(row, column, params.B, params.I);
    return mat4x4<f32>(x[at.x], x[at.y], x[at.z], x[at.w]);
}

fn rows_of_w(row: u32, column: u32) -> mat4x4<f32> {
    let at = rows_at(row, column, params.O, params.I);
    return mat4x4<f32>(w[at.x], w[at.y], w[at.z], w[at.w]);
}

fn rows_of_dy(row: u32, column: u32) -> mat4x4<f32> {
    let at = rows_at(row, column, params.B, params.O);
    return mat4x4<f32>(dy[at.x], dy[at.y], dy[at.z], dy[at.w]);
}

// forward: y[m,n] = act(sum_k x[m,k] w[n,k] + b[n]).
@compute @workgroup_size(8)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = tile_of(id, groups, params.O);
    if tile.x >= params.B { return; }
    for (var k = 0u; k < params.I; k += 4u) {
        for (var i = 0u; i < 4u; i++) {
            left[i] = transpose(rows_of_x(tile.x + 4u * i, k));
            right[i] = transpose(rows_of_w(tile.y + 4u * i, k));
        }
        for (var t = 0u; t < 4u; t++) { add_term(t); }
    }
    for (var i = 0u; i < 16u; i++) { store_y(tile.x + i / 4u * 4u, tile.y + i % 4u * 4u, sums[i]); }
    // On lanes every case of a switch is computed: so it stands here once, not 256 times.
    let rows = select(0u, min(tile.x + 16u, params.B), params.activation != 0u);
    for (var row = tile.x; row < rows; row++) {
        for (var column = tile.y; column < min(tile.y + 16u, params.O); column += 4u) {
            let i = (row * params.O + column) / 4u;
            y[i] = activate4(params.activation, y[i]);
        }
    }
}

fn store_y(row: u32, column: u32, sum: mat4x4<f32>) {
    if column >= params.O { return; }
    for (var r = 0u; r < 4u; r++) {
        if row + r < params.B { y[((row + r) * params.O + column) / 4u] = sum[r] + b[column / 4u]; }
    }
}

// backward of y = x W^T to x, and on to what the activation that left x read:
// dx[m,n] = (dx[m,n] + sum_k dy[m,k] w[k,n]) * slope(x[m,n]); the dx before only where x already has a gradient, the
// slope only where there is an activation.
@compute @workgroup_size(8)
fn backward_x(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = tile_of(id, groups, params.I);
    if tile.x >= params.B { return; }
    for (var k = 0u; k < params.O; k += 4u) {
        for (var i = 0u; i < 4u; i++) {
            left[i] = transpose(rows_of_dy(tile.x + 4u * i, k));
            right[i] = rows_of_w(k, tile.y + 4u * i);
        }
        for (var t = 0u; t < 4u; t++) { add_term(t); }
    }
    for (var i = 0u; i < 16u; i++) { store_dx(tile.x + i / 4u * 4u, tile.y + i % 4u * 4u, sums[i]); }
    let rows = select(0u, min(tile.x + 16u, params.B), params.activation != 0u);
    for (var row = tile.x; row < rows; row++) {
        for (var column = tile.y; column < min(tile.y + 16u, params.I); column += 4u) {
            let i = (row * params.I + column) / 4u;
            dx[i] *= activate_slope4(params.activation, x[i]);
        }
    }
}

fn store_dx(row: u32, column: u32, sum: mat4x4<f32>) {
    if column >= params.I { return; }
    for (var r = 0u; r < 4u; r++) {
        let i = ((row + r) * params.I + column) / 4u;
        if row + r < params.B {
            if params.accumulate != 0u { dx[i] += sum[r]; } else { dx[i] = sum[r]; }
        }
    }
}

// backward of y = x W^T + b to W and b: dw[m,n] (+)= sum_k dy[k,m] x[k,n]; db[m] (+)= sum_k dy[k,m]; added unless
// nothing is there yet. Every tile sums db, whose terms it holds anyway; those of the first column of tiles store it.
@compute @workgroup_size(8)
fn backward_w(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let tile = tile_of(id, groups, params.I);
    if tile.x >= params.O { return; }
    var bias: array<vec4<f32>, 4>;
    for (var k = 0u; k < params.B; k++) {
        for (var i = 0u; i < 4u; i++) {
            left[i][0] = dy[(k * params.O + min(tile.x + 4u * i, params.O - 4u)) / 4u];
            right[i][0] = x[(k * params.I + min(tile.y + 4u * i, params.I - 4u)) / 4u];
            bias[i] += left[i][0];
        }
        add_term(0u);
    }
    for (var i = 0u; i < 4u; i++) { if tile.y == 0u { store_db(tile.x + 4u * i, bias[i]); } }
    for (var i = 0u; i < 16u; i++) { store_dw(tile.x + i / 4u * 4u, tile.y + i % 4u * 4u, sums[i]); }
}

fn store_dw(row: u32, column: u32, sum: mat4x4<f32>) {
    if (row >= params.O) | (column >= params.I) { return; }
    for (var r = 0u; r < 4u; r++) {
        let i = ((row + r) * params.I + column) / 4u;
        if params.accumulate != 0u { dw[i] += sum[r]; } else { dw[i] = sum[r]; }
    }
}

fn store_db(row: u32, sum: vec4<f32>) {
    if row >= params.O { return; }
    if params.accumulate != 0u { db[row / 4u] += sum; } else { db[row / 4u] = sum; }
}
