// Files that a reader gives: what they are, by what they begin with, and what is in them.

/** @param {File} file @returns {Promise<'checkpoint' | 'idx' | 'gzip' | 'picture' | 'other'>} */
export async function kindOf(file) {
    const head = new Uint8Array(await file.slice(0, 16).arrayBuffer());
    const is = (/** @type {number[]} */ ...bytes) => bytes.every((byte, n) => head[n] === byte);
    // safetensors: the length of a JSON header, and the header.
    if (head.length > 8 && head[8] === 0x7b && Number(new DataView(head.buffer).getBigUint64(0, true)) < file.size) {
        return 'checkpoint';
    }
    if (is(0x1f, 0x8b)) return 'gzip';
    if (is(0, 0, 8) && (head[3] === 1 || head[3] === 3)) return 'idx';
    const picture = is(0x89, 0x50, 0x4e, 0x47) || is(0xff, 0xd8, 0xff) || is(0x47, 0x49, 0x46) || is(0x42, 0x4d) ||
        is(0x52, 0x49, 0x46, 0x46) || file.type.startsWith('image/');
    return picture ? 'picture' : 'other';
}

/** A file's bytes, unpacked where it is gzip. @param {File} file @param {number} most bytes that are accepted */
export async function bytesOf(file, most) {
    const tooMuch = new Error(`${file.name} has more than ${Math.round(most / 2 ** 20)} MB, too much for this page.`);
    if (file.size > most) throw tooMuch;
    if (await kindOf(file) !== 'gzip') return new Uint8Array(await file.arrayBuffer());
    if (typeof DecompressionStream === 'undefined') {
        throw new Error('This browser cannot unpack .gz files; unpack them first.');
    }
    const parts = [];
    let size = 0;
    try {
        const reader = file.stream().pipeThrough(new DecompressionStream('gzip')).getReader();
        for (let part = await reader.read(); !part.done; part = await reader.read()) {
            parts.push(part.value);
            size += part.value.length;
            // A small file can unpack to a huge one.
            if (size > most) {
                await reader.cancel();
                throw tooMuch;
            }
        }
    } catch (error) {
        if (error === tooMuch) throw error;
        throw new Error(`${file.name} is damaged: it cannot be unpacked.`);
    }
    const all = new Uint8Array(size);
    let at = 0;
    for (const part of parts) {
        all.set(part, at);
        at += part.length;
    }
    return all;
}

/** The tensors' shapes and the metadata of a safetensors file. @param {Uint8Array} bytes @returns {any} */
export function headerOf(bytes) {
    const size = Number(new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(0, true));
    return JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + size)));
}

/** All files that were dropped, those in folders too. @returns {Promise<{ file: File, path: string }[]>} */
export async function dropped(/** @type {DataTransfer} */ transfer) {
    // The entries are there only while the event is handled, so all are taken before anything is awaited.
    const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const plain = [...transfer.files].map((file) => ({ file, path: file.name }));
    if (!entries.length) return plain;
    /** @type {{ file: File, path: string }[]} */
    const all = [];
    for (const entry of entries) await walk(/** @type {any} */ (entry), '', all);
    return all.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** @param {any} entry @param {string} under @param {{ file: File, path: string }[]} all */
async function walk(entry, under, all) {
    const path = under + entry.name;
    if (entry.isFile) {
        const file = await new Promise((resolve, reject) => { entry.file(resolve, reject); });
        all.push({ file, path });
        return;
    }
    const reader = entry.createReader();
    // A folder is read a hundred entries at a time, until there are none.
    for (;;) {
        const some = await new Promise((resolve, reject) => { reader.readEntries(resolve, reject); });
        if (!some.length) return;
        for (const each of some) await walk(each, `${path}/`, all);
    }
}
