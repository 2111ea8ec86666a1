// The Explore tab: a point z in latent space, and what the decoder makes of it.

import { startBetween } from './between.js';
import { byId, make, number, redraw } from './dom.js';
import { latest } from './host.js';
import { drawOne } from './pictures.js';
import { classLegend, cross, drawPlane, frame } from './plane.js';
import { known, order } from './points.js';
import { className, host, on, say, shown, studio } from './studio.js';

const FEW = 16; // sliders shown at first
const FAR = 4; // standard deviations of the prior that a slider reaches

let z = new Float32Array(0);
let label = 0;
let all = false;
/** @type {number | null} */ let only = null;
/** @type {Map<number, any>} the slider of each dimension that has one */ const sliders = new Map();

/** The shape of the model's pictures. @returns {number[]} */
export function shape() {
    return studio.run?.shape ?? studio.data?.shape ?? [1, 28, 28];
}

/** The label that is asked for, n times; none where the model is not told. @param {number} n */
export function labels(n) {
    return studio.run?.classes ? new Uint32Array(n).fill(label) : new Uint32Array(0);
}

/** Whether there is a z to turn. */
export function decodes() {
    const { run } = studio;
    return Boolean(run && run.latent > 0 && (!run.views || run.views.includes('decode')));
}

const decode = latest(async () => {
    if (!decodes()) return;
    try {
        const { pictures } = await host.call('decode', z, labels(1));
        drawOne(byId('decoded'), pictures, shape());
        byId('decoded').setAttribute('aria-label', `The picture that z = ${words(6)} is decoded to`);
    } catch (error) {
        say(String(/** @type {any} */ (error).message));
    }
});

/** z in words, at most so many of its numbers. @param {number} most */
function words(most) {
    const some = [...z.slice(0, most)].map((v) => v.toFixed(2).replace('-', '−')).join(', ');
    return `(${some}${z.length > most ? ', …' : ''})`;
}

/** Goes to a point. @param {ArrayLike<number>} to */
export function goTo(to) {
    z = Float32Array.from(to);
    for (const [d, row] of sliders) row.show(z[d]);
    byId('z-said').textContent = `z = ${words(z.length > 4 ? 6 : 4)}`;
    requestAnimationFrame(plane);
    decode();
}

function plane() {
    if (studio.run?.latent !== 2 || byId('explore').hidden) return;
    drawPlane(byId('plane'), only, (context, place) => cross(context, place.toX(z[0]), place.toY(z[1])));
}

/** Sliders, in the order of what their dimensions say. */
function dims() {
    const kl = known()?.kl;
    const most = kl?.length ? Math.max(...kl, 1e-9) : 1;
    const dims = order();
    const some = all ? dims : dims.slice(0, FEW);
    // The focus stays on its slider when the order changes.
    const held = [...sliders].find(([, row]) => row.element.contains(document.activeElement))?.[0];
    sliders.clear();
    byId('dims').replaceChildren(...some.map((d) => {
        const value = make('output', { text: '0.00' });
        const input = make('input', {
            type: 'range', min: -FAR, max: FAR, step: 0.05, id: `dim-${d}`, 'aria-label': `z ${d + 1}`,
            input: () => {
                const next = z.slice();
                next[d] = Number(input.value);
                goTo(next);
            },
        });
        const nats = kl ? number(kl[d]) : '';
        const element = make('div', { class: 'dim' },
            make('label', { for: `dim-${d}` }, 'z', make('sub', { text: d + 1 })),
            make('span', { class: 'kl', title: `Mean KL ${nats} nats` },
                make('i', { style: `width: ${kl ? Math.max(1, 100 * kl[d] / most) : 0}%` })),
            make('span', { class: 'nats', text: nats }), input, value);
        const show = (/** @type {number} */ v) => {
            input.value = String(v);
            value.textContent = v.toFixed(2).replace('-', '−');
        };
        show(z[d] ?? 0);
        sliders.set(d, { element, input, show });
        return element;
    }));
    if (held !== undefined) sliders.get(held)?.input.focus();
    byId('dims-all').hidden = dims.length <= FEW;
    byId('dims-all').textContent = all ? `First ${FEW}` : `All ${dims.length}`;
    byId('dims-all').setAttribute('aria-expanded', String(all));
}

function classes() {
    const count = studio.run?.classes ?? 0;
    byId('class-buttons').hidden = !count;
    const buttons = [...Array(count).keys()].map((k) => make('button', {
        type: 'button', 'aria-pressed': String(k === label), text: className(k), click: () => {
            label = k;
            buttons.forEach((button, each) => button.setAttribute('aria-pressed', String(each === k)));
            decode();
        },
    }));
    byId('class-buttons').replaceChildren(...buttons);
}

/** A number of the standard normal distribution, by Box and Muller. */
function normal() {
    return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
}

function begun() {
    const { run } = studio;
    const fill = decodes();
    const panel = byId('explore');
    panel.querySelector('.empty').hidden = fill;
    panel.querySelector('.filled').hidden = !fill;
    panel.querySelector('.empty').textContent = 'This model has no latent point that could be chosen and decoded.';
    if (!fill) return;
    byId('plane-card').hidden = run.latent !== 2;
    panel.classList.toggle('planar', run.latent === 2);
    label = 0;
    only = null;
    all = false;
    z = new Float32Array(run.latent);
    classLegend(byId('plane-legend'), (chosen) => {
        only = chosen;
        plane();
    });
    dims();
    classes();
    goTo(z);
}

/** The mouse moves the point; so do the arrow keys, further with Shift. */
function listen() {
    const canvas = byId('plane');
    canvas.addEventListener('pointermove', (/** @type {PointerEvent} */ event) => {
        const { r, fromX, fromY } = frame(canvas);
        const within = (/** @type {number} */ v) => Math.max(-r, Math.min(r, v));
        goTo([within(fromX(event.offsetX)), within(fromY(event.offsetY))]);
    });
    canvas.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
        const step = event.shiftKey ? 0.5 : 0.1;
        const [x, y] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key] ?? [];
        if (x === undefined || y === undefined) return;
        event.preventDefault();
        goTo([z[0] + x * step, z[1] + y * step]);
    });
    byId('random').addEventListener('click', () => goTo(Float32Array.from(z, normal)));
    byId('origin').addEventListener('click', () => goTo(new Float32Array(z.length)));
    byId('dims-all').addEventListener('click', () => {
        all = !all;
        dims();
    });
}

export function startExplore() {
    listen();
    startBetween();
    on('run', begun);
    on('points', () => {
        if (!decodes()) return;
        dims();
        plane();
    });
    on('tab', (id) => id === 'explore' && decodes() && goTo(z));
    // While it trains, the picture follows the parameters.
    let last = 0;
    on('moved', () => {
        if (shown() !== 'explore' || performance.now() - last < 900) return;
        last = performance.now();
        decode();
    });
    redraw(byId('plane'), plane);
}
