// Pictures of one's own: decoded by the browser, cut to a square in the middle, resized, and sorted into a data set.
//
// As with `--dataset folder`: `train` and `test` or `val` in the folder, or about every tenth is a test picture;
// first-level subfolders are classes.

import { kindOf } from './files.js';

const LARGEST = 64 * 2 ** 20; // bytes of a picture file
const HIDDEN = /(^|\/)(\.|__MACOSX|Thumbs\.db)/; // what systems leave in folders

/**
 * @param {{ file: File, path: string }[]} files
 * @param {number} side
 * @param {number} channels
 * @param {number} most bytes of all pictures
 * @param {(done: number) => void} told
 * @returns {Promise<{ set: any[], refused: { path: string, why: string }[] }>} what `use_pictures` takes
 */
export async function readPhotos(files, side, channels, most, told) {
    const given = files.filter(({ path }) => !HIDDEN.test(path));
    const size = channels * side * side;
    if (given.length * size > most) {
        throw new Error(`${given.length} pictures of ${channels} × ${side} × ${side} do not fit this page; ` +
            'take fewer or a smaller side.');
    }
    const canvas = new OffscreenCanvas(side, side);
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const refused = [];
    const read = [];
    for (const [n, { file, path }] of given.entries()) {
        const pixels = await decode(file, side, channels, context);
        if (typeof pixels === 'string') refused.push({ path, why: pixels });
        else read.push({ path, pixels });
        if (n % 20 === 0) told(n);
    }
    told(files.length);
    if (!read.length) {
        const [first] = refused;
        throw new Error(first ? `${first.path} ${first.why}.` : 'There are no pictures among these files.');
    }
    if (read.length < 2) throw new Error('One picture is too few: the data need one to train and one to test.');
    return { set: sorted(read, side, channels), refused };
}

/** A picture's bytes (C,H,W), or why not. @returns {Promise<Uint8Array | string>} */
async function decode(/** @type {File} */ file, /** @type {number} */ side, /** @type {number} */ channels,
    /** @type {any} */ context) {
    if (file.size > LARGEST) return `has ${Math.round(file.size / 2 ** 20)} MB, and 64 MB is the most for a picture`;
    if (await kindOf(file) === 'other') return 'is not a picture';
    let bitmap;
    try {
        bitmap = await createImageBitmap(file);
    } catch {
        return 'cannot be decoded by this browser';
    }
    const square = Math.min(bitmap.width, bitmap.height);
    context.fillStyle = '#000'; // what is transparent becomes black, as MNIST's ground is
    context.fillRect(0, 0, side, side);
    context.imageSmoothingQuality = 'high';
    const [left, top] = [(bitmap.width - square) / 2, (bitmap.height - square) / 2];
    context.drawImage(bitmap, left, top, square, square, 0, 0, side, side);
    bitmap.close();
    const { data } = context.getImageData(0, 0, side, side);
    const plane = side * side;
    const pixels = new Uint8Array(channels * plane);
    for (let n = 0; n < plane; n++) {
        const [r, g, b] = [data[4 * n], data[4 * n + 1], data[4 * n + 2]];
        if (channels === 1) pixels[n] = Math.round(0.299 * r + 0.587 * g + 0.114 * b);
        else [pixels[n], pixels[plane + n], pixels[2 * plane + n]] = [r, g, b];
    }
    return pixels;
}

/** @param {{ path: string, pixels: Uint8Array }[]} read @param {number} side @param {number} channels */
function sorted(read, side, channels) {
    const paths = read.map(({ path }) => path.split('/').slice(0, -1));
    // The folder itself has a name, which says nothing, if all pictures are in it.
    const root = paths[0][0];
    const inOne = root !== undefined && paths.every((path) => path[0] === root);
    const inside = paths.map((path) => (inOne ? path.slice(1) : path));
    const part = inside.map(([first]) => (/^train(ing)?$/i.test(first ?? '') ? 'train' :
        /^(test|val|valid|validation)$/i.test(first ?? '') ? 'test' : ''));
    const split = part.includes('train') && part.includes('test');
    const classOf = inside.map((path, n) => path[split && part[n] ? 1 : 0] ?? '');
    const names = [...new Set(classOf)].filter(Boolean).sort();
    const labelled = names.length > 1 && names.length <= 256 && classOf.every(Boolean);
    /** @type {Record<string, number[]>} */
    const chosen = { train: [], test: [] };
    read.forEach((_, n) => {
        // Every tenth, and the last of a few: there is always one to test.
        const tested = split ? part[n] === 'test' : n % 10 === 9 || (read.length < 10 && n === read.length - 1);
        chosen[tested ? 'test' : 'train'].push(n);
    });
    const pixels = (/** @type {number[]} */ which) => {
        const all = new Uint8Array(which.length * channels * side * side);
        which.forEach((n, at) => all.set(read[n].pixels, at * channels * side * side));
        return all;
    };
    const labels = (/** @type {number[]} */ which) =>
        Uint8Array.from(labelled ? which.map((n) => names.indexOf(classOf[n])) : []);
    return [inOne ? root : 'pictures', pixels(chosen.train), pixels(chosen.test), labels(chosen.train),
        labels(chosen.test), labelled ? names : [], channels, side, side];
}
