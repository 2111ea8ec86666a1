// The Draw tab: a picture by hand, and all that the model says of it.

import { fitted, grid, ticks } from './axes.js';
import { centred } from './centre.js';
import { heat, themed } from './colours.js';
import { byId, make, number, redraw } from './dom.js';
import { decodes, shape } from './explore.js';
import { drawHistogram } from './histogram.js';
import { latest } from './host.js';
import { drawOne } from './pictures.js';
import { classLegend, drawPlane } from './plane.js';
import { known, order } from './points.js';
import { className, host, on, say, shown, studio } from './studio.js';

const pad = byId('pad');
const ink = pad.getContext('2d', { willReadFrequently: true });
/** The picture that is looked at. @type {Float32Array | null} */ let x = null;
/** @type {any} what the model says of it */ let seen = null;
/** @type {number | null} */ let only = null;
let taken = 0; // test pictures so far

function wipe() {
    ink.fillStyle = '#000';
    ink.fillRect(0, 0, pad.width, pad.height);
    x = seen = null;
    byId('draw').classList.add('blank');
}

/** Strokes follow the pointer. */
function listen() {
    /** @type {{ x: number, y: number } | null} */ let last = null;
    const place = (/** @type {PointerEvent} */ event) => ({
        x: event.offsetX * pad.width / pad.clientWidth, y: event.offsetY * pad.height / pad.clientHeight,
    });
    const stroke = (/** @type {PointerEvent} */ event) => {
        const to = place(event);
        Object.assign(ink, { strokeStyle: '#fff', lineWidth: 22, lineCap: 'round', lineJoin: 'round' });
        ink.beginPath();
        ink.moveTo(last?.x ?? to.x, last?.y ?? to.y);
        ink.lineTo(to.x, to.y);
        ink.stroke();
        last = to;
        look();
    };
    pad.addEventListener('pointerdown', (/** @type {PointerEvent} */ event) => {
        if (!x || seen?.given) wipe();
        pad.setPointerCapture(event.pointerId);
        stroke(event);
    });
    pad.addEventListener('pointermove', (/** @type {PointerEvent} */ event) => {
        if (last) stroke(event);
    });
    for (const end of ['pointerup', 'pointercancel']) pad.addEventListener(end, () => { last = null; });
    byId('wipe').addEventListener('click', () => {
        wipe();
        say('The pad is empty.');
    });
    byId('take').addEventListener('click', take);
    byId('draw-class').addEventListener('change', () => ask());
}

/** The next test picture, instead of a drawing. */
async function take() {
    try {
        const which = taken % Math.min(500, studio.data?.test || 500);
        const { pictures, labels } = await host.call('test_pictures', which, 1);
        const name = labels.length ? `, ${className(labels[0])}` : '';
        say(`Test picture ${which + 1}${name}.`);
        taken += 1;
        wipe();
        // On the pad too, so that one sees what was taken.
        const small = make('canvas');
        drawOne(small, pictures, shape());
        ink.imageSmoothingEnabled = false;
        ink.drawImage(small, 0, 0, pad.width, pad.height);
        if (labels.length && studio.run.classes) byId('draw-class').value = String(labels[0]);
        x = pictures;
        seen = { given: true };
        ask();
    } catch (error) {
        say(String(/** @type {any} */ (error).message));
    }
}

/** The drawing has changed. */
function look() {
    const [channels, height, width] = shape();
    const grey = centred(pad, height, width);
    if (!grey) return;
    x = new Float32Array(channels * height * width);
    for (let c = 0; c < channels; c++) x.set(grey, c * height * width);
    ask();
}

/** Asks the model. What it says is drawn when all of it is there. */
const ask = latest(async () => {
    if (!x || !studio.run) return;
    const given = seen?.given;
    const now = x;
    const told = studio.run.classes ? Uint32Array.of(Number(byId('draw-class').value)) : new Uint32Array(0);
    try {
        const { mean, logvar } = await host.call('encode', now, told);
        const { pictures } = await host.call('decode', mean, told);
        const loss = await host.call('loss', now, told);
        if (!x) return; // the pad was cleared meanwhile
        seen = { given, mean, logvar, loss, picture: pictures, x: now };
        requestAnimationFrame(show);
    } catch (error) {
        say(String(/** @type {any} */ (error).message));
    }
});

function show() {
    if (!seen?.loss || byId('draw').hidden) return;
    byId('draw').classList.remove('blank');
    const { loss, picture } = seen;
    drawOne(byId('centred'), seen.x, shape());
    drawOne(byId('redrawn'), picture, shape());
    showSurprise(loss.pixels);
    const terms = [['loss', loss.total], ...(studio.run.terms ?? []).map((/** @type {any} */ term,
        /** @type {number} */ n) => [term.name, loss.terms[n]])];
    byId('draw-terms').replaceChildren(...terms.filter(([, value]) => value !== undefined).map(([name, value]) =>
        make('div', {}, make('dt', { text: name }), make('dd', { text: number(value) }))));
    const losses = known()?.losses;
    if (losses?.length) byId('histogram-said').textContent = drawHistogram(byId('histogram'), losses, loss.total);
    showPosterior();
}

