// The engine in Chromium, without the page: what its compiler takes, what the kernels compute, and whether a run is the
// program's bit for bit.
//
//     node engine.mjs [--folder FOLDER] [--program ELBO] [--check CASES_OF_KERNELS_WITH_THIS_IN_THEIR_NAME]
//
// --program: the `elbo` whose training is to be the same, on the software driver that Chromium brings (SwiftShader).

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openTab, sameDriver } from './engine_tab.mjs';

const { values: given } = parseArgs({
    options: { folder: { type: 'string' }, program: { type: 'string' }, check: { type: 'string' } },
});
const { page, said, close } = await openTab(given.folder);

let failed = 0;
/** @param {string} name @param {() => Promise<string>} run */
async function test(name, run) {
    const from = performance.now();
    try {
        const result = await run();
        console.log(`ok      ${name}: ${result} (${((performance.now() - from) / 1000).toFixed(0)} s)`);
    } catch (error) {
        failed += 1;
        console.log(`FAILED  ${name}\n${error.stack}`);
    }
}

await test('every shader compiles in the browser', async () => {
    const { count, problems } = await page.evaluate(async () => {
        const device = await (await navigator.gpu.requestAdapter()).requestDevice();
        const shaders = JSON.parse(window.elbo.shaders());
        const problems = [];
        for (const { kernel, text } of shaders) {
            device.pushErrorScope('validation');
            const module = device.createShaderModule({ code: text });
            const { messages } = await module.getCompilationInfo();
            const error = await device.popErrorScope();
            if (error) problems.push(`${kernel}: ${error.message}`);
            problems.push(...messages.map(({ message, lineNum }) => `${kernel}, line ${lineNum}: ${message}`));
        }
        device.destroy();
        return { count: shaders.length, problems };
    });
    assert.deepEqual(problems, []);
    assert(count > 250, `${count} shaders are too few to be all`);
    return `${count} shaders`;
});

await test('every preset of the page takes a step on the CPU device', async () => {
    const results = await page.evaluate(async () => {
        const { presets } = JSON.parse(window.elbo.catalogue());
        const engine = await window.elbo.Engine.open('cpu');
        const results = [];
        for (const { name, shape, settings } of presets) {
            const [c, h, w] = shape;
            const pixels = (count) => Uint8Array.from({ length: count * c * h * w }, (_, i) => (i * 37) % 251);
            const labels = (count) => Uint8Array.from({ length: count }, (_, i) => i % 10);
            const rows = 64;
            engine.use_pictures('drawn', pixels(rows), pixels(8), labels(rows), labels(8), [], c, h, w);
            const few = { batch_size: '8', epochs: '1' };
            if (settings.some(({ key }) => key === 'labels')) few.labels = '10';
            if (settings.some(({ key }) => key === 'codes')) few.codes = '8';
            const run = JSON.parse(await engine.start(name, JSON.stringify(few)));
            const news = JSON.parse(await engine.train(1));
            results.push({ name, total: news.total[0], terms: run.terms.length, shape: run.shape });
        }
        return results;
    });
    assert(results.length >= 30, `${results.length} presets`);
    results.forEach(({ name, total }) => assert(Number.isFinite(total), `${name}: a loss of ${total}`));
    return `${results.length} presets`;
});

if (given.check !== undefined) {
    await test('kernels agree with their references', async () => {
        const results = await page.evaluate(async (wanted) => {
            const { kernels } = JSON.parse(window.elbo.catalogue());
            const engine = await window.elbo.Engine.open('software');
            const results = [];
            for (const name of kernels.filter((kernel) => kernel.includes(wanted))) {
                results.push({ name, ...JSON.parse(await engine.check(name)) });
            }
            engine.free();
            return results;
        }, given.check);
        assert.deepEqual(results.flatMap(({ failures }) => failures), []);
        const sum = (key) => results.reduce((all, result) => all + result[key], 0);
        assert(sum('cases') > 0);
        const lacking = results.filter(({ lacks }) => lacks).length;
        return `${results.length} kernels, ${sum('cases')} runs, ${sum('elements')} elements; left out: ` +
            `${sum('skipped')} larger cases and ${lacking} kernels that need subgroups`;
    });
}

/** The tensors of a safetensors file by name. @param {Buffer} file */
function tensors(file) {
    const length = Number(file.readBigUInt64LE(0));
    const header = JSON.parse(file.subarray(8, 8 + length).toString());
    const of = ([name, { data_offsets: [start, end] }]) => [name, file.subarray(8 + length + start, 8 + length + end)];
    return new Map(Object.entries(header).filter(([name]) => name !== '__metadata__').map(of));
}

if (given.program) {
    await test('16 steps are those of the program on the same driver, bit for bit', async () => {
        const [train, rest, preset] = [2048, 256, 'mnist-mlp'];
        const state = Buffer.from(await page.evaluate(async ([train, rest, preset]) => {
            const engine = await window.elbo.Engine.open('software');
            engine.use_digits(train, rest);
            await engine.start(preset, JSON.stringify({ epochs: '1' }));
            await engine.train(10);
            const news = JSON.parse(await engine.train(10));
            if (!news.finished) throw new Error('16 batches are an epoch');
            const bytes = await engine.state();
            let text = '';
            for (let i = 0; i < bytes.length; i += 8192) text += String.fromCharCode(...bytes.subarray(i, i + 8192));
            return btoa(text);
        }, [train, rest, preset]), 'base64');
        const home = mkdtempSync(join(tmpdir(), 'elbo-web-'));
        try {
            const out = join(home, 'run');
            execFileSync(given.program, ['train', preset, '--dataset', 'digits', '--train-limit', `${train}`,
                '--test-limit', `${rest}`, '--epochs', '1', '--device', 'gpu', '--out', out],
            { env: sameDriver(), stdio: 'pipe' });
            const want = tensors(readFileSync(join(out, 'state.safetensors')));
            const got = tensors(state);
            assert.deepEqual([...got.keys()].sort(), [...want.keys()].sort());
            for (const [name, bytes] of want) assert(bytes.equals(got.get(name)), `${name} is another`);
            return `${want.size} tensors`;
        } finally {
            rmSync(home, { recursive: true });
        }
    });
}

await test('nothing is in the console', async () => {
    assert.deepEqual(said, []);
    return 'empty';
});
await close();
process.exitCode = failed ? 1 : 0;
