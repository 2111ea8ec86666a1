// How fast the engine is in Chromium beside the program, and whether its memory grows.
//
//     node speed.mjs [--program ELBO] [--memory] [--device cpu|software] [--folder FOLDER] [--turns N]
//
// --program: a step of `mnist-mlp` with 128 pictures, in turns with a release build: the CPU device on one thread, and
// the software driver that Chromium brings (SwiftShader).
// --memory: 10,000 steps of a small model and 500 decodes on both devices, a tab for each. The buffers of WebGPU are
// the browser's and are not counted.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openTab, sameDriver } from './engine_tab.mjs';

const { values: given } = parseArgs({
    options: {
        folder: { type: 'string' }, program: { type: 'string' }, turns: { type: 'string', default: '3' },
        memory: { type: 'boolean', default: false }, device: { type: 'string' },
    },
});
const devices = given.device ? [given.device] : ['cpu', 'software'];

const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];

/** Seconds of a step in the tab: windows of ten steps within an epoch, the first of them to warm up. */
const inTab = (page, device) => page.evaluate(async (device) => {
    const engine = await window.elbo.Engine.open(device);
    engine.use_digits(8 * 1280, 128);
    await engine.start('mnist-mlp', JSON.stringify({ epochs: '9', batch_size: '128' }));
    const windows = [];
    for (let i = 0; i < 7; i += 1) windows.push(JSON.parse(await engine.train(10)).seconds / 10);
    engine.free();
    return windows.slice(1);
}, device).then(median);

/** Seconds of a step of the program. */
function inProgram(device) {
    const out = mkdtempSync(join(tmpdir(), 'elbo-speed-'));
    try {
        const threads = device === 'cpu' ? ['--threads', '1'] : [];
        const told = execFileSync(given.program, ['bench', '--device', device, ...threads, '--only', 'steps', '--model',
            'mnist-mlp', '--batch', '128', '--windows', '5', '--seconds', '0.5', '--json', '--out', out],
        { env: sameDriver(), stdio: ['ignore', 'pipe', 'ignore'] });
        return JSON.parse(told.toString()).rows.find(({ metric }) => metric === 'step').median;
    } finally {
        rmSync(out, { recursive: true });
    }
}

if (given.program) {
    const { page, close } = await openTab(given.folder);
    for (const device of devices) {
        for (let turn = 0; turn < Number(given.turns); turn += 1) {
            const [tab, native] = [await inTab(page, device), inProgram(device === 'cpu' ? 'cpu' : 'gpu')];
            const [a, b] = [tab, native].map((seconds) => (1 / seconds).toFixed(1));
            console.log(`${device}: ${a} steps a second in the tab, ${b} in the program: ` +
                `${(tab / native).toFixed(2)} times as long`);
        }
    }
    await close();
}

if (given.memory) {
    for (const device of devices) {
        const { page, close } = await openTab(given.folder);
        const [early, late, first, decoded] = await page.evaluate(async (device) => {
            const engine = await window.elbo.Engine.open(device);
            engine.use_digits(256, 32);
            const small = { epochs: '400', batch_size: '8', hidden: '[8]', latent: '2' };
            await engine.start('mnist-mlp', JSON.stringify(small));
            const bytes = async () => {
                // Arrays that are garbage are swept in the background, and seen to be gone at the next collection.
                for (let i = 0; i < 3; i += 1) {
                    window.gc();
                    await new Promise((resolve) => setTimeout(resolve, 200));
                }
                return [window.module.memory.buffer.byteLength, performance.memory.usedJSHeapSize];
            };
            const steps = async (count) => {
                for (let done = 0; done < count; done += 32) await engine.train(32);
                return bytes();
            };
            const taken = [await steps(1024), await steps(10016)];
            const decodes = async (count) => {
                for (let i = 0; i < count; i += 1) await engine.decode(new Float32Array(2), new Uint32Array());
                return bytes();
            };
            // The first ones record a program of their own.
            taken.push(await decodes(20), await decodes(500));
            return taken;
        }, device);
        await close();
        const told = ([module, heap]) => `${(module / 2 ** 20).toFixed(1)} + ${(heap / 2 ** 20).toFixed(1)} MiB`;
        console.log(`${device}: module and JavaScript hold ${told(early)} after 1,024 steps, ${told(late)} after ` +
            `11,040, ${told(first)} after 20 decodes, ${told(decoded)} after 520`);
    }
}
