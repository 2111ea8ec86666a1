// Rows of a table by their numbers: torch.nn.Embedding. The gradient of a row is the sum over the places that looked it
// up. Atomics would add them up in any order, and WGSL has none for f32; here the places are sorted by number first, so
// that a workgroup owns a number and adds its places up in their order.

struct Params { R: u32, V: u32, E: u32, padding: u32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> weight: array<f32>;           // (V,E)
@group(0) @binding(2) var<storage, read> dy: array<f32>;               // (R,E)
@group(0) @binding(3) var<storage, read> ids: array<u32>;              // (R), each below V
@group(0) @binding(4) var<storage, read> places: array<u32>;           // (R): what sort wrote
@group(0) @binding(5) var<storage, read_write> y: array<f32>;          // (R,E)
@group(0) @binding(6) var<storage, read_write> sorted: array<u32>;     // (R)
@group(0) @binding(7) var<storage, read_write> dweight: array<f32>;    // (V,E)

// forward: y[r] = weight[ids[r]].
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i < params.R * params.E {
        y[i] = weight[min(ids[i / params.E], params.V - 1u) * params.E + i % params.E];
    }
}

var<workgroup> tile: array<u32, 64>;

// sort: sorted = 0..R by (ids[r], r). The rank of a place is the number of places before it, which an invocation counts;
// R is a few thousand, and a sort in passes would wait for each of them. 64 numbers at a time are shared.
@compute @workgroup_size(64)
fn sort(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let r = linear_index(id, groups);
    let own = ids[min(r, params.R - 1u)];
    var rank = 0u;
    for (var first = 0u; first < params.R; first += 64u) {
        workgroupBarrier();
        tile[index] = ids[min(first + index, params.R - 1u)];
        workgroupBarrier();
        let count = min(64u, params.R - first);
        for (var k = 0u; k < count; k++) {
            let other = tile[k];
            rank += select(0u, 1u, other < own || (other == own && first + k < r));
        }
    }
    if r < params.R { sorted[rank] = r; }
}

// The number at a place, both held within their buffers.
fn number(place: u32) -> u32 {
    return min(ids[min(place, params.R - 1u)], params.V - 1u);
}

// ANCHOR: backward
// backward: dweight[v] += sum of dy[r] over ids[r] = v, but for v = padding. A workgroup has a sorted place. The first of
// a number's places adds all of them up, and the workgroups of the others have nothing to do.
@compute @workgroup_size(64)
fn backward(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) index: u32,
) {
    let first = group.x + group.y * groups.x;
    if first >= params.R { return; }
    let v = number(places[first]);
    if v == params.padding { return; }
    if first > 0u && number(places[first - 1u]) == v { return; }
    for (var e = index; e < params.E; e += 64u) {
        var sum = 0.0;
        for (var k = first; k < params.R; k++) {
            let r = min(places[k], params.R - 1u);
            if number(r) != v { break; }
            sum += dy[r * params.E + e];
        }
        dweight[v * params.E + e] += sum;
    }
}
// ANCHOR_END: backward
