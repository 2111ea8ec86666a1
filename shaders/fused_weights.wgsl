
// The weights' gradients of up to three linear layers in one dispatch: layers whose gradients need nothing of each
// other fill a large GPU together, without a barrier between them. Layer l has I inputs x (B,I) and O outputs with the
// gradient dy (B,O). Its outputs from `split` on belong to a second parameter: a VAE's two heads are one layer here.
// A workgroup owns ROWS x COLUMNS of one layer's dW (common/product.wgsl). Everything is assigned; `gradients` is the
// flat buffer of all parameters' gradients, and places in it are counted in words. It is appended to
// fused_weights_vec4.wgsl or to fused_weights_any.wgsl, which declare the buffers.

// The workgroup's, and its number.
var<private> own: Layer;
var<private> number: u32;

fn tiles_of(l: Layer) -> u32 { return ((l.I + COLUMNS - 1u) / COLUMNS) * ((l.O + ROWS - 1u) / ROWS); }

// backward: dw[m,n] = sum_k dy[k,m] x[k,n]; db[m] = sum_k dy[k,m], of each layer.
@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn backward(@builtin(workgroup_id) group: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>,
            @builtin(local_invocation_id) t: vec3<u32>) {
    var tile = group.y * groups.x + group.x;
    own = layer(0u);
    while number < 2u && tile >= tiles_of(own) {
        tile -= tiles_of(own);
        number += 1u;
        own = layer(number);
    }
    // A grid that spills has workgroups past the last tile: what they own lies outside, perhaps of a layer that is not
    // there.
    let across = max((own.I + COLUMNS - 1u) / COLUMNS, 1u);
    tile_of_dw(ROWS * (tile / across), COLUMNS * (tile % across), t);
}

// Where dW's row m starts, and db's element m.
fn dw_place(m: u32) -> u32 { return select(own.dw + m * own.I, own.dv + (m - own.split) * own.I, m >= own.split); }

fn db_place(m: u32) -> u32 { return select(own.db + m, own.dc + m - own.split, m >= own.split); }
