// Pictures on a canvas: (N,C,H,W) numbers from 0 to 1, as the engine gives them.

/** Writes picture n of `values` into an ImageData's bytes at a place. */
function write(/** @type {ImageData} */ image, /** @type {ArrayLike<number>} */ values, /** @type {number} */ n,
    /** @type {number[]} */ [channels, height, width], /** @type {number} */ left, /** @type {number} */ top) {
    const plane = height * width;
    const from = n * channels * plane;
    for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
            const at = ((top + y) * image.width + left + x) * 4;
            for (let c = 0; c < 3; c++) {
                // Grey has one channel for all three; two-channel pictures show what they have.
                const value = values[from + Math.min(c, channels - 1) * plane + y * width + x];
                image.data[at + c] = 255 * value;
            }
            image.data[at + 3] = 255;
        }
    }
}

/**
 * A grid of pictures, row by row. The canvas has a pixel for a pixel, and is shown at a whole multiple where that fits.
 * @param {HTMLCanvasElement} canvas
 * @param {ArrayLike<number>[]} rows each row's pictures, one after the other
 * @param {number[]} shape [C,H,W]
 * @param {number} columns
 */
export function drawRows(canvas, rows, shape, columns) {
    const [channels, height, width] = shape;
    const size = channels * height * width;
    const gap = 2;
    const full = columns * (width + gap) - gap;
    canvas.width = full;
    canvas.height = Math.max(1, rows.length * (height + gap) - gap);
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    const image = context.createImageData(canvas.width, canvas.height);
    rows.forEach((row, y) => {
        const count = Math.min(columns, Math.floor(row.length / size));
        for (let n = 0; n < count; n++) write(image, row, n, shape, n * (width + gap), y * (height + gap));
    });
    context.putImageData(image, 0, 0);
    const times = Math.floor((canvas.parentElement?.clientWidth ?? full) / full);
    canvas.style.width = times >= 1 && !canvas.classList.contains('large') ? `${full * Math.min(times, 6)}px` : '';
}

/** How many pictures fit a row when each is about 60 pixels wide, a whole multiple of its own; at most `most`. */
export function columnsFor(/** @type {HTMLElement} */ canvas, /** @type {number} */ width, /** @type {number} */ most) {
    const room = canvas.parentElement?.clientWidth || 300;
    const times = Math.max(1, Math.round(58 / width));
    return Math.max(3, Math.min(most, Math.floor(room / ((width + 2) * times))));
}

/** Pictures n to m of many, without a copy. @returns {any} */
export function slice(/** @type {any} */ values, /** @type {number[]} */ [c, h, w], /** @type {number} */ from,
    /** @type {number} */ to) {
    return values.subarray(from * c * h * w, to * c * h * w);
}

/** One picture. @param {HTMLCanvasElement} canvas @param {ArrayLike<number>} values @param {number[]} shape */
export function drawOne(canvas, values, shape) {
    drawRows(canvas, [values], shape, 1);
}
