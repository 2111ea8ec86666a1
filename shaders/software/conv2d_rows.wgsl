// software/conv2d.wgsl for the windows of grey or colour pictures taken row by row, where O is a multiple of 4.

const LEFT = 4u;
const RIGHT = 4u;
const WHOLE_ROWS = true;
