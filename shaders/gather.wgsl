// Picks the pictures of a batch from the resident data set and normalises them to [0,1], or vectors as they are.
// The data set is packed four bytes a word: N pictures of D bytes, byte n*D + d in word (n*D + d) / 4. One that is
// larger than a binding may be lies in several parts, each of `count` pictures from picture `first` on, in a buffer of
// its own and with a dispatch of its own. A dispatch stores the rows whose picture lies in its part and leaves the
// others alone: each picture is in one part, so all dispatches together write every row exactly once. Vectors lie in
// parts likewise, a number a word.

struct Params { B: u32, D: u32, stride: u32, first: u32, count: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> data: array<u32>;             // (words): four pixels each; vectors: (words)
@group(0) @binding(2) var<storage, read> order: array<u32>;            // (N), the epoch's order
@group(0) @binding(3) var<storage, read> clock: array<u32>;            // (8+8*batches): word 3 is the batch
@group(0) @binding(4) var<storage, read_write> x: array<f32>;          // (B,D)

// forward: x[r,d] = data[order[batch * stride + r] - first, d] / 255. stride is the size of a full batch, B of this
// one.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.D {
        // A picture before the part wraps around to a number far beyond its count.
        let n = order[min(clock[3] * params.stride + i / params.D, arrayLength(&order) - 1u)] - params.first;
        if n < params.count {
            let byte = n * params.D + i % params.D;
            x[i] = f32((data[byte / 4u] >> (8u * (byte % 4u))) & 0xffu) / 255.0;
        }
    }
}

// vectors: x[r,d] = data[order[batch * stride + r] - first, d], the bits of a number.
@compute @workgroup_size(64)
fn vectors(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.D {
        let n = order[min(clock[3] * params.stride + i / params.D, arrayLength(&order) - 1u)] - params.first;
        if n < params.count {
            x[i] = bitcast<f32>(data[n * params.D + i % params.D]);
        }
    }
}
