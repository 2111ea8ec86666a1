// software/conv2d.wgsl where the result has at most 4 channels: grey or colour pictures. A tile of 16 columns would be
// mostly empty. The buffers are those of conv2d_scalar.wgsl.

const RIGHT = 1u;
