// What a reader does with the page, and what must be seen then.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { gzipSync } from 'node:zlib';
import { banner, colours, drop, idx, narrow, print, start, tab, text, until } from './reader.mjs';

/** Through all tabs: sees that each is filled. */
async function tour({ page, real, shot }, name) {
    await start(page, 'mnist-2d');
    await until('samples are drawn', async () => await colours(page, 'samples') > 4);
    await until('a test loss is shown', async () => real || /\d/.test(await text(page, 'test-loss')));
    await until('the chart has lines', async () => await colours(page, 'chart') > 8);
    assert.match(await page.locator('#chart').getAttribute('aria-label'), /^Loss of [\d,]+ batches/);
    await narrow(page);
    await shot(`${name}-train`);

    await tab(page, 'Explore');
    await until('the points are there', async () => await colours(page, 'plane') > 12);
    await until('the strip is there', () => page.locator('#strip button').count());
    await until('the way is decoded', async () => await colours(page, 'between') > 4);
    const before = await print(page, 'decoded');
    await page.locator('#plane').hover({ position: { x: 60, y: 60 } });
    await until('the picture follows the pointer', async () => await print(page, 'decoded') !== before);
    await narrow(page);
    await shot(`${name}-explore`);

    await tab(page, 'Draw');
    await shot(`${name}-draw-empty`);
    await page.locator('#pad').scrollIntoViewIfNeeded();
    const box = await page.locator('#pad').boundingBox();
    await page.mouse.move(box.x + 80, box.y + 60);
    await page.mouse.down();
    await page.mouse.move(box.x + 180, box.y + 70, { steps: 6 });
    await page.mouse.move(box.x + 110, box.y + 200, { steps: 8 });
    await page.mouse.up();
    await until('the loss is shown', async () => /nats/.test(await text(page, 'histogram-said')));
    assert.ok(await colours(page, 'redrawn') > 4, 'The reconstruction is drawn');
    assert.ok(await colours(page, 'surprise') > 4, '-log p is drawn');
    assert.ok(await colours(page, 'posterior') > 8, 'q(z|x) is drawn');
    await narrow(page);
    await shot(`${name}-draw`);

    await tab(page, 'Look inside');
    await until('the table is there', () => page.locator('#program tbody tr').count());
    await page.locator('#program tbody tr').nth(3).click();
    await until('a kernel is shown', async () => /fn /.test(await text(page, 'wgsl')));
    assert.ok(await page.locator('#wgsl .code-word').count() > 0, 'The code is coloured');
    if (!real) {
        await page.click('#time');
        await until('the times are there', () => page.locator('#program .share').count());
        await page.click('#check');
        await until('the check is over', async () => /compared/.test(await text(page, 'check-said')));
        await page.click('#ladder');
        await until('the rungs are timed', async () => await page.locator('#rungs tr').count() === 5);
    }
    await narrow(page);
    await shot(`${name}-inside`);

    await tab(page, 'Keep');
    await narrow(page);
    await shot(`${name}-keep`);
}

const SIZES = [
    ['wide light', { viewport: { width: 1400, height: 900 }, colorScheme: 'light' }],
    ['wide dark', { viewport: { width: 1400, height: 900 }, colorScheme: 'dark' }],
    ['narrow light', { viewport: { width: 400, height: 800 }, colorScheme: 'light' }],
    ['narrow dark', { viewport: { width: 400, height: 800 }, colorScheme: 'dark' }],
    ['tablet', { viewport: { width: 800, height: 1000 }, colorScheme: 'light' }],
];

