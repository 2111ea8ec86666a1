// The batch's sentences as ids, time-major: token t of row b is word t*B+b, so that a step over time reads neighbours.
// A row that has ended is filled up with 0, the pad symbol; one that is longer than T is cut.

struct Params { B: u32, T: u32, stride: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> starts: array<u32>;           // (N+1)
@group(0) @binding(2) var<storage, read> entries: array<u32>;          // (E), the ids of all rows
@group(0) @binding(3) var<storage, read> order: array<u32>;            // (N), the epoch's order
@group(0) @binding(4) var<storage, read> clock: array<u32>;            // (8+8*batches): word 3 is the batch
@group(0) @binding(5) var<storage, read> x: array<u32>;                // (B,L), ids with 0 behind the end
@group(0) @binding(6) var<storage, read_write> ids: array<u32>;        // (T*B)
@group(0) @binding(7) var<storage, read_write> lengths: array<u32>;    // (B), each T at most

// forward: example n = order[batch * stride + b] has the entries number starts[n] to starts[n+1] - 1 of all, E in all.
// stride is the size of a full batch, B of this one. Indices that are read from a buffer are held within the next one.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.T * params.B {
        let t = i / params.B;
        let b = i % params.B;
        let last = arrayLength(&starts) - 1u;
        let n = order[min(clock[3] * params.stride + b, arrayLength(&order) - 1u)];
        let start = starts[min(n, last)];
        let length = min(max(starts[min(n + 1u, last)], start) - start, params.T);
        ids[i] = select(0u, entries[min(start + t, arrayLength(&entries) - 1u)], t < length);
        if t == 0u { lengths[b] = length; }
    }
}

// given: the same of rows that somebody wrote, (B,L). Here stride is L. A row ends before its first 0.
@compute @workgroup_size(64)
fn given(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let b = linear_index(id, groups);
    if b < params.B {
        var length = 0u;
        var has_ended = false;
        for (var t = 0u; t < params.T; t += 1u) {
            var token = 0u;
            if t < params.stride { token = x[b * params.stride + t]; }
            has_ended = has_ended || token == 0u;
            ids[t * params.B + b] = select(token, 0u, has_ended);
            length += select(1u, 0u, has_ended);
        }
        lengths[b] = length;
    }
}
