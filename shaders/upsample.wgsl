// Pictures, channels last, made larger by a whole factor F, torch.nn.Upsample: H x W to FH x FW.

struct Params { B: u32, H: u32, W: u32, C: u32, F: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;          // (B,H,W,C)
@group(0) @binding(2) var<storage, read> dy: array<f32>;         // (B,FH,FW,C)
@group(0) @binding(3) var<storage, read_write> y: array<f32>;    // (B,FH,FW,C)
@group(0) @binding(4) var<storage, read_write> dx: array<f32>;   // (B,H,W,C)

// (picture, row, column, channel) of element i where pictures have these rows and columns.
fn position(i: u32, rows: u32, columns: u32) -> vec4<u32> {
    let place = i / params.C;
    let row = place / columns;
    let picture = row / rows;
    return vec4<u32>(picture, row - picture * rows, place - row * columns, i - place * params.C);
}

// nearest: y = x at (row / F, column / F), rounded down. An invocation owns an element of y.
@compute @workgroup_size(64)
fn nearest(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    let F = params.F;
    if i >= params.B * params.H * params.W * params.C * F * F { return; }
    let at = position(i, F * params.H, F * params.W);
    y[i] = x[((at.x * params.H + at.y / F) * params.W + at.z / F) * params.C + at.w];
}

// backward of nearest: dx = sum of dy over the F x F places that show this one. An invocation owns an element of dx.
@compute @workgroup_size(64)
fn backward_nearest(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    let F = params.F;
    if i >= params.B * params.H * params.W * params.C { return; }
    let at = position(i, params.H, params.W);
    let line = F * params.W * params.C;
    var start = (at.x * params.H + at.y) * F * line + at.z * F * params.C + at.w;
    var sum = 0.0;
    for (var p = 0u; p < F; p++) {
        for (var q = 0u; q < F; q++) { sum += dy[start + q * params.C]; }
        start += line;
    }
    dx[i] = sum;
}

// Centres of places in steps of 1 / (2F) of x from the centre of its first: place q of y lies at 2q + 1 - F, kept
// within the centres of x, place w of x at 2Fw.
fn centre(q: u32, size: u32) -> u32 {
    return min(max(2u * q + 1u, params.F) - params.F, 2u * params.F * (size - 1u));
}

// bilinear: y = the plane through the nearest four x at this place, torch's align_corners=False.
@compute @workgroup_size(64)
fn bilinear(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    let F = params.F;
    if i >= params.B * params.H * params.W * params.C * F * F { return; }
    let at = position(i, F * params.H, F * params.W);
    let h = centre(at.y, params.H);
    let w = centre(at.z, params.W);
    let h0 = h / (2u * F);
    let w0 = w / (2u * F);
    let down = f32(h - 2u * F * h0) / f32(2u * F);
    let right = f32(w - 2u * F * w0) / f32(2u * F);
    let upper = (at.x * params.H + h0) * params.W;
    let lower = (at.x * params.H + min(h0 + 1u, params.H - 1u)) * params.W;
    let w1 = min(w0 + 1u, params.W - 1u);
    let above = (1.0 - right) * x[(upper + w0) * params.C + at.w] + right * x[(upper + w1) * params.C + at.w];
    let below = (1.0 - right) * x[(lower + w0) * params.C + at.w] + right * x[(lower + w1) * params.C + at.w];
    y[i] = (1.0 - down) * above + down * below;
}

// The rows (or columns) [x, y) of y that a row of x has a share in.
fn shared_by(h: u32, size: u32) -> vec2<u32> {
    let F = params.F;
    return vec2<u32>(max(F * h, F / 2u) - F / 2u, min(F * h + (3u * F - 2u) / 2u + 1u, F * size));
}

// The share of row h of x in row p of y, a tent over the centre of h. Only for rows of shared_by.
fn share(p: u32, h: u32, size: u32) -> f32 {
    let distance = abs(i32(centre(p, size)) - i32(2u * params.F * h));
    return f32(2 * i32(params.F) - distance) / f32(2u * params.F);
}

// backward of bilinear: dx = sum of dy times the share that this place has in it. An invocation owns an element of dx.
@compute @workgroup_size(64)
fn backward_bilinear(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    let F = params.F;
    if i >= params.B * params.H * params.W * params.C { return; }
    let at = position(i, params.H, params.W);
    let rows = shared_by(at.y, params.H);
    let columns = shared_by(at.z, params.W);
    var sum = 0.0;
    for (var p = rows.x; p < rows.y; p++) {
        let line = (at.x * F * params.H + p) * F * params.W;
        var along = 0.0;
        for (var q = columns.x; q < columns.y; q++) {
            along += share(q, at.z, params.W) * dy[(line + q) * params.C + at.w];
        }
        sum += share(p, at.y, params.H) * along;
    }
    dx[i] = sum;
}
