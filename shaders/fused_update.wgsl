// The end of a step in one dispatch: Adam's update as in adam.wgsl, the losses written down and the clock moved on as
// in clock.wgsl. Adam reads the moment (fused_batch.wgsl), not the clock, so that one workgroup may move it while the
// others work.

struct Params {
    N: u32, beta1: f32, beta2: f32, eps: f32, weight_decay: f32, decoupled: u32,
    B: u32, recon: u32, first: u32, kl: u32,
}

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> grad: array<f32>;             // (N)
@group(0) @binding(2) var<storage, read> moment: array<u32>;           // (16): the clock of this step
@group(0) @binding(3) var<storage, read> terms: array<f32>;            // (first+kl), nats: recon parts of -log p(x|z), from first on kl of the KL
@group(0) @binding(4) var<storage, read_write> p: array<f32>;          // (N)
@group(0) @binding(5) var<storage, read_write> m: array<f32>;          // (N), mean of the gradient
@group(0) @binding(6) var<storage, read_write> v: array<f32>;          // (N), mean of its square
@group(0) @binding(7) var<storage, read_write> losses: array<f32>;     // (batches, 4): recon, kl, kl_weight, rows
@group(0) @binding(8) var<storage, read_write> clock: array<u32>;      // (8+8*batches)

var<workgroup> shares: array<vec2<f32>, 64>;

// adam: m += (1-b1)(g-m); v = b2 v + (1-b2) g^2; p -= lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps).
// The first workgroup also does the rest: losses[batch] = (sum of recon, sum of kl, kl_weight, B); step += 1, batch +=
// 1.
@compute @workgroup_size(64)
fn adam(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
        @builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) index: u32) {
    update(linear_index(id, groups), row(0u), row(2u), row(3u));
    if group.x == 0u && group.y == 0u { tally(index); }
}

fn row(column: u32) -> f32 { return bitcast<f32>(moment[8u + column]); }

// The invocation's share of `count` terms from `first` on. A large batch has 100,000 and this workgroup is alone with
// them: eight loads are on their way at a time.
fn share(first: u32, count: u32, index: u32) -> f32 {
    var low: vec4<f32>;
    var high: vec4<f32>;
    var i = index;
    while i + 448u < count {
        let at = first + i;
        low += vec4<f32>(terms[at], terms[at + 64u], terms[at + 128u], terms[at + 192u]);
        high += vec4<f32>(terms[at + 256u], terms[at + 320u], terms[at + 384u], terms[at + 448u]);
        i += 512u;
    }
    var rest = 0.0;
    while i < count {
        rest += terms[first + i];
        i += 64u;
    }
    return rest + dot(low + high, vec4<f32>(1.0));
}

fn tally(index: u32) {
    shares[index] = vec2<f32>(share(0u, params.recon, index), share(params.first, params.kl, index));
    workgroupBarrier();
    for (var width = 32u; width > 0u; width /= 2u) {
        if index < width { shares[index] += shares[index + width]; }
        workgroupBarrier();
    }
    if index == 0u {
        let batch = clock[3];
        if 4u * batch + 3u < arrayLength(&losses) {
            losses[4u * batch] = shares[0].x;
            losses[4u * batch + 1u] = shares[0].y;
            losses[4u * batch + 2u] = row(1u);
            losses[4u * batch + 3u] = f32(params.B);
        }
        clock[2] += 1u;
        clock[3] = batch + 1u;
    }
}
