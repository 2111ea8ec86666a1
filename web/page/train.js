// The Train tab: start, pause, step, and what a run shows while it trains.

import { addLosses, addTest, resetChart, startChart } from './chart.js';
import { giveDigits, startData } from './data.js';
import { byId, count, number } from './dom.js';
import { startKnobs } from './knobs.js';
import { columnsFor, drawRows, slice } from './pictures.js';
import { changes, preset, startSettings } from './settings.js';
import { attempt, emit, host, on, say, studio } from './studio.js';

let rate = 0; // images a second, smoothed
let over = false; // at the end of the epochs that were asked for
let busy = false; // a run is being started

export function startTrain() {
    startSettings();
    startData();
    startKnobs();
    startChart();
    byId('setup').addEventListener('submit', (/** @type {Event} */ event) => event.preventDefault());
    byId('start').addEventListener('click', () => start(true));
    byId('restart').addEventListener('click', () => start(true));
    byId('pause').addEventListener('click', () => attempt(() => host.call(studio.training ? 'pause' : 'go')));
    byId('step').addEventListener('click', () => attempt(() => host.call('step')));
    host.addEventListener('progress', (event) => progress(/** @type {any} */ (event).detail));
    host.addEventListener('finished', (event) => finished(/** @type {any} */ (event).detail.finished));
    host.addEventListener('pictures', (event) => pictures(/** @type {any} */ (event).detail));
    host.addEventListener('training', (event) => training(/** @type {any} */ (event).detail));
    on('run', begun);
    on('catalogue', buttons);
    byId('preset').addEventListener('change', buttons);
}

/** Starts a run of the preset that is chosen. @param {boolean} train */
async function start(train) {
    const chosen = preset();
    if (!chosen || busy) return;
    busy = true;
    buttons();
    say(`Starting ${chosen.name} …`);
    await attempt(async () => {
        if (!studio.data) await giveDigits();
        const run = await host.begin('start', chosen.name, changes());
        emit('run', run);
        if (train) await host.call('go');
    });
    busy = false;
    buttons();
}

/** A run began, or was opened. @param {any} run */
function begun(run) {
    studio.run = run;
    studio.training = false;
    over = false;
    rate = 0;
    resetChart(run.terms ?? [], run.epoch * run.batches + run.batch, run.goesOn);
    if (!run.goesOn) for (const id of ['loss', 'test-loss', 'rate']) byId(id).textContent = '–';
    byId('run-said').textContent = run.described;
    say(`${run.preset}: ${count(run.parameters)} parameters, ${count(run.dispatches)} dispatches a step.`);
    place();
    buttons();
    attempt(() => host.call('pictures'));
}

/** @param {any} news */
function progress({ losses, total, seconds, epoch, batch }) {
    const { run } = studio;
    studio.step += total.length;
    Object.assign(run, { epoch, batch });
    if (total.length) {
        addLosses(total, losses);
        byId('loss').textContent = number(total.at(-1));
    }
    if (seconds > 0 && total.length) {
        const now = total.length * run.batch_size / seconds;
        rate = rate ? 0.7 * rate + 0.3 * now : now;
        byId('rate').textContent = number(rate);
    }
    place();
    emit('moved');
}

/** @param {any} mean losses of an epoch */
function finished({ epoch, train, test }) {
    const { run } = studio;
    Object.assign(run, { epoch, batch: 0 });
    if (test) {
        addTest(epoch, epoch * run.batches, test.total);
        byId('test-loss').textContent = number(test.total);
    }
    say(`Epoch ${epoch}: training loss ${number(train.total)}${test ? `, test loss ${number(test.total)}` : ''}.`);
    place();
    emit('epoch');
}

/** Where the run is. */
function place() {
    const { run } = studio;
    // An epoch under way counts; at the end of one, nothing of the next is done yet.
    const under = run.batch > 0 || run.epoch === 0 ? run.epoch + 1 : run.epoch;
    byId('epoch').textContent = run.epochs ? `${under} of ${Math.max(run.epochs, under)}` : '–';
    byId('batch').textContent = run.batches ? `${count(run.batch || (run.epoch ? run.batches : 0))} of ` +
        `${count(run.batches)}` : '–';
    const goal = Math.max(run.epochs, under) * run.batches;
    byId('run-bar').value = goal ? (run.epoch * run.batches + run.batch) / goal : 0;
}

/** @param {{ on: boolean, over?: boolean }} event */
function training(event) {
    studio.training = event.on;
    over = Boolean(event.over);
    if (over) say(`The ${studio.run.epoch} epochs are over. Continue trains for ${studio.run.epochs} more.`);
    buttons();
    emit('training');
}

function buttons() {
    const { run, catalogue } = studio;
    // Restart is for the run under way; Start for another preset.
    byId('start').disabled = !catalogue || busy || Boolean(run?.batches && preset()?.name === run.preset);
    byId('pause').textContent = studio.training || !run ? 'Pause' : 'Continue';
    // A model that was opened without data has no batches to train with.
    byId('pause').disabled = byId('step').disabled = busy || !run?.batches;
    byId('restart').disabled = busy || !run?.batches;
    byId('step').disabled ||= studio.training;
    byId('pause').classList.toggle('main', Boolean(run?.batches));
    byId('start').classList.toggle('main', !run?.batches);
}

/** @param {any} event */
function pictures({ samples, originals, reconstructions }) {
    const { data, run } = studio;
    const shape = run?.shape ?? data?.shape;
    if (!shape) return;
    const size = shape[0] * shape[1] * shape[2];
    requestAnimationFrame(() => {
        if (byId('train').hidden) return;
        const all = Math.floor(samples.length / size);
        if (all) {
            const canvas = byId('samples');
            const columns = columnsFor(canvas, shape[2], Math.min(all, 10));
            const rows = [];
            for (let n = 0; n + columns <= all && rows.length < 6; n += columns) {
                rows.push(slice(samples, shape, n, n + columns));
            }
            drawRows(canvas, rows, shape, columns);
            canvas.setAttribute('aria-label', `${rows.length * columns} samples of the model`);
        }
        const tested = Math.floor(originals.length / size);
        if (tested) {
            const canvas = byId('reconstructions');
            const columns = columnsFor(canvas, shape[2], Math.min(tested, 10));
            const rows = [];
            for (let n = 0; n + columns <= tested && rows.length < 6; n += columns) {
                for (const values of [originals, reconstructions]) rows.push(slice(values, shape, n, n + columns));
            }
            drawRows(canvas, rows, shape, columns);
            canvas.setAttribute('aria-label', `${rows.length / 2 * columns} test pictures above their reconstructions`);
        }
    });
}
