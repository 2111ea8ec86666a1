// The way from one test picture to another, through latent space.

import { byId, make } from './dom.js';
import { decodes, goTo, labels, shape } from './explore.js';
import { latest } from './host.js';
import { drawOne, drawRows, slice } from './pictures.js';
import { className, host, on, say, shown, studio } from './studio.js';

const STRIP = 20; // test pictures to choose from
const STEPS = 9;

/** @type {{ pictures: Float32Array, labels: Uint8Array } | null} */ let strip = null;
/** The two that are chosen; the next choice replaces the older one. */
let chosen = [0, 1];
/** Their means. @type {Float32Array[]} */
let ends = [];

/** Fetches the strip, once for each run. */
const fetchStrip = latest(async () => {
    const able = decodes() && (!studio.run.views || studio.run.views.includes('encode'));
    byId('between-card').hidden = !able;
    if (!able || strip) return;
    try {
        strip = await host.call('test_pictures', 0, Math.min(STRIP, studio.data?.test || STRIP));
    } catch {
        // A model that was opened without data has no test pictures.
        byId('between-card').hidden = true;
        return;
    }
    const size = shape().reduce((a, b) => a * b, 1);
    const count = Math.floor((strip?.pictures.length ?? 0) / size);
    byId('between-card').hidden = count < 2;
    chosen = [0, Math.min(1, count - 1)];
    byId('strip').replaceChildren(...[...Array(count).keys()].map(option));
    mark();
    await walk();
});

/** @param {number} n */
function option(n) {
    const canvas = make('canvas', { 'aria-hidden': 'true', class: 'pixels' });
    drawOne(canvas, slice(strip?.pictures, shape(), n, n + 1), shape());
    canvas.style.width = '';
    const name = strip?.labels.length ? `, ${className(strip.labels[n])}` : '';
    return make('button', {
        type: 'button', 'aria-label': `Test picture ${n + 1}${name}`, click: () => {
            if (chosen.includes(n)) return;
            chosen = [chosen[1], n];
            mark();
            walk();
        },
    }, canvas, make('b', { 'aria-hidden': 'true' }));
}

function mark() {
    [...byId('strip').children].forEach((button, n) => {
        const at = chosen.indexOf(n);
        button.setAttribute('aria-pressed', String(at >= 0));
        button.querySelector('b').textContent = at >= 0 ? String(at + 1) : '';
    });
}

/** Encodes the two, and decodes what lies between their means. */
const walk = latest(async () => {
    if (!strip) return;
    try {
        ends = [];
        for (const n of chosen) {
            const told = studio.run.classes ? Uint32Array.of(strip.labels[n]) : new Uint32Array(0);
            const { mean } = await host.call('encode', slice(strip.pictures, shape(), n, n + 1).slice(), told);
            ends.push(mean);
        }
        const latent = ends[0].length;
        const way = new Float32Array(STEPS * latent);
        for (let k = 0; k < STEPS; k++) way.set(mix(k / (STEPS - 1)), k * latent);
        const { pictures } = await host.call('decode', way, labels(STEPS));
        drawRows(byId('between'), [pictures], shape(), STEPS);
    } catch (error) {
        say(String(/** @type {any} */ (error).message));
    }
});

/** @param {number} t from 0, the first, to 1, the second */
function mix(t) {
    return ends[0].map((from, d) => from + t * (ends[1][d] - from));
}

export function startBetween() {
    byId('along').addEventListener('input', (/** @type {any} */ event) => {
        if (ends.length === 2) goTo(mix(Number(event.target.value)));
    });
    const look = () => shown() === 'explore' && fetchStrip();
    on('run', () => {
        strip = null;
        ends = [];
        look();
    });
    on('tab', look);
    on('points', () => shown() === 'explore' && walk());
}
