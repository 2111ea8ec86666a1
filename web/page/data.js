// The data of a run: digits drawn at once, MNIST's own files, or pictures.

import { byId, count, counted } from './dom.js';
import { bytesOf, dropped, kindOf } from './files.js';
import { openCheckpoint } from './keep.js';
import { readPhotos } from './photos.js';
import { attempt, emit, host, on, say, studio, warn } from './studio.js';

const MOST_BYTES = 1 << 30; // of a file of data: what a page can hold beside the engine's copy

export function startData() {
    // Folded away where a telephone's reader would have to scroll past it.
    byId('other').open = matchMedia('(min-width: 960px)').matches;
    byId('digits').addEventListener('click', () => attempt(giveDigits));
    for (const id of ['files', 'folder']) {
        byId(id).addEventListener('change', (/** @type {any} */ event) => {
            const files = [...event.target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
            event.target.value = ''; // so that the same choice can be made again
            take(files);
        });
    }
    // A file may be dropped anywhere; what it is decides where it goes.
    let inside = 0;
    const carries = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes('Files');
    const mark = (/** @type {number} */ change) => {
        inside = Math.max(0, inside + change);
        document.body.classList.toggle('dropping', inside > 0);
    };
    addEventListener('dragenter', (event) => carries(event) && mark(1));
    addEventListener('dragleave', (event) => carries(event) && mark(-1));
    addEventListener('dragover', (event) => carries(event) && event.preventDefault());
    addEventListener('drop', (event) => {
        if (!carries(event)) return;
        event.preventDefault();
        mark(-inside);
        attempt(async () => take(await dropped(/** @type {DataTransfer} */ (event.dataTransfer))));
    });
    on('data', describe);
}

/** @typedef {{ file: File, path: string }} Given */

/** Digits that the engine draws by itself. */
export async function giveDigits() {
    const [train, test] = ['digits-train', 'digits-test'].map((id) => Number(byId(id).value));
    for (const n of [train, test]) {
        if (!Number.isInteger(n) || n < 1 || n > 1_000_000) {
            throw new Error('How many digits to draw is a whole number from 1 to 1,000,000.');
        }
    }
    say('Drawing digits …');
    emit('data', await host.give('use_digits', train, test));
}

/** Files were given: sorts them by what is in them. @param {Given[]} files */
export async function take(files) {
    if (!files.length) return;
    await attempt(async () => {
        const kinds = await Promise.all(files.slice(0, 8).map(({ file }) => kindOf(file)));
        const one = files.length === 1;
        if (one && (kinds[0] === 'checkpoint' || !byId('keep').hidden)) return openCheckpoint(files[0].file);
        if (kinds.includes('idx') || kinds.includes('gzip')) return takeIdx(files);
        if (one && kinds[0] === 'other') {
            throw new Error(`${files[0].path} is not data that this page knows: IDX files, pictures or a checkpoint.`);
        }
        return takePhotos(files);
    });
}

/** @param {Given[]} files */
async function takeIdx(files) {
    const names = [];
    const contents = [];
    for (const { file, path } of files) {
        if (!['idx', 'gzip'].includes(await kindOf(file))) throw new Error(`${path} is not an IDX file.`);
        say(`Reading ${path} …`);
        names.push(file.name.replace(/\.gz$/i, ''));
        contents.push(await bytesOf(file, MOST_BYTES));
    }
    emit('data', await host.give('use_idx', names, contents));
}

/** @param {Given[]} files */
async function takePhotos(files) {
    const side = Number(byId('side').value);
    if (!Number.isInteger(side) || side < 4 || side > 512) {
        throw new Error('The side of the pictures is a whole number from 4 to 512.');
    }
    const channels = Number(byId('channels').value);
    const bar = byId('reading-bar');
    byId('reading').hidden = false;
    say(`Reading ${counted(files.length, 'file')} …`);
    try {
        const { set, refused } = await readPhotos(files, side, channels, MOST_BYTES, (done) => {
            bar.max = files.length;
            bar.value = done;
        });
        const data = await host.give('use_pictures', ...set);
        emit('data', data);
        if (refused.length) warn(refusals(refused));
    } finally {
        byId('reading').hidden = true;
    }
}

/** One sentence for all that was left out. @param {{ path: string, why: string }[]} refused */
function refusals(refused) {
    const some = refused.slice(0, 3).map(({ path, why }) => `${path} ${why}`).join('; ');
    const more = refused.length > 3 ? `; and ${refused.length - 3} more` : '';
    return `Left out ${counted(refused.length, 'file')}: ${some}${more}.`;
}

/** @param {any} data */
function describe(data) {
    studio.data = data;
    const [channels, height, width] = data.shape;
    const classes = data.classes ? `, ${counted(data.classes, 'class').replace('classs', 'classes')}` : '';
    byId('data-said').textContent = `${data.name}: ${count(data.train)} pictures to train, ` +
        `${count(data.test)} to test, ${channels} × ${height} × ${width}${classes}.`;
    const waits = studio.run?.batches ? ' Restart trains on them.' : '';
    say(`Data: ${data.name}, ${counted(data.train, 'picture')}.${waits}`);
}
