// Products for adapters that run on a CPU and have subgroups of 8. It is appended to the kernels, whose workgroups are one
// subgroup.
//
// Such an adapter loads from storage with a loop over the lanes, some three cycles for each of them and f32, while a
// multiply-add is one instruction for all lanes; so what counts is how many multiply-adds a load serves. In blocks.wgsl
// every lane loads all that it needs. Here the 8 lanes own neighbouring columns, 8 each, of the same 32 rows: a lane loads
// the right operand for its columns and an eighth of the left one for all, and subgroupBroadcast with a constant lane, one
// cheap instruction, hands it around. A load is of eight neighbours as four u64 (words.wgsl): so they come a sixth faster than
// as eight f32. For 8 terms of the sum a lane makes 12 such loads and 2048 multiply-adds; without the broadcasts they
// would be 40.
//
// The sums stay in registers and stack slots only if every index is a constant once the functions are inlined. Mesa does
// not unroll a loop this long, and with a variable index these arrays are memory: five to ten times slower. So what would
// be loops are calls with constants.
//
// Mesa reads a shader anew at every start, even one that it has compiled before, and goes over all of it again as long as it
// finds anything to simplify. So tiles have no branches at their edges: what lies past the end is stored again where the
// last row or column is, with the same numbers. Activations that take a switch are in texts of their own, which have it in a
// loop behind the tile (bends.wgsl). And no loop ends by a comparison with a number that comes from params alone: with
// `k < params.I / 8u` in place of `8u * k < params.I` Mesa tries at the first dispatch what the shader becomes with the
// number put in, and drops it. Without these a start of mnist-mlp takes 0.88 s in place of 0.57, and its first step 0.21 in
// place of 0.06.

// 8 terms of the right operand, for the lane's even columns [0] and its odd ones [1].
var<private> even_terms: array<mat4x4<f32>, 2>;
var<private> odd_terms: array<mat4x4<f32>, 2>;
// sums[r]: row r of the tile, the lane's eight columns. matmul.backward_w has 40, the others 32.
var<private> sums: array<mat2x4<f32>, 40>;

// The right operand where a load is of the lane's columns: of a term each.
fn hold_terms(t0: mat2x4<f32>, t1: mat2x4<f32>, t2: mat2x4<f32>, t3: mat2x4<f32>,
              t4: mat2x4<f32>, t5: mat2x4<f32>, t6: mat2x4<f32>, t7: mat2x4<f32>) {
    even_terms[0] = mat4x4<f32>(t0[0], t2[0], t4[0], t6[0]);
    even_terms[1] = mat4x4<f32>(t0[1], t2[1], t4[1], t6[1]);
    odd_terms[0] = mat4x4<f32>(t1[0], t3[0], t5[0], t7[0]);
    odd_terms[1] = mat4x4<f32>(t1[1], t3[1], t5[1], t7[1]);
}

// The right operand where a load is of 8 terms: of a column each.
fn hold_columns(c0: mat2x4<f32>, c1: mat2x4<f32>, c2: mat2x4<f32>, c3: mat2x4<f32>,
                c4: mat2x4<f32>, c5: mat2x4<f32>, c6: mat2x4<f32>, c7: mat2x4<f32>) {
    even_terms[0] = transpose(mat4x4<f32>(c0[0], c2[0], c4[0], c6[0]));
    even_terms[1] = transpose(mat4x4<f32>(c1[0], c3[0], c5[0], c7[0]));
    odd_terms[0] = transpose(mat4x4<f32>(c0[1], c2[1], c4[1], c6[1]));
    odd_terms[1] = transpose(mat4x4<f32>(c1[1], c3[1], c5[1], c7[1]));
}

// own_rows where rows are side by side in memory, in eights: a lane loads 8 neighbours of a term.
fn own_eights(first: u32, rows: u32) -> vec4<u32> {
    return min(vec4<u32>(first) + vec4<u32>(0u, 8u, 16u, 24u), vec4<u32>(rows - 8u)) / 8u;
}

// The lane's first column, inside the result.
fn own_columns(first: u32, columns: u32) -> u32 { return min(first, columns - 8u); }

