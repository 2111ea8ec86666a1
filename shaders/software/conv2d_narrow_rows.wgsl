// software/conv2d.wgsl for the windows of grey or colour pictures taken row by row, where a row has at most 4 elements and O
// is a multiple of 4.

const LEFT = 4u;
const RIGHT = 1u;
const WHOLE_ROWS = true;
