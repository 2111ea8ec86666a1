// The Charbonnier loss, a smooth absolute error (Charbonnier et al. 1994), and its gradient.

struct Params { B: u32, D: u32, epsilon: f32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> y: array<f32>;                // (B,D)
@group(0) @binding(2) var<storage, read> x: array<f32>;                // (B,D)
@group(0) @binding(3) var<storage, read_write> rows: array<f32>;       // (B)
@group(0) @binding(4) var<storage, read_write> dy: array<f32>;         // (B,D)

// loss: rows[r] = sum_d sqrt((y - x)^2 + epsilon^2) - epsilon. An invocation a row.
@compute @workgroup_size(64)
fn loss(@builtin(global_invocation_id) id: vec3<u32>) {
    let r = id.x;
    if r >= params.B { return; }
    var sum = 0.0;
    for (var d = 0u; d < params.D; d++) {
        let e = y[r * params.D + d] - x[r * params.D + d];
        sum += sqrt(e * e + params.epsilon * params.epsilon) - params.epsilon;
    }
    rows[r] = sum;
}

// backward: dy = scale (y - x) / sqrt((y - x)^2 + epsilon^2). An invocation a number.
@compute @workgroup_size(64)
fn backward(@builtin(global_invocation_id) id: vec3<u32>) {
    let i = id.x;
    if i >= params.B * params.D { return; }
    let e = y[i] - x[i];
    dy[i] = params.scale * e / sqrt(e * e + params.epsilon * params.epsilon);
}
