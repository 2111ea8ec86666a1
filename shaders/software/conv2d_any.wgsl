// software/conv2d.wgsl for any number of channels, in tiles of 16 columns; the buffers are those of conv2d_scalar.wgsl.

const RIGHT = 4u;
