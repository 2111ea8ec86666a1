// What the parts of the page share: the worker, the run, and how something is said to the reader.

import { Host, Replaced } from './host.js';
import { byId, make } from './dom.js';

const search = new URLSearchParams(location.search);

/** Tests of the page ask for a stand-in engine with ?mock, those of the engine for a software adapter. */
export const host = new Host(search.has('mock') ? location.search : '');
export const firstDevice = search.get('device') ?? 'auto';

/** @type {{ catalogue: any, data: any, run: any, training: boolean, step: number }} */
export const studio = { catalogue: null, data: null, run: null, training: false, step: 0 };

/** Events: `run` (a run began or was opened), `data`, `training`, `moved` (the parameters have changed), `tab`. */
export const events = new EventTarget();

/** @param {string} name @param {any} [detail] */
export function emit(name, detail) {
    events.dispatchEvent(new CustomEvent(name, { detail }));
}

/** @param {string} name @param {(detail: any) => void} listener */
export function on(name, listener) {
    events.addEventListener(name, (event) => listener(/** @type {CustomEvent} */ (event).detail));
}

/** Says something in passing: at the foot of the page, and to screen readers. @param {string} sentence */
export function say(sentence) {
    byId('status').textContent = sentence;
}

/** Says what the reader should not miss, at the head of the page, until it is closed. @param {any} what */
export function warn(what) {
    const sentence = String(what?.message ?? what);
    const close = make('button', { type: 'button', 'aria-label': 'Close this message', text: '×', click: quiet });
    byId('banner').replaceChildren(make('div', { class: 'banner' }, make('p', { text: sentence }), close));
}

export function quiet() {
    byId('banner').replaceChildren();
}

/**
 * Does something that may fail; a failure is said on the page. Returns undefined then.
 * @template T
 * @param {() => Promise<T>} work
 */
export async function attempt(work) {
    try {
        return await work();
    } catch (error) {
        if (!(error instanceof Replaced)) warn(error);
        return undefined;
    }
}

/** The class names of the data, or numbers where there are none. @param {number} k */
export function className(k) {
    return studio.data?.class_names?.[k] ?? String(k);
}

/** Which part of the page is in front. */
export function shown() {
    return byId('panels').querySelector('[role=tabpanel]:not([hidden])').id;
}
