// The Keep tab: checkpoints out and in.

import { byId, counted, download } from './dom.js';
import { headerOf, kindOf } from './files.js';
import { attempt, emit, host, on, say, studio } from './studio.js';

const LARGEST = 2 ** 30; // bytes

export function startKeep() {
    for (const what of ['model', 'state']) {
        byId(`save-${what}`).addEventListener('click', () => attempt(async () => {
            const { bytes } = await host.call(what);
            download(`${what}.safetensors`, bytes, 'application/octet-stream');
            say(`${what}.safetensors: ${(bytes.length / 2 ** 20).toFixed(1)} MB.`);
        }));
    }
    byId('open').addEventListener('change', (/** @type {any} */ event) => {
        const [file] = event.target.files;
        event.target.value = '';
        if (file) attempt(() => openCheckpoint(file));
    });
    on('run', (run) => {
        byId('save-model').disabled = false;
        // A model that was opened has no optimiser, so there is nothing to resume.
        byId('save-state').disabled = !run.batches;
    });
}

/** Opens a model or a state, whichever it is. @param {File} file */
export async function openCheckpoint(file) {
    byId('opened-said').textContent = '';
    if (await kindOf(file) !== 'checkpoint') {
        throw new Error(`${file.name} is not a checkpoint: it does not begin like a safetensors file.`);
    }
    if (file.size > LARGEST) throw new Error(`${file.name} has more than 1 GB, too much for this page.`);
    const bytes = new Uint8Array(await file.arrayBuffer());
    let header;
    try {
        header = headerOf(bytes);
    } catch {
        throw new Error(`${file.name} is not a checkpoint: its header cannot be read.`);
    }
    // How far a run has come is only in states.
    const state = '__metadata__' in header && 'elbo.progress' in header.__metadata__;
    if (state && !studio.data) throw new Error('A state goes on training, so it needs data: choose them under Train.');
    say(`Opening ${file.name} …`);
    const run = await host.begin(state ? 'open_state' : 'open_model', bytes);
    emit('run', run);
    const said = `${file.name} is open: ${run.preset}, ${counted(run.parameters, 'parameter')}` +
        (state ? `, after ${counted(run.epoch, 'epoch')}. Continue under Train goes on.` : '. Explore shows it.');
    byId('opened-said').textContent = said;
    say(said);
}
