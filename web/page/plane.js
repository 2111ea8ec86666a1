// A latent plane on a canvas: test pictures as dots in the colours of their classes.

import { fitted, grid, ticks } from './axes.js';
import { classColour, classColours, themed } from './colours.js';
import { make } from './dom.js';
import { known } from './points.js';
import { className, studio } from './studio.js';

/** Half the side of the plane, so that nearly all dots are on it. */
export function reach() {
    const mean = known()?.mean;
    if (!mean?.length) return 3;
    const sizes = Float32Array.from(mean, Math.abs).sort();
    return Math.max(3, Math.min(30, Math.ceil(sizes[Math.floor(0.995 * (sizes.length - 1))] * 2) / 2));
}

/** Where the plane is on its canvas. @param {HTMLElement} canvas */
export function frame(canvas) {
    const box = { left: 34, top: 8, right: canvas.clientWidth - 8, bottom: canvas.clientHeight - 26 };
    const r = reach();
    return {
        box, r,
        toX: (/** @type {number} */ v) => box.left + (box.right - box.left) * (v + r) / (2 * r),
        toY: (/** @type {number} */ v) => box.bottom + (box.top - box.bottom) * (v + r) / (2 * r),
        fromX: (/** @type {number} */ x) => (x - box.left) / (box.right - box.left) * 2 * r - r,
        fromY: (/** @type {number} */ y) => (y - box.bottom) / (box.top - box.bottom) * 2 * r - r,
    };
}

/**
 * Draws the plane, then what `over` adds.
 * @param {HTMLCanvasElement} canvas
 * @param {number | null} only the class that the legend has singled out
 * @param {(context: CanvasRenderingContext2D, place: ReturnType<typeof frame>) => void} over
 */
export function drawPlane(canvas, only, over) {
    const { context, width } = fitted(canvas);
    if (!width) return;
    const place = frame(canvas);
    const marks = ticks(-place.r, place.r, 6);
    grid(context, place.box, { x: marks, y: marks, toX: place.toX, toY: place.toY });
    const points = known();
    context.save();
    context.beginPath();
    context.rect(place.box.left, place.box.top, place.box.right - place.box.left, place.box.bottom - place.box.top);
    context.clip();
    const labelled = points && points.labels.length * 2 === points.mean.length;
    const colours = classColours();
    const plain = themed('accent');
    // In two rounds, so that the class that is singled out lies above the others.
    for (const front of [false, true]) {
        for (let n = 0; points && n * 2 < points.mean.length; n++) {
            const label = labelled ? points.labels[n] : -1;
            if ((only === null || label === only) !== front) continue;
            context.globalAlpha = front ? 0.8 : 0.12;
            context.fillStyle = label >= 0 ? colours[label % colours.length] : plain;
            context.beginPath();
            context.arc(place.toX(points.mean[2 * n]), place.toY(points.mean[2 * n + 1]), 2.6, 0, 7);
            context.fill();
        }
    }
    context.globalAlpha = 1;
    over(context, place);
    context.restore();
}

/** A cross where z is, seen on any ground. */
export function cross(/** @type {CanvasRenderingContext2D} */ context, /** @type {number} */ x,
    /** @type {number} */ y) {
    for (const [colour, wide] of [[themed('card'), 5], [themed('ink'), 2]]) {
        context.strokeStyle = String(colour);
        context.lineWidth = Number(wide);
        context.beginPath();
        context.arc(x, y, 7, 0, 7);
        for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
            context.moveTo(x + 7 * dx, y + 7 * dy);
            context.lineTo(x + 13 * dx, y + 13 * dy);
        }
        context.stroke();
    }
}

/**
 * A legend of the classes; a click singles one out, another brings all back.
 * @param {HTMLElement} list
 * @param {(only: number | null) => void} chosen
 */
export function classLegend(list, chosen) {
    const classes = Math.min(studio.data?.classes ?? 0, 40);
    /** @type {number | null} */ let only = null;
    const buttons = [...Array(classes).keys()].map((k) => make('button', {
        type: 'button', 'aria-pressed': 'false', click: () => {
            only = only === k ? null : k;
            buttons.forEach((button, each) => button.setAttribute('aria-pressed', String(each === only)));
            list.classList.toggle('one', only !== null);
            chosen(only);
        },
    }, make('i', { style: `background: ${classColour(k)}` }), className(k)));
    list.classList.remove('one');
    list.replaceChildren(...buttons.map((button) => make('li', {}, button)));
}
