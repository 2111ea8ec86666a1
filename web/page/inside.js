// The Look inside tab: the recorded training step, and the code of each kernel in it.

import { startCheck } from './check.js';
import { byId, count, duration, make, number } from './dom.js';
import { startLadder } from './ladder.js';
import { attempt, host, on, say, shown, studio } from './studio.js';
import { colour } from './wgsl.js';

/** @type {{ kernel: string, scope: string, shapes: string, flops: number }[]} */ let program = [];
/** Seconds of each dispatch, where they were timed. @type {Float32Array | null} */ let seconds = null;
/** The run that the table is of. */ let of = /** @type {any} */ (null);

async function show() {
    const { run } = studio;
    const able = Boolean(run?.dispatches);
    byId('inside').querySelector('.empty').hidden = able;
    byId('inside').querySelector('.filled').hidden = !able;
    if (!able || of === run || shown() !== 'inside') return;
    of = run;
    seconds = null;
    await attempt(async () => {
        program = await host.call('program');
        table();
        if (program.length) await open(program[0].kernel);
    });
}

/** Shapes come as text, or as lists of numbers. @param {any} shapes */
function shapesText(shapes) {
    if (typeof shapes === 'string') return shapes;
    return (shapes ?? []).map((/** @type {any} */ s) => (Array.isArray(s) ? `(${s.join(',')})` : String(s))).join(' ');
}

function table() {
    const all = seconds?.reduce((a, b) => a + b, 0) ?? 0;
    const head = ['#', 'Scope', 'Kernel', 'Shapes', 'Operations', ...(seconds ? ['Time', 'Share'] : [])];
    const rows = program.map((each, n) => {
        const button = make('button', { type: 'button', class: 'plain', text: each.kernel });
        const cells = [
            make('td', { class: 'n', text: n + 1 }), make('td', { text: each.scope }),
            make('td', {}, button), make('td', { class: 'shapes', text: shapesText(each.shapes) }),
            make('td', { class: 'n', text: each.flops ? count(each.flops) : '–' }),
        ];
        if (seconds) {
            const share = all > 0 ? seconds[n] / all : 0;
            cells.push(make('td', { class: 'n', text: duration(seconds[n]) }),
                make('td', { class: 'share', title: `${number(100 * share)} %` },
                    make('i', { style: `width: ${100 * share}%` })));
        }
        return make('tr', { click: () => choose(n) }, ...cells);
    });
    byId('program').replaceChildren(make('thead', {}, make('tr', {}, ...head.map((text) =>
        make('th', { scope: 'col', text, class: ['#', 'Operations', 'Time'].includes(text) ? 'n' : '' })))),
    make('tbody', {}, ...rows));
    const flops = program.reduce((sum, each) => sum + (each.flops || 0), 0);
    const timed = ` Together ${duration(all)}, ${number(flops / all / 1e9)} GFLOP/s.`;
    byId('program-said').textContent = `${count(program.length)} dispatches, ` +
        `${number(flops / 1e6)} million operations.${seconds ? timed : ' A row shows its kernel below.'}`;
}

/** @param {number} n a row of the table */
function choose(n) {
    const rows = [...byId('program').querySelectorAll('tbody tr')];
    rows.forEach((row, each) => row.classList.toggle('chosen', each === n));
    attempt(() => open(program[n].kernel));
}

/** Shows a kernel's code. @param {string} name */
async function open(name) {
    const kernel = await host.call('kernel', name);
    const select = byId('kernel');
    // A fused or tuned form may not be in the catalogue by its own name.
    if (![...select.options].some((option) => option.value === name)) {
        select.append(make('option', { value: name, text: name }));
    }
    select.value = name;
    byId('formula').textContent = kernel.formula;
    byId('wgsl-file').textContent = kernel.file;
    colour(byId('wgsl'), kernel.wgsl);
    colour(byId('reference'), kernel.reference);
    if (shown() === 'inside') say(`${kernel.name}: ${kernel.formula}`);
}

export function startInside() {
    startCheck();
    startLadder();
    on('catalogue', () => {
        const select = byId('kernel');
        select.replaceChildren(...studio.catalogue.kernels.map((/** @type {string} */ name) =>
            make('option', { value: name, text: name })));
    });
    byId('kernel').addEventListener('change', (/** @type {any} */ event) => {
        byId('program').querySelector('tr.chosen')?.classList.remove('chosen');
        attempt(() => open(event.target.value));
    });
    byId('time').addEventListener('click', () => attempt(async () => {
        byId('time').disabled = true;
        say('Timing each dispatch …');
        try {
            ({ seconds } = await host.call('time'));
            table();
            say('Each dispatch was timed.');
        } finally {
            byId('time').disabled = false;
        }
    }));
    on('run', show);
    on('tab', () => {
        show();
        // Without a run there is no table, but every kernel can be read.
        const select = byId('kernel');
        if (shown() === 'inside' && !studio.run && select.value && !byId('formula').textContent) {
            attempt(() => open(select.value));
        }
    });
}
