// Sums over rows, columns or everything, and their backward, which is a broadcast. x is (B,F).

struct Params { B: u32, F: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,F)
@group(0) @binding(2) var<storage, read> dy: array<f32>;         // (B); backward_columns: (F); backward_whole: (1)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // (B); columns: (F); whole: (1)
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;   // (B,F)

// rows: y[r] = sum_f x[r,f]. A workgroup owns a row, an invocation every 64th element of it.
@compute @workgroup_size(64)
fn rows(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var f = index; f < params.F; f += 64u) { sum += x[group.x * params.F + f]; }
    shares[index] = sum;
    sum_shares(index);
    if index == 0u { y[group.x] = shares[0]; }
}

// columns: y[f] = sum_r x[r,f]. An invocation owns a column; neighbours read neighbouring words.
@compute @workgroup_size(64)
fn columns(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= params.F { return; }
    var sum = 0.0;
    for (var r = 0u; r < params.B; r++) { sum += x[r * params.F + id.x]; }
    y[id.x] = sum;
}

// whole: y = sum of x. One workgroup; meant for the shares sums of another kernel.
@compute @workgroup_size(64)
fn whole(@builtin(local_invocation_index) index: u32) {
    var sum = 0.0;
    for (var i = index; i < params.B * params.F; i += 64u) { sum += x[i]; }
    shares[index] = sum;
    sum_shares(index);
    if index == 0u { y[0] = shares[0]; }
}

// backward of rows: dx[r,f] = dy[r].
@compute @workgroup_size(64)
fn backward_rows(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.F { dx[i] = dy[i / params.F]; }
}

// backward of columns: dx[r,f] = dy[f].
@compute @workgroup_size(64)
fn backward_columns(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.F { dx[i] = dy[i % params.F]; }
}

// backward of whole: dx[r,f] = dy.
@compute @workgroup_size(64)
fn backward_whole(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.F { dx[i] = dy[0]; }
}