export const cases = [
    ...SIZES.map(([name, options]) => ({
        name: `tour ${name}`, options, run: (given) => tour(given, name.replaceAll(' ', '-')),
    })),
    {
        name: 'keyboard',
        async run({ page }) {
            await start(page, 'mnist-2d');
            await page.getByRole('tab', { name: 'Train' }).focus();
            await page.keyboard.press('ArrowRight');
            assert.equal(await page.evaluate(() => document.activeElement.id), 'tab-explore');
            assert.equal(await page.getByRole('tab', { selected: true }).innerText(), 'Explore');
            assert.ok(await page.locator('#explore').isVisible());
            await page.keyboard.press('Tab');
            assert.equal(await page.evaluate(() => document.activeElement.id), 'explore', 'The panel is next');
            await until('the plane is there', async () => await colours(page, 'plane') > 12);
            await page.keyboard.press('Tab');
            assert.equal(await page.evaluate(() => document.activeElement.id), 'plane');
            const at = await text(page, 'z-said');
            for (let n = 0; n < 8; n++) await page.keyboard.press('ArrowRight');
            assert.notEqual(await text(page, 'z-said'), at);
            await page.getByRole('tab', { name: 'Explore' }).focus();
            await page.keyboard.press('End');
            assert.equal(await page.evaluate(() => document.activeElement.id), 'tab-keep');
            await page.keyboard.press('ArrowRight');
            assert.equal(await page.evaluate(() => document.activeElement.id), 'tab-train');
            await page.getByRole('tab', { name: 'Draw' }).click();
            await page.locator('#take').focus();
            await page.keyboard.press('Enter');
            await until('a test picture is looked at', async () => /nats/.test(await text(page, 'histogram-said')));
            assert.match(await text(page, 'status'), /Test picture 1/);
        },
    },
    {
        name: 'every control has a name',
        async run({ page }) {
            await start(page, 'mnist-cvae');
            for (const name of ['Train', 'Explore', 'Draw', 'Look inside', 'Keep']) {
                await tab(page, name);
                const nameless = await page.evaluate(() => {
                    const named = (each) => each.getAttribute('aria-label') || each.labels?.length ||
                        each.textContent.trim();
                    return [...document.querySelectorAll('button, input, select, canvas')]
                        .filter((each) => each.checkVisibility() && each.getAttribute('aria-hidden') !== 'true')
                        .filter((each) => !named(each)).map((each) => each.outerHTML.slice(0, 90));
                });
                assert.deepEqual(nameless, []);
            }
        },
    },
    {
        name: 'pause, step, knobs, restart',
        async run({ page }) {
            await start(page, 'mnist-mlp', '50');
            await page.click('#pause');
            await until('the run pauses', async () => await text(page, 'pause') === 'Continue');
            const place = async () => {
                const [epoch] = (await text(page, 'epoch')).split(' of ').map(Number);
                const [batch, batches] = (await text(page, 'batch')).split(' of ').map(Number);
                return (epoch - 1) * batches + batch;
            };
            const before = await place();
            await page.click('#step');
            await until('a batch is trained', async () => await place() !== before);
            assert.equal(await place() - before, 1);
            const field = page.locator('.knob input:not([type=range])').first();
            await page.locator('.knob input[type=range]').first().focus();
            const knob = await field.inputValue();
            await page.keyboard.press('ArrowRight');
            assert.notEqual(await field.inputValue(), knob);
            await page.locator('#chart').focus();
            await page.keyboard.press('ArrowLeft');
            await until('values are read', async () => /^Batch/.test(await text(page, 'chart-values')));
            await page.click('#restart');
            await until('it begins again', async () => await text(page, 'pause') === 'Pause');
        },
    },
    {
        name: 'latents of many dimensions and classes',
        async run({ page, shot }) {
            await start(page, 'mnist-cvae');
            await tab(page, 'Explore');
            await until('sliders', async () => await page.locator('.dim').count() === 16);
            await until('KL is known', async () => /\d/.test(await page.locator('.dim .nats').first().innerText()));
            await page.click('#dims-all');
            assert.equal(await page.locator('.dim').count(), 20);
            const before = await print(page, 'decoded');
            await page.locator('#class-buttons button').nth(7).click();
            await until('another class is decoded', async () => await print(page, 'decoded') !== before);
            const z = await text(page, 'z-said');
            await page.click('#random');
            assert.notEqual(await text(page, 'z-said'), z);
            await page.locator('#strip button').nth(5).click();
            assert.equal(await page.locator('#strip [aria-pressed=true]').count(), 2);
            await shot('many-explore');
            await tab(page, 'Draw');
            await page.click('#take');
            await until('q(z|x) is drawn', async () => await colours(page, 'posterior') > 4);
            await until('the loss is shown', async () => /nats/.test(await text(page, 'histogram-said')));
            await shot('many-draw');
        },
    },
    {
        name: 'files: refused in a sentence',
        async run({ page }) {
            await start(page, 'mnist-2d');
            await drop(page, [{ name: 'notes.txt', type: 'text/plain', bytes: Buffer.from('hello, this is no data') }]);
            await until('a sentence', async () => /notes\.txt is not data/.test(await banner(page).innerText()));
            await drop(page, [{ name: 'a.png', type: 'image/png', bytes: Buffer.from('no picture') }]);
            await until('a sentence', async () => /a\.png cannot be decoded/.test(await banner(page).innerText()));
            await drop(page, [{ name: 'train.gz', bytes: gzipSync(idx(3)).subarray(0, 40) }]);
            await until('a sentence', async () => /damaged/.test(await banner(page).innerText()));
            await tab(page, 'Keep');
            await drop(page, [{ name: 'notes.txt', bytes: Buffer.from('hello, this is no data at all') }]);
            await until('a sentence', async () => /not a checkpoint/.test(await banner(page).innerText()));
            await page.getByRole('button', { name: 'Close this message' }).click();
            assert.equal(await banner(page).count(), 0);
            await tab(page, 'Train');
            await page.evaluate(() => {
                const part = new Uint8Array(2 ** 24);
                const carried = new DataTransfer();
                carried.items.add(new File([part, part, part, part, part], 'huge.png', { type: 'image/png' }));
                document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: carried, bubbles: true }));
            });
            await until('a sentence', async () => await banner(page).count() &&
                /huge\.png has 80 MB, and 64 MB is the most/.test(await banner(page).innerText()));
            // A setting that the engine refuses leaves the run as it was.
            await page.fill('#setting-lr', '-1');
            await page.click('#restart');
            await until('a sentence', async () => /\blr\b/.test(await banner(page).innerText()));
        },
    },
    {
        name: 'files: IDX and pictures', mockOnly: true,
        async run({ page }) {
            await start(page, 'mnist-2d');
            await drop(page, [{ name: 'train-images-idx3-ubyte.gz', bytes: gzipSync(idx(5)) },
                { name: 't10k-images-idx3-ubyte', bytes: idx(2) }]);
            await until('the data', async () => /^mnist/.test(await text(page, 'data-said')));
            const png = await page.evaluate(async () => {
                const canvas = new OffscreenCanvas(50, 40);
                canvas.getContext('2d').fillRect(5, 5, 20, 20);
                return [...new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer())];
            });
            await drop(page, [...'abc'].map((name) => ({ name: `${name}.png`, type: 'image/png', bytes: png })));
            await until('the data', async () => /^pictures: 2 .* 1 to test/.test(await text(page, 'data-said')));
            await drop(page, [{ name: 'one.png', type: 'image/png', bytes: png }, { name: 'two.png', type: 'image/png',
                bytes: png }, { name: 'x.txt', bytes: Buffer.from('plain') }]);
            await until('a sentence', async () => /Left out 1 file: x.txt/.test(await banner(page).innerText()));
        },
    },
    {
        name: 'keep: out and in again',
        async run({ page }) {
            await start(page, 'mnist-2d');
            await page.click('#pause');
            await tab(page, 'Keep');
            // A model that was opened has no state to keep, so it comes last.
            for (const what of ['state', 'model']) {
                const waited = page.waitForEvent('download');
                await page.click(`#save-${what}`);
                const path = await (await waited).path();
                await page.setInputFiles('#open', path);
                await until('it is open', async () => /is open: (mnist-2d|vae)/.test(await text(page, 'opened-said')));
            }
        },
    },
    {
        name: 'a lost device', also: '&lose', mockOnly: true,
        async run({ page, shot }) {
            await start(page, 'mnist-2d');
            await until('the banner', async () => await banner(page).count() &&
                /^The device was lost: the driver was reset\. The run goes on/.test(await banner(page).innerText()));
            await until('it trains on', async () => await text(page, 'epoch') === '3 of 3');
            await shot('lost');
        },
    },
    {
        name: 'no WebGPU', also: '&nogpu', mockOnly: true,
        async run({ page }) {
            await until('the device', async () => /pretend auto/.test(await text(page, 'description')));
            await page.selectOption('#device', 'webgpu');
            await until('a sentence', async () => await banner(page).count() &&
                /no WebGPU/.test(await banner(page).innerText()));
            await until('the one before', async () => /pretend auto/.test(await text(page, 'description')));
            assert.equal(await page.locator('#device').inputValue(), 'auto');
            await page.selectOption('#device', 'cpu');
            await until('the CPU', async () => /pretend cpu/.test(await text(page, 'description')));
        },
    },
    {
        name: 'a kernel in a frame of the guide',
        async run({ page, real, shot }) {
            const address = new URL(page.url());
            const of = (name) => page.goto(`${address.origin}/kernel.html${address.search}&name=${name}`);
            await page.setViewportSize({ width: 600, height: 160 });
            await of('gaussian_kl.loss');
            await until('the verdict', async () => /numbers compared .* none failed/.test(await text(page, 'said')));
            assert.ok(await text(page, 'formula'), 'The formula is there');
            await narrow(page);
            await shot('one-kernel');
            if (!real) return;
            await of('no.kernel');
            await until('a sentence', async () => /no kernel no\.kernel/.test(await text(page, 'said')));
        },
    },
    {
        name: 'no SIMD',
        options: {},
        async run({ page }) {
            await page.addInitScript(() => { WebAssembly.validate = () => false; });
            await page.reload();
            await until('a sentence', async () => await banner(page).count() &&
                /no WebAssembly SIMD/.test(await banner(page).innerText()));
        },
    },
];
