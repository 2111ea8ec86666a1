// Adam (Kingma & Ba 2014) as torch.optim.Adam, weight decay added to the gradient (L2), and as torch.optim.AdamW
// (Loshchilov & Hutter 2017), weight decay applied to the parameter. One dispatch updates the flat parameter buffer.

struct Params { N: u32, beta1: f32, beta2: f32, eps: f32, weight_decay: f32, decoupled: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<f32>;             // (N)
@group(0) @binding(2) var<storage, read> clock: array<u32>;            // (8+8*batches): lr, bias corrections
@group(0) @binding(3) var<storage, read_write> p: array<f32>;          // (N)
@group(0) @binding(4) var<storage, read_write> m: array<f32>;          // (N), mean of the gradient
@group(0) @binding(5) var<storage, read_write> v: array<f32>;          // (N), mean of its square

// forward: m += (1-b1)(g-m); v = b2 v + (1-b2) g^2; p -= lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps).
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    update(i, clock_row(0u), clock_row(2u), clock_row(3u));
}
