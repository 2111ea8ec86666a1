// The test pictures as the model encodes them: fetched again when the model has changed and somebody looks.

import { emit, host, on, say, shown, studio } from './studio.js';

/**
 * @typedef {{ mean: Float32Array, logvar: Float32Array, labels: Uint8Array, kl: Float32Array,
 *     losses: Float32Array }} Points
 */

/** @type {Points | null} */ let points = null;
let fresh = false;
let busy = false;

/** The last that are known. */
export function known() {
    return points;
}

/** Fetches them, if a part of the page that shows them is in front. The event `points` tells of new ones. */
async function look() {
    if (busy || fresh || !studio.run || !['explore', 'draw'].includes(shown())) return;
    busy = fresh = true;
    const { run } = studio;
    try {
        const found = await host.call('points');
        if (run === studio.run) points = found;
    } catch (error) {
        // Models without an encoder of pictures have none; what else they have can still be explored.
        say(String(/** @type {any} */ (error).message));
    }
    busy = false;
    emit('points');
    // A run may have begun meanwhile.
    if (run !== studio.run) look();
}

export function startPoints() {
    const stale = () => {
        fresh = false;
        look();
    };
    on('run', () => {
        points = null;
        stale();
    });
    on('epoch', stale);
    on('training', () => studio.training || stale());
    on('tab', look);
}

/** Dimensions, those that say most first. @returns {number[]} */
export function order() {
    const all = [...Array(studio.run?.latent ?? 0).keys()];
    const kl = points?.kl;
    return kl?.length === all.length ? all.sort((a, b) => kl[b] - kl[a]) : all;
}
