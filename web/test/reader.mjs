// What a reader of the page does and sees, in the words of the test's cases.

import assert from 'node:assert/strict';
import { Buffer } from 'node:buffer';

/** How many different colours a canvas shows, at most about as many as are asked for. */
export const colours = (page, id) => page.evaluate((name) => {
    const canvas = document.getElementById(name);
    if (!canvas.width || !canvas.height) return 0;
    // A copy is read, as a canvas that is read often is kept off the GPU, with a warning.
    const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', { willReadFrequently: true });
    copy.drawImage(canvas, 0, 0);
    const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
    return new Set(new Uint32Array(data.buffer)).size;
}, id);

/** A number that changes when the picture does. */
export const print = (page, id) => page.evaluate((name) => document.getElementById(name).toDataURL(), id);

export const text = (page, id) => page.locator(`#${id}`).innerText();
export const banner = (page) => page.locator('#banner p');
export const tab = (page, name) => page.getByRole('tab', { name }).click();

/** How long something may take; the engine itself takes longer than its stand-in. */
export const patience = { ms: 20_000 };

/** Waits until something holds, asking the page again and again. */
export async function until(what, holds) {
    const { ms } = patience;
    for (const end = Date.now() + ms; !(await holds());) {
        assert.ok(Date.now() < end, `Not within ${ms / 1000} s: ${what}`);
        await new Promise((resolve) => { setTimeout(resolve, 60); });
    }
}

/** Starts a run, of many epochs where it must not be over soon. */
export async function start(page, preset, epochs = '') {
    await until('the presets are there', () => page.locator('#preset option').count());
    await until('the data are there', async () => /to train/.test(await text(page, 'data-said')));
    await page.selectOption('#preset', preset);
    if (epochs) await page.fill('#setting-epochs', epochs);
    await page.click('#start');
    await until('a loss is shown', async () => /\d/.test(await text(page, 'loss')));
}

/** Nothing hangs over the side. */
export async function narrow(page) {
    const [wide, inside] = await page.evaluate(() =>
        [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
    assert.ok(wide <= inside, `The page scrolls sideways: ${wide} in ${inside}`);
}

/** Drops files on the page, as the system does. */
export async function drop(page, files) {
    const transfer = await page.evaluateHandle((all) => {
        const carried = new DataTransfer();
        for (const { name, type, bytes } of all) {
            carried.items.add(new File([Uint8Array.from(bytes)], name, { type }));
        }
        return carried;
    }, files.map(({ name, type = '', bytes }) => ({ name, type, bytes: [...bytes] })));
    await page.dispatchEvent('body', 'drop', { dataTransfer: transfer });
}

/** An IDX file of so many empty pictures. */
export function idx(count) {
    const head = Buffer.alloc(16);
    [2051, count, 28, 28].forEach((n, at) => head.writeUInt32BE(n, 4 * at));
    return Buffer.concat([head, Buffer.alloc(count * 784)]);
}
