
// Up to three linear layers, as the params of fused_weights.wgsl have them; one that is not there has O = 0.
struct Params {
    B: u32,
    I0: u32, O0: u32, split0: u32, dw0: u32, dv0: u32, db0: u32, dc0: u32,
    I1: u32, O1: u32, split1: u32, dw1: u32, dv1: u32, db1: u32, dc1: u32,
    I2: u32, O2: u32, split2: u32, dw2: u32, dv2: u32, db2: u32, dc2: u32,
}

// Where a layer's gradients go: dW and db of its first `split` outputs to dw and db, of the others to dv and dc.
struct Layer { I: u32, O: u32, split: u32, dw: u32, dv: u32, db: u32, dc: u32 }

fn layer(l: u32) -> Layer {
    let p = params;
    if l == 0u { return Layer(p.I0, p.O0, p.split0, p.dw0, p.dv0, p.db0, p.dc0); }
    if l == 1u { return Layer(p.I1, p.O1, p.split1, p.dw1, p.dv1, p.db1, p.dc1); }
    return Layer(p.I2, p.O2, p.split2, p.dw2, p.dv2, p.db2, p.dc2);
}
