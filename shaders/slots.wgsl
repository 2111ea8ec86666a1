// The rows of one step within the rows of all: a loop over time computes (B,F) at a time, what needs no loop (T*B,F).

struct Params { B: u32, F: u32, slot: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> all: array<f32>;              // (T*B,F)
@group(0) @binding(2) var<storage, read> one: array<f32>;              // (B,F)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;          // (B,F)
@group(0) @binding(4) var<storage, read_write> kept: array<f32>;       // (T*B,F)

// take: y = rows slot*B to slot*B + B - 1 of all.
@compute @workgroup_size(64)
fn take(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.F { y[i] = all[params.slot * params.B * params.F + i]; }
}

// put: those rows of kept = one.
@compute @workgroup_size(64)
fn put(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.F { kept[params.slot * params.B * params.F + i] = one[i]; }
}
