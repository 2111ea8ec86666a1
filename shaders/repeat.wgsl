// Each row K times, one after the other: torch.repeat_interleave. An invocation writes an element.
// Words and not numbers: a copy keeps every bit, also of ids.

struct Params { B: u32, I: u32, K: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<u32>;          // (B,I)
@group(0) @binding(2) var<storage, read_write> y: array<u32>;    // (B*K,I)

// forward: y[b*K + k, i] = a[b, i].
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let n = linear_index(id, groups);
    if n < params.B * params.K * params.I {
        y[n] = a[n / (params.K * params.I) * params.I + n % params.I];
    }
}
