// One step of a GRU (Cho et al. 2014, 1406.1078) as torch.nn.GRU has it: the reset gate is applied behind the product
// with the state. Sequences are time-major: T steps of B rows, row slot*B + b of (T*B,...) is step `slot` of row b. The
// products with the weights are matmul's. A row has lengths[b] steps: from t = lengths[b] on its state stays. An
// invocation owns a number of the state.

struct Params { T: u32, B: u32, H: u32, slot: u32, t: u32, with_dy: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> recur: array<f32>;            // (B,3*H): h W_hh^T + b_hh
@group(0) @binding(2) var<storage, read> lengths: array<u32>;          // (B)
@group(0) @binding(3) var<storage, read> h_before: array<f32>;         // (T*B,H): h_kept of cell
@group(0) @binding(4) var<storage, read> inner: array<f32>;            // (T*B,H): inner_kept of cell
@group(0) @binding(5) var<storage, read> dy: array<f32>;               // (T*B,H)
@group(0) @binding(6) var<storage, read_write> gates: array<f32>;      // (T*B,3*H): r, z, n
@group(0) @binding(7) var<storage, read_write> h: array<f32>;          // (B,H): the state
@group(0) @binding(8) var<storage, read_write> h_kept: array<f32>;     // (T*B,H): h before each step
@group(0) @binding(9) var<storage, read_write> inner_kept: array<f32>; // (T*B,H): what r is multiplied with
@group(0) @binding(10) var<storage, read_write> y: array<f32>;         // (T*B,H): h after each step
@group(0) @binding(11) var<storage, read_write> dh: array<f32>;        // (B,H)
@group(0) @binding(12) var<storage, read_write> drecur: array<f32>;    // (T*B,3*H)
@group(0) @binding(13) var<storage, read_write> dstep: array<f32>;     // (B,3*H): drecur of this step

// cell: gates come as x W_ih^T + b_ih and leave as r, z = sigmoid of their sums with recur, n = tanh of its sum with
// r inner, where inner is recur's last third; h = (1-z) n + z h. Of a row that has ended the gates stay, and so does h.
@compute @workgroup_size(64)
fn cell(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.B * params.H { return; }
    let size = params.H;
    let b = i / size;
    let j = i % size;
    let row = params.slot * params.B + b;
    let first = row * 3u * size + j;
    let other = b * 3u * size + j;
    let product = recur[other + 2u * size];
    h_kept[row * size + j] = h[i];
    inner_kept[row * size + j] = product;
    if params.t < lengths[b] {
        let r = sigmoid(gates[first] + recur[other]);
        let z = sigmoid(gates[first + size] + recur[other + size]);
        let n = tanh_of(gates[first + 2u * size] + r * product);
        gates[first] = r;
        gates[first + size] = z;
        gates[first + 2u * size] = n;
        h[i] = (1.0 - z) * n + z * h[i];
    }
    y[row * size + j] = h[i];
}

// backward_cell: dh comes as the gradient of the state after the step and leaves as that of the state before it, but
// for dstep W_hh, which matmul adds. The gates leave as the gradients of their sums with x, those of recur are drecur,
// in dstep once more; of a row that has ended both are zeros, and dh passes.
@compute @workgroup_size(64)
fn backward_cell(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.B * params.H { return; }
    let size = params.H;
    let b = i / size;
    let j = i % size;
    let row = params.slot * params.B + b;
    let first = row * 3u * size + j;
    var dh_after = dh[i];
    if params.with_dy != 0u { dh_after += dy[row * size + j]; }
    var d = vec3<f32>(0.0);
    var share = 1.0;
    var r = 0.0;
    if params.t < lengths[b] {
        r = gates[first];
        share = gates[first + size];
        let n = gates[first + 2u * size];
        let dn = dh_after * (1.0 - share) * (1.0 - n * n);
        let dz = dh_after * (h_before[row * size + j] - n) * share * (1.0 - share);
        d = vec3<f32>(dn * inner[row * size + j] * r * (1.0 - r), dz, dn);
    }
    dh[i] = dh_after * share;
    for (var k = 0u; k < 3u; k++) {
        let recurrent = select(d[k], d[k] * r, k == 2u);
        gates[first + k * size] = d[k];
        drecur[first + k * size] = recurrent;
        dstep[b * 3u * size + k * size + j] = recurrent;
    }
}
