// Where streams of numbers meet or part: sums, products, weights of rows, concatenation along columns. Elementwise,
// one an invocation.

struct Params { B: u32, I: u32, O: u32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> a: array<f32>;          // (B,I)
@group(0) @binding(2) var<storage, read> b: array<f32>;          // (B,I); concat: (B,O)
@group(0) @binding(3) var<storage, read> dy: array<f32>;         // (B,I)
@group(0) @binding(4) var<storage, read> joined: array<f32>;     // (B,I+O)
@group(0) @binding(5) var<storage, read_write> y: array<f32>;    // (B,I); concat: (B,I+O)
@group(0) @binding(6) var<storage, read_write> da: array<f32>;   // (B,I)
@group(0) @binding(7) var<storage, read_write> db: array<f32>;   // (B,I); split: (B,O)
@group(0) @binding(8) var<storage, read> w: array<f32>;          // (B)

// add: y = a + scale * b. Its backward is fan-out: da = dy, db = scale * dy (scale).
@compute @workgroup_size(64)
fn add(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.I { y[i] = a[i] + params.scale * b[i]; }
}

// scale: y = scale * a; scale 1 copies, scale 0 clears. It is its own backward.
@compute @workgroup_size(64)
fn scale(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.I { y[i] = params.scale * a[i]; }
}

// multiply: y = a * b.
@compute @workgroup_size(64)
fn multiply(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.I { y[i] = a[i] * b[i]; }
}

// backward of y = a * b: da = dy * b, db = dy * a.
@compute @workgroup_size(64)
fn backward_multiply(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.I {
        da[i] = dy[i] * b[i];
        db[i] = dy[i] * a[i];
    }
}

// weigh: y[r,i] = w[r] * a[r,i], (B) and (B,I) to (B,I). It is its own backward to a.
@compute @workgroup_size(64)
fn weigh(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.B * params.I { y[i] = w[i / params.I] * a[i]; }
}

// concat: y[r] = (a[r], b[r]), (B,I) and (B,O) to (B,I+O). Its backward is split.
@compute @workgroup_size(64)
fn concat(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    let width = params.I + params.O;
    if i < params.B * width {
        let r = i / width;
        let c = i % width;
        if c < params.I { y[i] = a[r * params.I + c]; } else { y[i] = b[r * params.O + c - params.I]; }
    }
}

// split: (da[r], db[r]) = joined[r], (B,I+O) to (B,I) and (B,O). Its backward is concat.
@compute @workgroup_size(64)
fn split(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    let width = params.I + params.O;
    if i < params.B * width {
        let r = i / width;
        let c = i % width;
        if c < params.I { da[r * params.I + c] = joined[i]; } else { db[r * params.O + c - params.I] = joined[i]; }
    }
}
