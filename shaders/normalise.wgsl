// Rows of a given length: torch.nn.functional.normalize times a constant. A row of zeros stays.

struct Params { B: u32, I: u32, length: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,I)
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // (B,I)

// forward: y[r,i] = length * x[r,i] / sqrt(sum_i x[r,i]^2). A workgroup owns a row.
@compute @workgroup_size(64)
fn forward(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    let first = group.x * params.I;
    var squares = 0.0;
    for (var i = index; i < params.I; i += 64u) { squares += x[first + i] * x[first + i]; }
    shares[index] = squares;
    sum_shares(index);
    let factor = select(params.length / sqrt(shares[0]), 0.0, shares[0] == 0.0);
    for (var i = index; i < params.I; i += 64u) { y[first + i] = factor * x[first + i]; }
}
