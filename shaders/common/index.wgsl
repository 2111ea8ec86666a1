
// The linear index of an invocation in a grid of 64-wide workgroups that may spill into y.
fn linear_index(id: vec3<u32>, groups: vec3<u32>) -> u32 {
    return id.x + id.y * groups.x * 64u;
}
