
// The largest of the workgroup's shares, in the memory of common/sum.wgsl. The first barrier is for those who still
// read what was there before.
fn largest(index: u32, share: f32) -> f32 {
    workgroupBarrier();
    shares[index] = share;
    workgroupBarrier();
    for (var width = 32u; width > 0u; width /= 2u) {
        if index < width { shares[index] = max(shares[index], shares[index + width]); }
        workgroupBarrier();
    }
    return shares[0];
}
