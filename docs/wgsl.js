// Colours for WGSL, which mdBook's highlighter does not know. Runs after it and does the blocks that it left plain.
if (window.hljs && !hljs.getLanguage("wgsl")) {
    hljs.registerLanguage("wgsl", (hljs) => ({
        name: "WGSL",
        keywords: {
            keyword: "fn let var const override struct if else for while loop break continue return switch case default " +
                "enable",
            type: "f32 u32 i32 bool vec2 vec3 vec4 mat4x4 array atomic ptr",
            built_in: "abs bitcast dot exp exp2 firstLeadingBit floor fma log max min select sqrt storageBarrier " +
                "subgroupAdd transpose workgroupBarrier",
            literal: "true false",
        },
        contains: [
            hljs.C_LINE_COMMENT_MODE,
            { className: "meta", begin: /@\w+/ },
            { className: "number", begin: /\b(0x[0-9a-fA-F]+|\d+(\.\d+)?(e-?\d+)?)[uif]?\b/ },
        ],
    }));
    document.querySelectorAll("code.language-wgsl").forEach((block) => hljs.highlightBlock(block));
}
