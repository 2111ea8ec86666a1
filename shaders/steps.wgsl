// The batch's sequences of numbers, time-major: step t of row b is row t*B+b of x (T*B,C), so that a step over time
// reads neighbours. A number that is missing is NaN in the data; here it is 0, and 0 in seen, as are all behind a row's
// end. NaN is told by its bits, since a compiler may take floats for finite.

struct Params { B: u32, T: u32, C: u32, stride: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> starts: array<u32>;           // (N), the first step of each example
@group(0) @binding(2) var<storage, read> counts: array<u32>;           // (N), its steps
@group(0) @binding(3) var<storage, read> numbers: array<u32>;          // (S,C), the bits of the numbers of S steps
@group(0) @binding(4) var<storage, read> order: array<u32>;            // (N), the epoch's order
@group(0) @binding(5) var<storage, read> clock: array<u32>;            // (8+8*batches): word 3 is the batch
@group(0) @binding(6) var<storage, read> rows: array<u32>;             // (B,L*C), bits, NaN behind the end
@group(0) @binding(7) var<storage, read_write> x: array<f32>;          // (T*B,C)
@group(0) @binding(8) var<storage, read_write> seen: array<f32>;       // (T*B,C), 1 at a number, else 0
@group(0) @binding(9) var<storage, read_write> lengths: array<u32>;    // (B), each T at most
@group(0) @binding(10) var<storage, read> ends: array<u32>;            // (B), lengths
@group(0) @binding(11) var<storage, read_write> counted: array<f32>;   // (T*B)
@group(0) @binding(12) var<storage, read> a: array<f32>;               // (T*B,C)
@group(0) @binding(13) var<storage, read_write> y: array<f32>;         // (B,T*C)

fn is_missing(bits: u32) -> bool {
    return (bits & 0x7f800000u) == 0x7f800000u;
}

// forward: example n = order[batch * stride + b] has counts[n] steps from step starts[n] on. stride is the size of a
// full batch, B of this one. Indices that are read from a buffer are held within the next one.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.T * params.B * params.C {
        let c = i % params.C;
        let b = i / params.C % params.B;
        let t = i / params.C / params.B;
        let n = order[min(clock[3] * params.stride + b, arrayLength(&order) - 1u)];
        let start = starts[min(n, arrayLength(&starts) - 1u)];
        let length = min(counts[min(n, arrayLength(&counts) - 1u)], params.T);
        let bits = numbers[min((start + t) * params.C + c, arrayLength(&numbers) - 1u)];
        let is_there = t < length && !is_missing(bits);
        x[i] = bitcast<f32>(select(0u, bits, is_there));
        seen[i] = select(0.0, 1.0, is_there);
        if t == 0u && c == 0u { lengths[b] = length; }
    }
}

// given: the same of rows that somebody wrote, (B,L*C). Here stride is L. A row ends behind its last number.
@compute @workgroup_size(64)
fn given(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let b = linear_index(id, groups);
    if b < params.B {
        var length = 0u;
        for (var t = 0u; t < params.T; t += 1u) {
            for (var c = 0u; c < params.C; c += 1u) {
                var bits = 0x7fc00000u;
                if t < params.stride { bits = rows[(b * params.stride + t) * params.C + c]; }
                let is_there = !is_missing(bits);
                let i = (t * params.B + b) * params.C + c;
                x[i] = bitcast<f32>(select(0u, bits, is_there));
                seen[i] = select(0.0, 1.0, is_there);
                length = select(length, t + 1u, is_there);
            }
        }
        lengths[b] = length;
    }
}

// mask: counted[t*B+b] = scale where row b has a step t, else 0.
@compute @workgroup_size(64)
fn mask(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.T * params.B {
        counted[i] = select(0.0, params.scale, i / params.B < ends[i % params.B]);
    }
}

// by_row: y[b, t*C + c] = a[t*B+b, c].
@compute @workgroup_size(64)
fn by_row(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.T * params.B * params.C {
        let c = i % params.C;
        let t = i / params.C % params.T;
        let b = i / params.C / params.T;
        y[i] = a[(t * params.B + b) * params.C + c];
    }
}
