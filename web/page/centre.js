// A drawing as MNIST's were prepared: fitted into 20 x 20 of the 28 x 28 pixels, its centre of mass in the middle.

/**
 * @param {HTMLCanvasElement} pad white strokes on black
 * @param {number} height of the result
 * @param {number} width
 * @returns {Float32Array | null} values from 0 to 1, or null of an empty pad
 */
export function centred(pad, height, width) {
    const source = /** @type {any} */ (pad.getContext('2d')).getImageData(0, 0, pad.width, pad.height).data;
    const box = { left: pad.width, right: -1, top: pad.height, bottom: -1 };
    for (let y = 0; y < pad.height; y++) {
        for (let x = 0; x < pad.width; x++) {
            if (source[(y * pad.width + x) * 4] < 32) continue;
            box.left = Math.min(box.left, x);
            box.right = Math.max(box.right, x);
            box.top = Math.min(box.top, y);
            box.bottom = Math.max(box.bottom, y);
        }
    }
    if (box.right < 0) return null;
    const [w, h] = [box.right - box.left + 1, box.bottom - box.top + 1];
    const scale = Math.min(width * 20 / 28 / w, height * 20 / 28 / h);
    /** The drawing at that scale, its box's centre off the middle by (dx, dy). */
    const drawn = (/** @type {number} */ dx, /** @type {number} */ dy) => {
        const canvas = new OffscreenCanvas(width, height);
        const context = /** @type {any} */ (canvas.getContext('2d', { willReadFrequently: true }));
        context.fillStyle = '#000';
        context.fillRect(0, 0, width, height);
        context.imageSmoothingQuality = 'high';
        context.drawImage(pad, box.left, box.top, w, h, (width - w * scale) / 2 + dx, (height - h * scale) / 2 + dy,
            w * scale, h * scale);
        const { data } = context.getImageData(0, 0, width, height);
        return Float32Array.from({ length: width * height }, (_, n) => data[4 * n] / 255);
    };
    const first = drawn(0, 0);
    let [mass, sumX, sumY] = [0, 0, 0];
    first.forEach((value, n) => {
        mass += value;
        sumX += value * (n % width + 0.5);
        sumY += value * (Math.floor(n / width) + 0.5);
    });
    return mass > 0 ? drawn(width / 2 - sumX / mass, height / 2 - sumY / mass) : first;
}