// ANCHOR: rows
// Adds eight terms to the sums of a row.
fn multiply_row(row: u32, even: vec4<f32>, odd: vec4<f32>) {
    sums[row][0] += even_terms[0] * even;
    sums[row][0] += odd_terms[0] * odd;
    sums[row][1] += even_terms[1] * even;
    sums[row][1] += odd_terms[1] * odd;
}

// Adds eight terms to 8 rows; lane i holds those of row `first + i`.
fn multiply_rows(first: u32, terms: mat2x4<f32>) {
    multiply_row(first, subgroupBroadcast(terms[0], 0u), subgroupBroadcast(terms[1], 0u));
    multiply_row(first + 1u, subgroupBroadcast(terms[0], 1u), subgroupBroadcast(terms[1], 1u));
    multiply_row(first + 2u, subgroupBroadcast(terms[0], 2u), subgroupBroadcast(terms[1], 2u));
    multiply_row(first + 3u, subgroupBroadcast(terms[0], 3u), subgroupBroadcast(terms[1], 3u));
    multiply_row(first + 4u, subgroupBroadcast(terms[0], 4u), subgroupBroadcast(terms[1], 4u));
    multiply_row(first + 5u, subgroupBroadcast(terms[0], 5u), subgroupBroadcast(terms[1], 5u));
    multiply_row(first + 6u, subgroupBroadcast(terms[0], 6u), subgroupBroadcast(terms[1], 6u));
    multiply_row(first + 7u, subgroupBroadcast(terms[0], 7u), subgroupBroadcast(terms[1], 7u));
}
// ANCHOR_END: rows

// The same where rows are side by side in memory: lane i holds term i of 8 rows, `first` and on.
fn multiply_columns(first: u32, rows: mat2x4<f32>) {
    let even_even = terms_of_even_lanes(rows[0]);
    let even_odd = terms_of_odd_lanes(rows[0]);
    let odd_even = terms_of_even_lanes(rows[1]);
    let odd_odd = terms_of_odd_lanes(rows[1]);
    multiply_row(first, even_even[0], even_odd[0]);
    multiply_row(first + 1u, odd_even[0], odd_odd[0]);
    multiply_row(first + 2u, even_even[1], even_odd[1]);
    multiply_row(first + 3u, odd_even[1], odd_odd[1]);
    multiply_row(first + 4u, even_even[2], even_odd[2]);
    multiply_row(first + 5u, odd_even[2], odd_odd[2]);
    multiply_row(first + 6u, even_even[3], even_odd[3]);
    multiply_row(first + 7u, odd_even[3], odd_odd[3]);
}

// Row by row, the terms that the even lanes hold, and those of the odd ones.
fn terms_of_even_lanes(rows: vec4<f32>) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(subgroupBroadcast(rows, 0u), subgroupBroadcast(rows, 2u),
                                 subgroupBroadcast(rows, 4u), subgroupBroadcast(rows, 6u)));
}

fn terms_of_odd_lanes(rows: vec4<f32>) -> mat4x4<f32> {
    return transpose(mat4x4<f32>(subgroupBroadcast(rows, 1u), subgroupBroadcast(rows, 3u),
                                 subgroupBroadcast(rows, 5u), subgroupBroadcast(rows, 7u)));
}

// The sums over the terms that lanes hold so, in the order of the lanes.
fn sum_of_terms(rows: mat2x4<f32>) -> mat2x4<f32> {
    return mat2x4<f32>(sum_of_lanes(rows[0]), sum_of_lanes(rows[1]));
}

fn sum_of_lanes(rows: vec4<f32>) -> vec4<f32> {
    let low = subgroupBroadcast(rows, 0u) + subgroupBroadcast(rows, 1u) + subgroupBroadcast(rows, 2u)
        + subgroupBroadcast(rows, 3u);
    return low + subgroupBroadcast(rows, 4u) + subgroupBroadcast(rows, 5u) + subgroupBroadcast(rows, 6u)
        + subgroupBroadcast(rows, 7u);
}

// rectifiers.wgsl's rectify4 of eight.
fn rectify(activation: u32, eight: mat2x4<f32>) -> mat2x4<f32> {
    return mat2x4<f32>(rectify4(activation, eight[0]), rectify4(activation, eight[1]));
}
