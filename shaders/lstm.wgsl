// One step of an LSTM (Hochreiter & Schmidhuber 1997; its forget gate: Gers, Schmidhuber & Cummins 2000), as
// torch.nn.LSTM has it. Sequences are time-major: T steps of B rows, row slot*B + b of (T*B,...) is step `slot` of row
// b. The products with the weights are matmul's. A row has lengths[b] steps: from t = lengths[b] on its state stays. An
// invocation owns a number of the state.

struct Params { T: u32, B: u32, H: u32, slot: u32, t: u32, with_dy: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> recur: array<f32>;            // (B,4*H): h W_hh^T + b_hh
@group(0) @binding(2) var<storage, read> lengths: array<u32>;          // (B)
@group(0) @binding(3) var<storage, read> c_before: array<f32>;         // (T*B,H): c_kept of cell
@group(0) @binding(4) var<storage, read> dy: array<f32>;               // (T*B,H)
@group(0) @binding(5) var<storage, read_write> gates: array<f32>;      // (T*B,4*H): i, f, g, o
@group(0) @binding(6) var<storage, read_write> h: array<f32>;          // (B,H): the state
@group(0) @binding(7) var<storage, read_write> c: array<f32>;          // (B,H): the state
@group(0) @binding(8) var<storage, read_write> h_kept: array<f32>;     // (T*B,H): h before each step
@group(0) @binding(9) var<storage, read_write> c_kept: array<f32>;     // (T*B,H): c before each step
@group(0) @binding(10) var<storage, read_write> y: array<f32>;         // (T*B,H): h after each step
@group(0) @binding(11) var<storage, read_write> dh: array<f32>;        // (B,H)
@group(0) @binding(12) var<storage, read_write> dc: array<f32>;        // (B,H)
@group(0) @binding(13) var<storage, read_write> dstep: array<f32>;     // (B,4*H): the gates' gradients of this step

// ANCHOR: cell
// cell: gates come as x W_ih^T + b_ih and leave as i = sigmoid, f = sigmoid, g = tanh, o = sigmoid of their sum with
// recur; c = f c + i g, h = o tanh c. Of a row that has ended the gates stay, and so do c and h.
@compute @workgroup_size(64)
fn cell(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let n = linear_index(id, groups);
    if n >= params.B * params.H { return; }
    let size = params.H;
    let b = n / size;
    let j = n % size;
    let row = params.slot * params.B + b;
    h_kept[row * size + j] = h[n];
    c_kept[row * size + j] = c[n];
    if params.t < lengths[b] {
        let first = row * 4u * size + j;
        let other = b * 4u * size + j;
        let i = sigmoid(gates[first] + recur[other]);
        let f = sigmoid(gates[first + size] + recur[other + size]);
        let g = tanh_of(gates[first + 2u * size] + recur[other + 2u * size]);
        let o = sigmoid(gates[first + 3u * size] + recur[other + 3u * size]);
        gates[first] = i;
        gates[first + size] = f;
        gates[first + 2u * size] = g;
        gates[first + 3u * size] = o;
        c[n] = f * c[n] + i * g;
        h[n] = o * tanh_of(c[n]);
    }
    y[row * size + j] = h[n];
}
// ANCHOR_END: cell

// ANCHOR: backward
// backward_cell: dh and dc come as the gradients of the state after the step and leave as those of the state before it,
// dh but for dstep W_hh, which matmul adds. The gates leave as the gradients of what sigmoid and tanh read, in dstep
// once more; of a row that has ended as zeros, and dh and dc pass.
@compute @workgroup_size(64)
fn backward_cell(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let n = linear_index(id, groups);
    if n >= params.B * params.H { return; }
    let size = params.H;
    let b = n / size;
    let j = n % size;
    let row = params.slot * params.B + b;
    let first = row * 4u * size + j;
    var dh_after = dh[n];
    if params.with_dy != 0u { dh_after += dy[row * size + j]; }
    var d = vec4<f32>(0.0);
    if params.t < lengths[b] {
        let i = gates[first];
        let f = gates[first + size];
        let g = gates[first + 2u * size];
        let o = gates[first + 3u * size];
        let before = c_before[row * size + j];
        let u = tanh_of(f * before + i * g);
        let dc_after = dc[n] + dh_after * o * (1.0 - u * u);
        d = vec4<f32>(
            dc_after * g * i * (1.0 - i),
            dc_after * before * f * (1.0 - f),
            dc_after * i * (1.0 - g * g),
            dh_after * u * o * (1.0 - o),
        );
        dc[n] = dc_after * f;
        dh_after = 0.0;
    }
    dh[n] = dh_after;
    for (var k = 0u; k < 4u; k++) {
        gates[first + k * size] = d[k];
        dstep[b * 4u * size + k * size + j] = d[k];
    }
}
// ANCHOR_END: backward
