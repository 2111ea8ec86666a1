// What charts share: a canvas as sharp as the screen, and axes with round numbers.

import { themed } from './colours.js';

/**
 * Fits a canvas's pixels to its size on the screen.
 * @param {HTMLCanvasElement} canvas
 * @returns {{ context: CanvasRenderingContext2D, width: number, height: number }} in CSS pixels
 */
export function fitted(canvas) {
    const { clientWidth: width, clientHeight: height } = canvas;
    const dense = Math.min(devicePixelRatio || 1, 3);
    if (canvas.width !== Math.round(width * dense) || canvas.height !== Math.round(height * dense)) {
        canvas.width = Math.round(width * dense);
        canvas.height = Math.round(height * dense);
    }
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext('2d'));
    context.setTransform(dense, 0, 0, dense, 0, 0);
    context.clearRect(0, 0, width, height);
    context.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    return { context, width, height };
}

/**
 * Round numbers in [from, to], about `wanted` of them.
 * @param {number} from
 * @param {number} to
 * @param {number} wanted
 */
export function ticks(from, to, wanted) {
    const rough = (to - from) / Math.max(1, wanted);
    if (!(rough > 0)) return [];
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough) ?? rough;
    const all = [];
    for (let k = Math.ceil(from / step - 1e-9); k * step <= to + step * 1e-9; k++) all.push(k * step + 0); // + 0: no -0
    return all;
}

/** Round numbers for a logarithmic axis: 1, 2 and 5 of each power of ten. @param {number} from @param {number} to */
export function logTicks(from, to) {
    const all = [];
    for (let p = Math.floor(Math.log10(from)); p <= Math.log10(to); p++) {
        for (const m of [1, 2, 5]) if (m * 10 ** p >= from && m * 10 ** p <= to) all.push(m * 10 ** p);
    }
    return all;
}

/** 100000 as 100k: short enough to stand under an axis. @param {number} x */
export function short(x) {
    const size = Math.abs(x);
    if (size >= 1e6) return `${Number((x / 1e6).toFixed(2))}M`;
    if (size >= 1e4) return `${Number((x / 1e3).toFixed(1))}k`;
    return String(Number(x.toPrecision(6)));
}

/**
 * Draws an axis's lines and numbers.
 * @param {CanvasRenderingContext2D} context
 * @param {{ left: number, right: number, top: number, bottom: number }} box
 * @param {{ x: number[], y: number[], toX: (v: number) => number, toY: (v: number) => number }} scale
 */
export function grid(context, box, { x, y, toX, toY }) {
    context.strokeStyle = themed('rule');
    context.fillStyle = themed('faint');
    context.lineWidth = 1;
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    context.beginPath();
    for (const value of y) {
        const at = Math.round(toY(value)) + 0.5;
        context.moveTo(box.left, at);
        context.lineTo(box.right, at);
        context.fillText(short(value), box.left - 8, at);
    }
    context.textAlign = 'center';
    context.textBaseline = 'top';
    for (const value of x) {
        const at = Math.round(toX(value)) + 0.5;
        context.moveTo(at, box.bottom);
        context.lineTo(at, box.bottom + 4);
        context.fillText(short(value), at, box.bottom + 8);
    }
    context.moveTo(box.left, box.bottom + 0.5);
    context.lineTo(box.right, box.bottom + 0.5);
    context.stroke();
}
