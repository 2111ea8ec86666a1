// Pictures made worse before an encoder sees them, of which a denoising VAE reconstructs the clean ones (Im et al.
// 2015, 1511.06406). The noise is drawn by random.wgsl. Elementwise, one an invocation.

struct Params { N: u32, level: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;                // (N), pixels in [0,1]
@group(0) @binding(2) var<storage, read> noise: array<f32>;            // (N): N(0,1) for gaussian, else U(0,1)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;          // (N)

// gaussian: y = clamp(x + level * noise, 0, 1). Not `clamp`, which would turn a NaN into a pixel.
@compute @workgroup_size(64)
fn gaussian(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N {
        let sum = x[i] + params.level * noise[i];
        y[i] = select(select(sum, 1.0, sum > 1.0), 0.0, sum < 0.0);
    }
}

// salt_and_pepper: y = 0 where noise < level / 2, 1 where noise >= 1 - level / 2, else x.
@compute @workgroup_size(64)
fn salt_and_pepper(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N {
        let half = 0.5 * params.level;
        y[i] = select(select(x[i], 1.0, noise[i] >= 1.0 - half), 0.0, noise[i] < half);
    }
}

// mask: y = 0 where noise < level, else x.
@compute @workgroup_size(64)
fn mask(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.N { y[i] = select(x[i], 0.0, noise[i] < params.level); }
}
