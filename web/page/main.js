// The studio's page: opens a device, gives it drawn digits, and keeps the parts of the page going.

import { startDraw } from './draw.js';
import { byId } from './dom.js';
import { startExplore } from './explore.js';
import { startInside } from './inside.js';
import { openCheckpoint, startKeep } from './keep.js';
import { startPoints } from './points.js';
import { attempt, emit, firstDevice, host, quiet, say, studio, warn } from './studio.js';
import { startTabs } from './tabs.js';
import { giveDigits } from './data.js';
import { startTrain } from './train.js';

/** The smallest module with an instruction on 128 bits: `i8x16.splat` of 0. */
const SIMD = Uint8Array.of(0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253,
    15, 253, 98, 11);

/** Why this browser cannot run the engine at all, or nothing. */
function lacks() {
    if (typeof WebAssembly === 'undefined') return 'This browser has no WebAssembly, which the engine is made of.';
    if (!WebAssembly.validate(SIMD)) {
        return 'This browser has no WebAssembly SIMD, which the engine needs. A newer browser has it.';
    }
    if (location.protocol === 'file:') {
        return 'The page was opened as a file, and browsers load no engine then. Serve its folder, for instance with ' +
            'python3 -m http.server.';
    }
    return '';
}

/** @param {any} opened what the worker says of its device */
function told({ description, catalogue }) {
    byId('description').textContent = description;
    if (!studio.catalogue) {
        studio.catalogue = catalogue;
        emit('catalogue');
    }
}

/** A new worker, on another device or after a loss. @param {string} device */
async function again(device) {
    studio.training = false;
    byId('description').textContent = 'Starting the engine …';
    const { opened, data, run } = await host.again(device);
    told(opened);
    if (data) emit('data', data);
    else await giveDigits();
    // It is the same run, so its chart goes on.
    if (run) emit('run', { ...run, goesOn: studio.run?.preset === run.preset });
}

/** The reader chose a device. What has no state yet is asked for it, so that nothing is lost. */
async function changeDevice() {
    const select = byId('device');
    const before = host.device;
    quiet();
    try {
        if (studio.run?.batches && host.worker) {
            const kept = host.call('state').then(({ bytes }) => { host.state = bytes; }, () => {});
            // A worker that does not answer is not waited for.
            await Promise.race([kept, new Promise((resolve) => { setTimeout(resolve, 3000); })]);
        }
        await again(select.value);
    } catch (error) {
        warn(error);
        if (select.value === before) return fail();
        select.value = before;
        await again(before).catch(fail);
    }
}

function fail() {
    byId('description').textContent = 'There is no engine.';
}

let losses = 0; // within a minute

/** The device was lost, or the engine broke: goes on from the last saved state. @param {string} message */
async function lost(message) {
    const reason = message.replace(/^the device was lost:?\s*/i, '').replace(/\.?$/, '.');
    const rest = host.state ? 'The run goes on from its last saved state.' :
        studio.run ? 'The run begins again.' : 'It was opened again.';
    warn(`The device was lost: ${reason} ${rest}`);
    losses += 1;
    setTimeout(() => { losses -= 1; }, 60_000);
    if (losses > 3) {
        warn(`The device was lost again: ${reason} Choose another device above.`);
        host.close(new Error('The device was lost.'));
        return fail();
    }
    try {
        await again(host.device);
    } catch (error) {
        warn(error);
        fail();
    }
}

async function start() {
    startTabs();
    startPoints();
    startTrain();
    startExplore();
    startDraw();
    startInside();
    startKeep();
    byId('device').addEventListener('change', changeDevice);
    host.addEventListener('lost', (event) => lost(/** @type {any} */ (event).detail.message));
    host.addEventListener('trouble', (event) => warn(/** @type {any} */ (event).detail.message));
    const lacking = lacks();
    if (lacking) {
        warn(lacking);
        return fail();
    }
    if (![...byId('device').options].some((option) => option.value === firstDevice)) {
        byId('device').append(new Option(firstDevice, firstDevice));
    }
    byId('device').value = firstDevice;
    try {
        told(await host.open(firstDevice));
    } catch (error) {
        warn(error);
        return fail();
    }
    if (!('gpu' in navigator)) say('This browser has no WebGPU, so the CPU trains.');
    await attempt(new URLSearchParams(location.search).has('run') ? openServedRun : giveDigits);
}

/** `elbo studio RUN` serves the run beside the page: its data, and its state, or its model where it has none. */
async function openServedRun() {
    const get = async (/** @type {string} */ name) => {
        const answer = await fetch(`./run/${name}`);
        if (!answer.ok) throw new Error(`The run that was to be opened has no ${name}.`);
        return answer;
    };
    const bytes = async (/** @type {string} */ name) => new Uint8Array(await (await get(name)).arrayBuffer());
    const { name, shape, class_names: names, has_state: state } = await (await get('data.json')).json();
    const files = ['train.pictures', 'test.pictures', 'train.labels', 'test.labels'];
    const parts = await Promise.all(files.map(bytes));
    emit('data', await host.give('use_pictures', name, ...parts, names, ...shape));
    const file = state ? 'state.safetensors' : 'model.safetensors';
    await openCheckpoint(new File([await bytes(file)], file));
}

start();
