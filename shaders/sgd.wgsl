// Stochastic gradient descent with momentum as torch.optim.SGD.

struct Params { N: u32, momentum: f32, weight_decay: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<f32>;             // (N)
@group(0) @binding(2) var<storage, read> clock: array<u32>;            // (8+8*batches): lr of this step
@group(0) @binding(3) var<storage, read_write> p: array<f32>;          // (N)
@group(0) @binding(4) var<storage, read_write> velocity: array<f32>;   // (N)

// forward: velocity = momentum * velocity + g + weight_decay * p; p -= lr * velocity.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.N { return; }
    let step = params.momentum * velocity[i] + grad[i] + params.weight_decay * p[i];
    velocity[i] = step;
    p[i] = p[i] - clock_row(0u) * step;
}
