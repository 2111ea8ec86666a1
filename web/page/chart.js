// The chart of the loss of every batch: the total and each term, and the test loss of each epoch as dots.

import { fitted, grid, logTicks, ticks } from './axes.js';
import { lineColour, themed } from './colours.js';
import { byId, count, make, number, redraw } from './dom.js';
import { Series } from './series.js';

const canvas = byId('chart');
const box = { left: 56, top: 12, right: 0, bottom: 0 };

let series = new Series(1);
/** @type {string[]} */ let names = ['total'];
/** @type {{ epoch: number, batch: number, total: number }[]} */ let tests = [];
/** @type {Set<number>} lines that the reader put out of sight */ const hidden = new Set();
/** @type {number | null} the bucket under the pointer */ let pointed = null;
let asked = false;
let drawn = 0;

/**
 * A run begins, or goes on from an earlier batch.
 * @param {{ name: string, help: string }[]} terms
 * @param {number} first the batch that it begins with
 * @param {boolean} goesOn
 */
export function resetChart(terms, first, goesOn) {
    if (goesOn && names.length === terms.length + 1) {
        series.cut(first - series.first);
        tests = tests.filter(({ batch }) => batch <= first);
        return drawChart();
    }
    names = ['total', ...terms.map((term) => term.name)];
    series = new Series(names.length);
    series.first = first;
    tests = [];
    hidden.clear();
    pointed = null;
    // Every name is a button that takes its line out of sight, so that the others have the axis to themselves.
    byId('chart-legend').replaceChildren(...names.map((name, line) => make('li', {}, make('button', {
        type: 'button', 'aria-pressed': 'true',
        title: line ? terms[line - 1].help : 'Their weighed sum, which is minimised',
        click: (/** @type {any} */ event) => {
            if (!hidden.delete(line)) hidden.add(line);
            event.currentTarget.setAttribute('aria-pressed', String(!hidden.has(line)));
            drawChart();
        },
    }, make('i', { style: `background: var(--line-${line % 6})` }), name))),
    make('li', {}, make('span', {}, make('i', { class: 'dot' }), 'test, each epoch')));
    drawChart();
}

/** @param {number[]} total @param {number[][]} terms of each new batch */
export function addLosses(total, terms) {
    total.forEach((value, n) => series.push([value, ...terms[n]]));
    soon();
}

/** @param {number} epoch @param {number} batch @param {number} value */
export function addTest(epoch, batch, value) {
    tests.push({ epoch, batch, total: value });
    soon();
}

/** Draws with the next frame, at most five times a second. */
function soon() {
    if (asked) return;
    asked = true;
    setTimeout(() => requestAnimationFrame(drawChart), Math.max(0, drawn + 200 - performance.now()));
}

/** The range of values to show. The first few batches, far above the rest, may leave the top. */
function range() {
    let [least, most] = [Infinity, -Infinity];
    const skip = series.used > 40 ? Math.floor(series.used / 20) : 0;
    for (let line = 0; line < names.length; line++) {
        if (hidden.has(line)) continue;
        for (let k = 0; k < series.used; k++) {
            const mean = series.mean(k, line);
            least = Math.min(least, mean);
            if (k >= skip) most = Math.max(most, mean);
        }
    }
    if (!hidden.has(0)) for (const { total } of tests) [least, most] = [Math.min(least, total), Math.max(most, total)];
    const log = byId('log').checked && least > 0;
    if (!log && least > 0) least = least < 0.6 * most ? 0 : least - 0.1 * (most - least);
    if (least === most) [least, most] = [least - 1, most + 1];
    return { log, least, most: log ? most * 1.1 : most + 0.06 * (most - least) };
}

export function drawChart() {
    asked = false;
    drawn = performance.now();
    const { context, width, height } = fitted(canvas);
    if (!width || !series.used) return;
    box.right = width - 12;
    box.bottom = height - 30;
    const { log, least, most } = range();
    const end = Math.max(series.first + series.count, ...tests.map((test) => test.batch), series.first + 10);
    const { first } = series;
    const toX = (/** @type {number} */ b) => box.left + (box.right - box.left) * (b - first) / (end - first);
    const share = log ? (/** @type {number} */ v) => Math.log(Math.max(v, 1e-9) / least) / Math.log(most / least) :
        (/** @type {number} */ v) => (v - least) / (most - least);
    const toY = (/** @type {number} */ v) => box.bottom + (box.top - box.bottom) * share(v);
    grid(context, box, {
        x: ticks(series.first, end, width / 110), toX,
        y: log ? logTicks(least, most) : ticks(least, most, height / 60), toY,
    });
    context.save();
    context.beginPath();
    context.rect(box.left, box.top - 6, box.right - box.left + 6, box.bottom - box.top + 7);
    context.clip();
    for (let line = names.length - 1; line >= 0; line--) if (!hidden.has(line)) drawLine(context, line, toX, toY);
    if (!hidden.has(0)) drawTests(context, toX, toY);
    if (pointed !== null) drawPointed(context, toX, toY);
    context.restore();
    describe();
}

