
// A tile of a matrix product, owned by a workgroup: ladder/matmul_tile.wgsl in any size. src/kernels/tiles.rs lists the
// sizes and appends them as constants:
//   ROWS, COLUMNS  of the tile
//   DEPTH          terms of the sum that a slice has in workgroup memory at a time, a multiple of 4
//   TALL           blocks of 4x4 that an invocation owns in its registers, one below the other: 1 or 2
//   SLICES         parts of the sum, a power of 2: each has its own invocations, and they are added up at the end in a
//                  fixed order. For tiles so small that their workgroup would have too few invocations.
//   GAP            fours between two terms in workgroup memory, 0 or 1: with one, neighbours that put down different terms
//                  do not wait for the same bank. Without, a slice has room for more terms.
// A kernel fills `tiles` by put_left and put_right, and calls multiply_slices between two barriers.
const ACROSS = COLUMNS / 4u;             // invocations of a slice side by side, each other's neighbours in memory
const DOWN = ROWS / (4u * TALL);
const OWNERS = ACROSS * DOWN;            // invocations of a slice
const FOURS = 4u * TALL;                 // rows of four sums that an invocation owns
// Of four rows of the result, and four columns, a term after the other.
const LEFT = ROWS / 4u + GAP;
const RIGHT = COLUMNS / 4u + GAP;
// Fours that a slice loads of either operand at a time.
const LEFT_LOADS = ROWS * DEPTH / 4u;
const RIGHT_LOADS = COLUMNS * DEPTH / 4u;
const SLICE = DEPTH * (LEFT + RIGHT);

// For each slice (DEPTH,LEFT) of the left operand and (DEPTH,RIGHT) of the right one. At the end, the sums of half of
// the slices.
var<workgroup> tiles: array<vec4<f32>, max(SLICES * SLICE, SLICES / 2u * FOURS * OWNERS)>;

// An invocation's blocks, four rows of four columns each: here and half a tile below. All by name, and no array: what a
// loop indexes may not stay in registers.
var<private> sum0: vec4<f32>;
var<private> sum1: vec4<f32>;
var<private> sum2: vec4<f32>;
var<private> sum3: vec4<f32>;
var<private> below0: vec4<f32>;
var<private> below1: vec4<f32>;
var<private> below2: vec4<f32>;
var<private> below3: vec4<f32>;

// What an invocation has loaded of the next terms, while it multiplies the present ones: a block that is to be turned,
// or two fours of each operand.
var<private> next_block: mat4x4<f32>;
var<private> next_left: mat2x4<f32>;
var<private> next_right: mat2x4<f32>;

// Rows 4i.. of term d of a slice of the left operand.
fn put_left(slice: u32, d: u32, i: u32, four: vec4<f32>) {
    tiles[slice * SLICE + d * LEFT + i] = four;
}

// Rows 4i.. of terms d to d + 3, a term after the other.
fn put_left_block(slice: u32, d: u32, i: u32, block: mat4x4<f32>) {
    put_left(slice, d, i, block[0]);
    put_left(slice, d + 1u, i, block[1]);
    put_left(slice, d + 2u, i, block[2]);
    put_left(slice, d + 3u, i, block[3]);
}

// Columns 4j.. of term d of a slice of the right operand.
fn put_right(slice: u32, d: u32, j: u32, four: vec4<f32>) {
    tiles[slice * SLICE + DEPTH * LEFT + d * RIGHT + j] = four;
}

fn put_right_block(slice: u32, d: u32, j: u32, block: mat4x4<f32>) {
    put_right(slice, d, j, block[0]);
    put_right(slice, d + 1u, j, block[1]);
    put_right(slice, d + 2u, j, block[2]);
    put_right(slice, d + 3u, j, block[3]);
}

// ANCHOR: multiply
// Adds DEPTH terms to every sum of invocation (t.x,t.y) of slice t.z.
fn multiply_slices(t: vec3<u32>) {
    let left = t.z * SLICE + t.y;
    let right = t.z * SLICE + DEPTH * LEFT + t.x;
    for (var d = 0u; d < DEPTH; d++) {
        let l = tiles[left + d * LEFT];
        let r = tiles[right + d * RIGHT];
        sum0 = fma(l.xxxx, r, sum0);
        sum1 = fma(l.yyyy, r, sum1);
        sum2 = fma(l.zzzz, r, sum2);
        sum3 = fma(l.wwww, r, sum3);
        if TALL > 1u {
            let m = tiles[left + d * LEFT + DOWN];
            below0 = fma(m.xxxx, r, below0);
            below1 = fma(m.yyyy, r, below1);
            below2 = fma(m.zzzz, r, below2);
            below3 = fma(m.wwww, r, below3);
        }
    }
}
// ANCHOR_END: multiply

// ANCHOR: slices
// Adds the slices up, pairwise, so that slice 0 has the sum. All invocations call it, after a barrier.
fn add_slices(t: vec3<u32>) {
    let index = t.y * ACROSS + t.x;
    for (var half = SLICES / 2u; half > 0u; half /= 2u) {
        if t.z >= half && t.z < 2u * half {
            for (var i = 0u; i < FOURS; i++) { tiles[((t.z - half) * FOURS + i) * OWNERS + index] = sum(i); }
        }
        workgroupBarrier();
        if t.z < half {
            for (var i = 0u; i < FOURS; i++) { add(i, tiles[(t.z * FOURS + i) * OWNERS + index]); }
        }
        workgroupBarrier();
    }
}
// ANCHOR_END: slices

// The invocation's rows of four columns are numbered block by block.
fn place(t: vec3<u32>, i: u32) -> vec2<u32> {
    return vec2<u32>(4u * (t.y + i / 4u * DOWN) + i % 4u, 4u * t.x);
}

fn sum(i: u32) -> vec4<f32> {
    switch i {
        case 0u: { return sum0; }
        case 1u: { return sum1; }
        case 2u: { return sum2; }
        case 3u: { return sum3; }
        case 4u: { return below0; }
        case 5u: { return below1; }
        case 6u: { return below2; }
        default: { return below3; }
    }
}

fn add(i: u32, four: vec4<f32>) {
    switch i {
        case 0u: { sum0 += four; }
        case 1u: { sum1 += four; }
        case 2u: { sum2 += four; }
        case 3u: { sum3 += four; }
        case 4u: { below0 += four; }
        case 5u: { below1 += four; }
        case 6u: { below2 += four; }
        default: { below3 += four; }
    }
}
