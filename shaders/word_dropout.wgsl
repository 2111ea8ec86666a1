// What a decoder is told at each step of a sentence: the word before, of which some are hidden (Bowman et al. 2016,
// 1511.06349), so that the decoder needs what the latent says. Hidden words become `unknown`. Numbers below `words` are
// marks and no words: beginning, end and padding stay.

struct Params { R: u32, B: u32, first: u32, unknown: u32, words: u32, p: f32 }

@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> ids: array<u32>;              // (T,B), R = T B
@group(0) @binding(2) var<storage, read> noise: array<f32>;            // (T,B), uniform in (0,1)
@group(0) @binding(3) var<storage, read_write> told: array<u32>;       // (T,B)

// forward: told[0,b] = first; told[t,b] = ids[t-1,b], or `unknown` where that is a word and noise[t,b] < p.
@compute @workgroup_size(64)
fn forward(@builtin(global_invocation_id) id: vec3<u32>, @builtin(num_workgroups) groups: vec3<u32>) {
    let i = linear_index(id, groups);
    if i >= params.R { return; }
    var word = params.first;
    if i >= params.B { word = ids[i - params.B]; }
    let is_hidden = i >= params.B && word >= params.words && noise[i] < params.p;
    told[i] = select(word, params.unknown, is_hidden);
}
