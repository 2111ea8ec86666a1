// software/conv2d.wgsl where the result has at most 4 columns, grey or colour pictures, and O/G is a multiple of 4. A tile
// of 16 columns would be mostly empty.

const LEFT = 4u;
const RIGHT = 1u;
const WHOLE_ROWS = false;
