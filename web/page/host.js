// The page's side of the worker: calls with an answer each, events, and a new worker where the device was lost.
//
// What a new worker needs to go on is kept here: the last call that gave data, the last start, and the state of the run
// as it was after the last epoch.

/** @typedef {{ resolve: (value: any) => void, reject: (error: Error) => void }} Pending */

/** Why a call got no answer: another worker took the place of the one that was asked. Nobody has to be told. */
export class Replaced extends Error {}

/** A worker that holds one engine. Events: opened, progress, finished, pictures, training, lost, trouble. */
export class Host extends EventTarget {
    /** @param {string} search what the worker's address ends with: `?mock` in tests of the page */
    constructor(search) {
        super();
        this.search = search;
        this.device = 'auto';
        /** @type {Worker | null} */
        this.worker = null;
        /** @type {Map<number, Pending>} */
        this.pending = new Map();
        this.count = 0;
        /** The last call that gave the engine data, to give it again. @type {{ method: string, args: any[] } | null} */
        this.data = null;
        this.forget();
    }

    /** A run that is over has nothing to go on from. */
    forget() {
        /** @type {Uint8Array | null} */
        this.state = null;
        /** The call that began the run: `start`, `open_state` or `open_model`. @type {any} */
        this.begun = null;
        /** The data that it began with; others may have been chosen since. @type {any} */
        this.begunWith = null;
        this.training = false;
    }

    /** Starts a worker and opens a device. @param {string} device */
    async open(device) {
        this.close(new Replaced('The device was changed.'));
        const worker = new Worker(new URL(`./worker.js${this.search}`, import.meta.url), { type: 'module' });
        this.worker = worker;
        worker.onmessage = (message) => this.heard(message.data);
        worker.onerror = (error) => {
            // Said on the page by whoever waits for an answer, so not also in the console.
            error.preventDefault();
            const why = error.message ? `The engine stopped: ${error.message}` : 'No engine could be loaded.';
            this.close(new Error(why));
        };
        const opened = await this.call('open', device);
        this.device = device;
        return opened;
    }

    /** Ends the worker. Every call under way is refused with `why`. @param {Error} why */
    close(why) {
        this.worker?.terminate();
        this.worker = null;
        for (const { reject } of this.pending.values()) reject(why);
        this.pending.clear();
    }

    /** Calls a method of the worker, in turn. Arrays are copied, for another call. @returns {Promise<any>} */
    call(/** @type {string} */ method, /** @type {any[]} */ ...args) {
        if (!this.worker) return Promise.reject(new Error('There is no engine to do this: choose a device above.'));
        const id = this.count++;
        return new Promise((resolve, reject) => {
            this.pending.set(id, { resolve, reject });
            this.worker?.postMessage({ id, method, args });
        });
    }

    /** Gives the engine data, and remembers them for a new worker. @returns {Promise<any>} */
    async give(/** @type {string} */ method, /** @type {any[]} */ ...args) {
        const data = await this.call(method, ...args);
        this.data = { method, args };
        return data;
    }

    /** Begins a run, and remembers how. @returns {Promise<any>} */
    async begin(/** @type {string} */ method, /** @type {any[]} */ ...args) {
        const run = await this.call(method, ...args);
        this.forget();
        this.begun = { method, args };
        this.begunWith = this.data;
        return run;
    }

    /**
     * A new worker that has the data and the run of the one before, as they were after the last epoch.
     * @param {string} device
     * @returns {Promise<{ opened: any, data: any, run: any }>} run is null where there was none
     */
    async again(device) {
        const training = this.training;
        const opened = await this.open(device);
        this.data = this.begunWith ?? this.data;
        const data = this.data && await this.call(this.data.method, ...this.data.args);
        let run = null;
        if (this.state) run = await this.call('open_state', this.state);
        else if (this.begun) run = await this.call(this.begun.method, ...this.begun.args);
        if (run && training) this.call('go').catch(() => {});
        return { opened, data, run };
    }

    /** @param {any} message an answer to a call, or an event */
    heard(message) {
        if (message.event === 'state') {
            this.state = message.bytes;
        } else if (message.event) {
            if (message.event === 'training') this.training = message.on;
            this.dispatchEvent(new CustomEvent(message.event, { detail: message }));
        } else {
            const waiting = this.pending.get(message.id);
            this.pending.delete(message.id);
            if (message.error !== undefined) waiting?.reject(new Error(message.error));
            else waiting?.resolve(message.result);
        }
    }
}

/**
 * A function that does the newest thing asked of it, one at a time, and leaves out what was overtaken meanwhile: for
 * whatever follows the pointer.
 * @template {any[]} T
 * @param {(...args: T) => Promise<void>} work
 */
export function latest(work) {
    /** @type {T | null} */
    let next = null;
    let busy = false;
    return async (/** @type {T} */ ...args) => {
        next = args;
        if (busy) return;
        busy = true;
        try {
            while (next) {
                const now = next;
                next = null;
                await work(...now);
            }
        } finally {
            busy = false;
        }
    };
}
