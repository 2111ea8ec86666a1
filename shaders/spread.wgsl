// Mean and standard deviation over S rows that belong together: torch.std_mean without Bessel's correction. An
// invocation takes a column of one group.

struct Params { B: u32, S: u32, D: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;                   // (B*S,D)
@group(0) @binding(2) var<storage, read_write> mean: array<f32>;          // (B,D)
@group(0) @binding(3) var<storage, read_write> deviation: array<f32>;     // (B,D)

// forward: mean[b,d] = sum_s x[b*S + s, d] / S, deviation[b,d] = sqrt(sum_s (x - mean)^2 / S).
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.B * params.D { return; }
    let first = i / params.D * params.S * params.D + i % params.D;
    var sum = 0.0;
    for (var s = 0u; s < params.S; s++) { sum += x[first + s * params.D]; }
    let middle = sum / f32(params.S);
    var squares = 0.0;
    for (var s = 0u; s < params.S; s++) {
        let apart = x[first + s * params.D] - middle;
        squares += apart * apart;
    }
    mean[i] = middle;
    deviation[i] = sqrt(squares / f32(params.S));
}
