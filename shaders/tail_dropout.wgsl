// How much of each sequence an encoder is shown, where of some the last steps are hidden: it learns what lies behind
// the end of what it is shown. A row hides with the share p, from one step to so many, all equally often.

struct Params { B: u32, most: u32, p: f32, scale: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> lengths: array<u32>;          // (B)
@group(0) @binding(2) var<storage, read> noise: array<f32>;            // (B), uniform in (0,1)
@group(0) @binding(3) var<storage, read_write> shown: array<u32>;      // (B)

// forward: shown[b] = lengths[b], or where noise[b] < p without the last 1 + floor(noise[b] * most / p) steps, at least
// one step. Noise below p is uniform in (0,p), so it says how many too.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let b = linear_index(id, groups);
    if b >= params.B { return; }
    let hidden = 1u + min(u32(noise[b] * params.scale), params.most - 1u);
    let left = lengths[b] - min(hidden, lengths[b]);
    shown[b] = select(lengths[b], min(max(left, 1u), lengths[b]), noise[b] < params.p);
}
