// The order of a picture's numbers: channels first, as files and PyTorch have them, or channels last, as convolutions
// here read them. S places. Each is the other's inverse and backward. An invocation owns an element of y.

struct Params { B: u32, C: u32, S: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,C,S); first: (B,S,C)
@group(0) @binding(2) var<storage, read_write> y: array<f32>;    // (B,S,C); first: (B,C,S)

// y[b, j, i] = x[b, i, j] for pictures of `rows` by `columns`.
fn transpose(o: u32, rows: u32, columns: u32) {
    let line = o / rows;
    let picture = line / columns;
    y[o] = x[picture * rows * columns + (o - line * rows) * columns + line - picture * columns];
}

// last: y[b,s,c] = x[b,c,s].
@compute @workgroup_size(64)
fn last(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.C * params.S { transpose(i, params.C, params.S); }
}

// first: y[b,c,s] = x[b,s,c].
@compute @workgroup_size(64)
fn first(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.C * params.S { transpose(i, params.S, params.C); }
}
