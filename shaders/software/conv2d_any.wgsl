// software/conv2d.wgsl for any number of channels.

const RIGHT = 4u;
const WHOLE_ROWS = false;
const WHOLE_OUTPUTS = false;