/** -log p of each pixel, summed over its channels, as heat. @param {Float32Array} pixels */
function showSurprise(pixels) {
    const [channels, height, width] = shape();
    const plane = height * width;
    const nats = new Float32Array(plane);
    for (let n = 0; n < channels * plane; n++) nats[n % plane] += pixels[n];
    const [least, most] = [Math.min(...nats), Math.max(...nats)];
    const colours = new Float32Array(3 * plane);
    nats.forEach((value, n) => heat((value - least) / Math.max(most - least, 1e-9)).forEach((c, k) => {
        colours[k * plane + n] = c / 255;
    }));
    drawOne(byId('surprise'), colours, [3, height, width]);
    byId('surprise-said').textContent = `-log p from ${number(least)}, dark, to ${number(most)} nats a pixel, bright.`;
}

function showPosterior() {
    const { mean, logvar } = seen ?? {};
    const canvas = byId('posterior');
    const spread = logvar ? Array.from(logvar, (/** @type {number} */ v) => Math.exp(v / 2)) : [];
    if (studio.run.latent === 2) {
        drawPlane(canvas, only, (context, place) => {
            if (mean) ellipse(context, place, mean, spread);
        });
        if (mean) {
            canvas.setAttribute('aria-label', `q(z|x): mean (${number(mean[0])}, ${number(mean[1])}), standard ` +
                `deviations ${number(spread[0])} and ${number(spread[1])}`);
        }
    } else if (mean) {
        bars(canvas, mean, spread);
    }
}

/** One and two standard deviations. */
function ellipse(/** @type {CanvasRenderingContext2D} */ context, /** @type {any} */ { toX, toY },
    /** @type {Float32Array} */ mean, /** @type {number[]} */ spread) {
    const [x0, y0] = [toX(mean[0]), toY(mean[1])];
    context.strokeStyle = context.fillStyle = themed('ink');
    for (const times of [1, 2]) {
        context.lineWidth = times === 1 ? 2 : 1;
        context.beginPath();
        context.ellipse(x0, y0, Math.max(2, times * (toX(spread[0]) - toX(0))),
            Math.max(2, times * (toY(0) - toY(spread[1]))), 0, 0, 7);
        context.stroke();
    }
    context.beginPath();
    context.arc(x0, y0, 3, 0, 7);
    context.fill();
}

/** Mean and standard deviation of each dimension, those that say most first. */
function bars(/** @type {HTMLCanvasElement} */ canvas, /** @type {Float32Array} */ mean,
    /** @type {number[]} */ spread) {
    const { context, width, height } = fitted(canvas);
    const dims = order().slice(0, 40);
    const reach = Math.max(3, ...dims.map((d) => Math.abs(mean[d]) + spread[d])) * 1.05;
    const box = { left: 34, top: 8, right: width - 8, bottom: height - 26 };
    const toX = (/** @type {number} */ v) => box.left + (box.right - box.left) * (v + reach) / (2 * reach);
    const toY = (/** @type {number} */ row) => box.top + (box.bottom - box.top) * (row + 0.5) / dims.length;
    grid(context, box, { x: ticks(-reach, reach, 6), y: [], toX, toY });
    context.textAlign = 'right';
    context.textBaseline = 'middle';
    const thick = Math.min(7, 0.6 * (box.bottom - box.top) / dims.length);
    dims.forEach((d, row) => {
        context.fillStyle = themed('faint');
        if (dims.length <= 24) context.fillText(`z${d + 1}`, box.left - 6, toY(row));
        context.fillStyle = themed('line-1');
        context.globalAlpha = 0.35;
        context.fillRect(toX(mean[d] - spread[d]), toY(row) - thick / 2, toX(2 * spread[d]) - toX(0), thick);
        context.globalAlpha = 1;
        context.beginPath();
        context.arc(toX(mean[d]), toY(row), Math.min(3.5, thick / 2 + 1), 0, 7);
        context.fill();
    });
    canvas.setAttribute('aria-label', `q(z|x): mean and standard deviation of ${dims.length} dimensions. First: ` +
        dims.slice(0, 4).map((d) => `z${d + 1} ${number(mean[d])} ± ${number(spread[d])}`).join(', '));
}

function begun() {
    const { run } = studio;
    const able = decodes() && (!run.views || run.views.includes('encode'));
    const panel = byId('draw');
    panel.querySelector('.empty').hidden = able;
    panel.querySelector('.empty').textContent = 'This model has no encoder of pictures, so it can see no drawing.';
    panel.querySelector('.filled').hidden = !able;
    byId('draw-class-label').hidden = !run.classes;
    byId('draw-class').replaceChildren(...[...Array(run.classes ?? 0).keys()].map((k) =>
        make('option', { value: k, text: className(k) })));
    only = null;
    byId('posterior-legend').replaceChildren();
    if (run.latent === 2) {
        classLegend(byId('posterior-legend'), (chosen) => {
            only = chosen;
            showPosterior();
        });
    }
    // A drawing stays if the new model has pictures of that size.
    if (x && x.length !== shape().reduce((a, b) => a * b, 1)) wipe();
    if (able) ask();
}

export function startDraw() {
    wipe();
    listen();
    on('run', begun);
    on('points', () => {
        if (shown() !== 'draw' || !studio.run) return;
        if (x) ask();
        else showPosterior();
    });
    on('tab', (id) => {
        if (id !== 'draw' || !studio.run) return;
        if (x) ask();
        else requestAnimationFrame(showPosterior);
    });
    redraw(byId('histogram'), show);
    redraw(byId('posterior'), () => studio.run && showPosterior());
}
