
// A sum over the 64 invocations of a workgroup. Each writes its share; afterwards shares[0] is the sum, formed by
// halves, so always in the same order.
var<workgroup> shares: array<f32, 64>;

fn sum_shares(index: u32) {
    workgroupBarrier();
    for (var width = 32u; width > 0u; width /= 2u) {
        if index < width { shares[index] += shares[index + width]; }
        workgroupBarrier();
    }
}

// The sum of the workgroup's shares. The first barrier is for those who still read what was there before.
fn total(index: u32, share: f32) -> f32 {
    workgroupBarrier();
    shares[index] = share;
    sum_shares(index);
    return shares[0];
}
