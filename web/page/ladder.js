// The matmul ladder: every rung timed on this device, as bars.

import { byId, make, number } from './dom.js';
import { attempt, host, say, studio } from './studio.js';

/** @type {{ name: string, about: string, gflops: number }[]} */ let rungs = [];

function show() {
    const most = Math.max(...rungs.map((rung) => rung.gflops), 1e-9);
    byId('rungs').replaceChildren(make('caption', { class: 'unseen', text: 'GFLOP/s of each rung' }),
        make('tbody', {}, ...rungs.map(({ name, about, gflops }) => make('tr', {},
            make('th', { scope: 'row' }, name, make('small', { text: about })),
            make('td', { class: 'bar' }, make('i', { style: `width: ${Math.max(0.5, 100 * gflops / most)}%` })),
            make('td', { class: 'n', text: number(gflops) })))));
}

export function startLadder() {
    const button = byId('ladder');
    button.addEventListener('click', () => attempt(async () => {
        if (!studio.catalogue) return;
        button.disabled = true;
        rungs = [];
        const lacking = [];
        try {
            for (const name of studio.catalogue.ladder) {
                say(`Timing ${name} …`);
                try {
                    rungs.push(await host.call('rung', name));
                    show();
                } catch (error) {
                    // Not every device can run every rung.
                    lacking.push(`${name}: ${/** @type {any} */ (error).message}`);
                    if (!host.worker) throw error;
                }
            }
        } finally {
            button.disabled = false;
        }
        say(lacking.length ? `Not timed: ${lacking.join('; ')}` : `${rungs.length} rungs were timed.`);
    }));
}
