// The losses of the test pictures as a histogram, with a mark where another picture's lies.

import { fitted, grid, ticks } from './axes.js';
import { themed } from './colours.js';
import { number } from './dom.js';

const BINS = 48;

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Float32Array} losses
 * @param {number} mark
 * @returns {string} what is seen, in a sentence
 */
export function drawHistogram(canvas, losses, mark) {
    const { context, width, height } = fitted(canvas);
    if (!width || !losses.length) return '';
    const sorted = losses.slice().sort();
    const at = (/** @type {number} */ share) => sorted[Math.floor(share * (sorted.length - 1))];
    // A few strange pictures must not press all others together; a mark far outside is drawn at the edge.
    const spread = Math.max(at(0.995) - at(0.005), 1e-6);
    const from = Math.max(Math.min(at(0.005), mark), at(0.005) - spread) - 0.03 * spread;
    const to = Math.min(Math.max(at(0.995), mark), at(0.995) + spread) + 0.03 * spread;
    const bins = new Uint32Array(BINS);
    for (const loss of losses) {
        const k = Math.floor((loss - from) / (to - from) * BINS);
        if (k >= 0 && k < BINS) bins[k] += 1;
    }
    const box = { left: 44, top: 14, right: width - 10, bottom: height - 28 };
    const most = Math.max(...bins);
    const toX = (/** @type {number} */ v) => box.left + (box.right - box.left) * (v - from) / (to - from);
    const toY = (/** @type {number} */ v) => box.bottom + (box.top - box.bottom) * v / most;
    grid(context, box, { x: ticks(from, to, width / 90), y: ticks(0, most, 3), toX, toY });
    context.fillStyle = themed('line-1');
    const wide = (box.right - box.left) / BINS;
    bins.forEach((n, k) => context.fillRect(box.left + k * wide + 0.5, toY(n), wide - 1, box.bottom - toY(n)));
    const x = Math.min(Math.max(toX(mark), box.left), box.right);
    context.strokeStyle = context.fillStyle = themed('mark');
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x, box.bottom);
    context.lineTo(x, box.top);
    context.stroke();
    context.beginPath();
    context.moveTo(x - 6, box.top - 8);
    context.lineTo(x + 6, box.top - 8);
    context.lineTo(x, box.top + 1);
    context.fill();
    const below = sorted.filter((loss) => loss < mark).length / sorted.length;
    const said = `Its loss is ${number(mark)} nats. ${Math.round(100 * below)} % of ${losses.length} test pictures ` +
        'have less.';
    canvas.setAttribute('aria-label', `Histogram of the test pictures' losses, most between ${number(at(0.05))} and ` +
        `${number(at(0.95))} nats. ${said}`);
    return said;
}
