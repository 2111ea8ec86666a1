// The labels of a batch as rows of zeros with a one in the place of the label, picked from the resident data set's.
// Labels are bytes, packed four a word: label n is byte n % 4 of word n / 4.

struct Params { B: u32, K: u32, stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> labels: array<u32>;           // (words): four labels each
@group(0) @binding(2) var<storage, read> order: array<u32>;            // (N), the epoch's order
@group(0) @binding(3) var<storage, read> clock: array<u32>;            // (8+8*batches): word 3 is the batch
@group(0) @binding(4) var<storage, read_write> y: array<f32>;          // (B,K)

// forward: y[r,k] = 1 where label[order[batch * stride + r]] is k, else 0. stride is the size of a full batch, B of
// this one. Indices that are read from a buffer are held within the next one.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.K {
        let n = order[min(clock[3] * params.stride + i / params.K, arrayLength(&order) - 1u)];
        let label = (labels[min(n / 4u, arrayLength(&labels) - 1u)] >> (8u * (n % 4u))) & 0xffu;
        y[i] = select(0.0, 1.0, label == i % params.K);
    }
}
