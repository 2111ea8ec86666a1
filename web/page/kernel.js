// One kernel's cases on this device, against the reference: what the guide shows in a frame, kernel.html?name=NAME.

import { byId, count, counted, duration } from './dom.js';
import { Host } from './host.js';

const search = new URLSearchParams(location.search);
const name = search.get('name') ?? '';

/** What came of the cases, in a sentence. @param {any} found @param {string} device @param {number} seconds */
function sentence(found, device, seconds) {
    if (found.lacks) return `${device} cannot run it: it lacks ${found.lacks}.`;
    if (found.failures.length) return `On ${device} it FAILED: ${found.failures.join('; ')}`;
    return `${counted(found.cases, 'case')} on ${device}, ${count(found.elements)} numbers compared with the ` +
        `reference: none failed. The worst used ${(100 * found.worst).toFixed(1)} % of what is accepted. ` +
        `It took ${duration(seconds)}.`;
}

try {
    const host = new Host(search.has('mock') ? '?mock' : '');
    const { description } = await host.open(search.get('device') ?? 'auto');
    byId('formula').textContent = (await host.call('kernel', name)).formula;
    byId('said').textContent = 'Running its cases …';
    const from = performance.now();
    const found = await host.call('check', name);
    byId('said').textContent = sentence(found, description, (performance.now() - from) * 1e-3);
    host.close(new Error('The page has what it asked for.'));
} catch (error) {
    byId('said').textContent = String(/** @type {any} */ (error)?.message ?? error);
}