/** @typedef {(v: number) => number} Scale */

/** A line through the means, before a band from the least to the greatest. */
function drawLine(/** @type {CanvasRenderingContext2D} */ context, /** @type {number} */ line, /** @type {Scale} */ toX,
    /** @type {Scale} */ toY) {
    context.strokeStyle = context.fillStyle = lineColour(line);
    context.lineWidth = line === 0 ? 2 : 1.5;
    if (series.size > 1) {
        context.globalAlpha = 0.18;
        context.beginPath();
        const edge = (/** @type {number} */ k, /** @type {Float32Array} */ of) =>
            context.lineTo(toX(series.middle(k)), toY(of[k * series.lines + line]));
        for (let k = 0; k < series.used; k++) edge(k, series.most);
        for (let k = series.used; k-- > 0;) edge(k, series.least);
        context.fill();
        context.globalAlpha = 1;
    }
    context.beginPath();
    for (let k = 0; k < series.used; k++) context.lineTo(toX(series.middle(k)), toY(series.mean(k, line)));
    context.stroke();
}

function drawTests(/** @type {CanvasRenderingContext2D} */ context, /** @type {Scale} */ toX,
    /** @type {Scale} */ toY) {
    context.fillStyle = themed('card');
    context.strokeStyle = lineColour(0);
    context.lineWidth = tests.length > 20 ? 1.5 : 2.5;
    for (const { batch, total } of tests) {
        context.beginPath();
        context.arc(toX(batch), toY(total), tests.length > 20 ? 3 : 5, 0, 7);
        context.fill();
        context.stroke();
    }
}

function drawPointed(/** @type {CanvasRenderingContext2D} */ context, /** @type {Scale} */ toX,
    /** @type {Scale} */ toY) {
    const k = /** @type {number} */ (pointed);
    const x = toX(series.middle(k));
    context.strokeStyle = themed('faint');
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(x, box.top);
    context.lineTo(x, box.bottom);
    context.stroke();
    for (let line = 0; line < names.length; line++) {
        if (hidden.has(line)) continue;
        context.fillStyle = lineColour(line);
        context.beginPath();
        context.arc(x, toY(series.mean(k, line)), 3.5, 0, 7);
        context.fill();
    }
}

/** The values under the pointer, or the last ones, in words. */
function describe() {
    const k = pointed ?? series.used - 1;
    const values = names.map((name, line) => `${name} ${number(series.mean(k, line))}`).join(' · ');
    const from = series.first + k * series.size + 1;
    const to = from + series.held(k) - 1;
    const where = from === to ? `Batch ${count(to)}` : `Batches ${count(from)} to ${count(to)}, mean`;
    byId('chart-values').textContent = `${where}: ${values}`;
    const test = tests.at(-1);
    canvas.setAttribute('aria-label', `Loss of ${count(series.count)} batches. Last: ${values}.` +
        (test ? ` Test loss after epoch ${test.epoch}: ${number(test.total)}.` : ''));
}

/** @param {number | null} k */
function point(k) {
    pointed = k === null || !series.used ? null : Math.min(Math.max(Math.round(k), 0), series.used - 1);
    requestAnimationFrame(drawChart);
}

export function startChart() {
    canvas.addEventListener('pointermove', (/** @type {PointerEvent} */ event) => {
        const share = (event.offsetX - box.left) / Math.max(1, box.right - box.left);
        point(share * series.count / series.size - 0.5);
    });
    canvas.addEventListener('pointerleave', () => point(null));
    canvas.addEventListener('blur', () => point(null));
    canvas.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
        const step = Math.max(1, Math.round(series.used / 50));
        const at = pointed ?? series.used;
        const end = series.used - 1;
        const to = { ArrowLeft: at - step, ArrowRight: at + step, Home: 0, End: end, Escape: null }[event.key];
        if (to === undefined) return;
        event.preventDefault();
        point(to);
    });
    byId('log').addEventListener('change', drawChart);
    redraw(canvas, drawChart);
}
