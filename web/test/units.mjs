// Parts of the page that need no browser: node --test units.mjs

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { logTicks, short, ticks } from '../page/axes.js';
import { counted, duration, number, title } from '../page/dom.js';
import { headerOf, kindOf } from '../page/files.js';
import { Series } from '../page/series.js';

test('a series of 100,000 batches keeps its means and extremes', () => {
    const series = new Series(2);
    const from = performance.now();
    for (let n = 0; n < 100_000; n++) series.push([n, n === 77_777 ? -5 : 1]);
    assert.ok(performance.now() - from < 1000);
    assert.ok(series.used <= 512);
    assert.equal(series.count, 100_000);
    let sum = 0;
    for (let k = 0; k < series.used; k++) {
        sum += series.mean(k, 0) * series.held(k);
        assert.ok(series.least[2 * k] <= series.mean(k, 0) && series.mean(k, 0) <= series.most[2 * k]);
    }
    assert.equal(sum, 100_000 * 99_999 / 2);
    const k = Math.floor(77_777 / series.size);
    assert.equal(series.least[2 * k + 1], -5);
});

test('a series that is cut goes on from there', () => {
    const series = new Series(1);
    for (let n = 0; n < 5000; n++) series.push([n]);
    series.cut(3001);
    assert.ok(series.count <= 3001 && series.count > 3001 - series.size);
    series.push([7]);
    assert.equal(series.mean(series.used - 1, 0), 7);
    series.cut(0);
    assert.deepEqual([series.used, series.count], [0, 0]);
});

test('axes have round numbers', () => {
    assert.deepEqual(ticks(0, 100, 5), [0, 20, 40, 60, 80, 100]);
    assert.deepEqual(ticks(-3, 3, 6), [-3, -2, -1, 0, 1, 2, 3]);
    assert.deepEqual(ticks(1, 1, 5), []);
    assert.deepEqual(logTicks(3, 60), [5, 10, 20, 50]);
    assert.deepEqual([short(100_000), short(2_500_000), short(0.30000000000000004)], ['100k', '2.5M', '0.3']);
});

test('numbers in words', () => {
    assert.deepEqual([12345.6, 118.72, 1.234, 0.01234, 0, 1.2e-7].map(number),
        ['12,346', '118.7', '1.23', '0.0123', '0', '1.2e-7']);
    assert.deepEqual([0.00035, 0.0123, 3.21].map(duration), ['350 µs', '12.3 ms', '3.2 s']);
    assert.deepEqual([counted(1, 'epoch'), counted(2, 'epoch')], ['1 epoch', '2 epochs']);
    assert.deepEqual(['lr', 'kl_weight', 'batch-size'].map(title), ['Learning rate', 'KL weight', 'Batch size']);
});

test('files are known by what they begin with', async () => {
    const kind = (/** @type {number[]} */ bytes, name = 'x', type = '') =>
        kindOf(new File([Uint8Array.from(bytes)], name, { type }));
    const header = [2, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0x7d];
    assert.equal(await kind([...header, 0]), 'checkpoint');
    assert.deepEqual(headerOf(Uint8Array.from(header)), {});
    assert.equal(await kind([0x1f, 0x8b, 8]), 'gzip');
    assert.equal(await kind([0, 0, 8, 3, 0, 0, 0, 1]), 'idx');
    assert.equal(await kind([0x89, 0x50, 0x4e, 0x47, 13, 10]), 'picture');
    assert.equal(await kind([1, 2, 3], 'a.avif', 'image/avif'), 'picture');
    assert.equal(await kind([0x68, 0x65, 0x6c, 0x6c, 0x6f]), 'other');
    assert.equal(await kind([]), 'other');
});
