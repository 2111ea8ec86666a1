// Light colouring of WGSL and Rust: comments, numbers, attributes, keywords and types.

const WORDS = new Set(('fn let var const override struct if else for while loop break continue return switch case ' +
    'default enable pub mut in use impl match as ref move true false self').split(' '));
const TYPES = /^(f32|u32|i32|f64|u64|usize|f16|bool|vec[234].*|mat[234]x[234].*|array|atomic|ptr|[A-Z]\w*[a-z]\w*)$/;
const TOKENS = new RegExp([
    /(\/\/[^\n]*)/, /(@\w+|#\[[^\]\n]*\])/,
    /\b(0x[0-9a-fA-F]+|\d[\d_]*(?:\.\d+)?(?:e[-+]?\d+)?(?:[iuf]\d*)?)\b/, /(\w+)/,
].map((each) => each.source).join('|'), 'g');

/** Puts coloured code into an element. @param {HTMLElement} into @param {string} code */
export function colour(into, code) {
    into.replaceChildren();
    let done = 0;
    for (const match of code.matchAll(TOKENS)) {
        const [text, comment, attribute, digits, word] = match;
        const kind = comment ? 'comment' : attribute ? 'attribute' : digits ? 'number' :
            WORDS.has(word) ? 'word' : TYPES.test(word) ? 'type' : '';
        if (!kind) continue;
        into.append(code.slice(done, match.index));
        const span = document.createElement('span');
        span.className = `code-${kind}`;
        span.textContent = text;
        into.append(span);
        done = match.index + text.length;
    }
    into.append(code.slice(done));
}
