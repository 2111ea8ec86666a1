// The worker: owns one engine, serves the page's calls in order, and trains in slices between them.
//
// From the page: { id, method, args }. To the page: { id, result } or { id, error }, and events { event, ... }:
//   training { on, over }       training began or stopped; over: at the end of the epochs that were asked for
//   progress { ... }            losses of the batches since the last one, at most five times a second
//   finished { finished }       an epoch is over, with its mean losses
//   pictures { ... }            samples and reconstructions
//   state { bytes }             everything a resume needs, after each epoch
//   lost { message }            the device or the engine is gone; a new worker is needed
//   trouble { message }         training stopped with an error

const SLICE = 90; // ms of training between two looks at the queue
const SHORT_SLICE = 30; // the same while somebody explores
const REPORT = 200; // ms between two progress events

const mock = new URLSearchParams(self.location.search).has('mock');
/** @type {any} */ let elbo = null;
/** @type {any} */ let engine = null;
/** @type {any} */ let run = null;
/** @type {{ id: number, method: string, args: any[] }[]} */
const queue = [];
let pumping = false;
let training = false;
let slice = 1; // batches
let asked = -1e9; // when a call was last served
let pictured = { at: -1e9, cost: 0 };
/** @type {any} */ let news = null; // progress that was not yet posted
let reported = 0;

self.onmessage = (message) => {
    queue.push(message.data);
    pump();
};

/** Serves calls and trains, until there is neither a call nor training. */
async function pump() {
    if (pumping) return;
    pumping = true;
    while (queue.length || training) {
        while (queue.length) await serve(/** @type {any} */ (queue.shift()));
        if (training) await trainSlice();
        await breathe();
    }
    pumping = false;
}

/** Lets messages arrive. A message channel, as timers are held back to 4 ms and in hidden pages to a second. */
const channel = new MessageChannel();
function breathe() {
    return new Promise((resolve) => {
        channel.port1.onmessage = () => resolve(null);
        channel.port2.postMessage(null);
    });
}

/** @param {{ id: number, method: string, args: any[] }} call */
async function serve({ id, method, args }) {
    try {
        if (!Object.hasOwn(methods, method)) throw new Error(`There is no method ${method}.`);
        if (!engine && method !== 'open') throw new Error('The engine is gone; a new one is being started.');
        const result = await methods[method](...args);
        if (!['set', 'go', 'pause'].includes(method)) asked = performance.now();
        post({ id, result });
    } catch (error) {
        post({ id, error: sentence(error) });
        fell(error);
    }
}

/** @param {any} error */
function sentence(error) {
    // A trap says nothing itself; the engine kept what it wanted to say.
    const words = error instanceof WebAssembly.RuntimeError && elbo?.last_words?.();
    if (words) return `The engine stopped: ${words}`;
    return String(error?.message ?? error) || 'The engine gave no reason.';
}

/** Tells the page where after this error no call can succeed. Returns whether it is so. @param {any} error */
function fell(error) {
    const gone = error instanceof WebAssembly.RuntimeError || /device (was|is) lost/i.test(sentence(error));
    if (gone && engine) {
        training = false;
        engine = null;
        post({ event: 'lost', message: sentence(error) });
    }
    return gone;
}

/** Posts, handing over what the engine made for the page alone. @param {any} message */
function post(message) {
    const owned = [message, message.result, ...Object.values(message.result ?? {}), ...Object.values(message)]
        .filter((value) => ArrayBuffer.isView(value) && value.byteLength === value.buffer.byteLength)
        .map((value) => value.buffer);
    /** @type {any} */ (self).postMessage(message, [...new Set(owned)]);
}

/** Trains about as long as a slice lasts, and tells what came of it. */
async function trainSlice() {
    const from = performance.now();
    try {
        const now = JSON.parse(await engine.train(slice));
        const took = performance.now() - from;
        const aim = from - asked < 500 ? SHORT_SLICE : SLICE;
        slice = Math.max(1, Math.min(slice * 2, Math.round((slice * aim) / Math.max(took, 1))));
        learn(now);
        if (now.finished) await epochOver(now.finished);
        else await sometimesPictures();
    } catch (error) {
        training = false;
        tell(true);
        // After a loss the page still counts the run as training, so that a new worker goes on with it.
        if (fell(error)) return;
        post({ event: 'training', on: false });
        post({ event: 'trouble', message: sentence(error) });
    }
}

/** Adds to the news. @param {any} now what the engine said of a slice */
function learn(now) {
    run.epoch = now.epoch;
    run.batch = now.batch;
    news ??= { losses: [], total: [], seconds: 0 };
    news.losses.push(...now.losses);
    news.total.push(...now.total);
    news.seconds += now.seconds;
    tell(false);
}

/** Posts the news, if it is time. @param {boolean} atOnce */
function tell(atOnce) {
    const now = performance.now();
    if (!news || (!atOnce && now - reported < REPORT)) return;
    post({ event: 'progress', ...news, epoch: run.epoch, batch: run.batch });
    news = null;
    reported = now;
}

/** @param {any} finished */
async function epochOver(finished) {
    tell(true);
    post({ event: 'finished', finished });
    post({ event: 'state', bytes: await engine.state() });
    await sendPictures();
    if (finished.epoch % run.epochs === 0) {
        training = false;
        post({ event: 'training', on: false, over: true });
    }
}

/** Pictures between epochs too, as long as they take less than a tenth of the time. */
async function sometimesPictures() {
    const since = performance.now() - pictured.at;
    if (since > 1500 && since > 10 * pictured.cost) await sendPictures();
}

async function sendPictures() {
    const from = performance.now();
    const { samples, originals, reconstructions } = await engine.pictures();
    post({ event: 'pictures', samples, originals, reconstructions });
    pictured = { at: performance.now(), cost: performance.now() - from };
}

/** A run begins: whatever was known of another is forgotten. @param {string} json */
function begun(json) {
    run = JSON.parse(json);
    training = false;
    news = null;
    slice = 1;
    pictured = { at: -1e9, cost: 0 };
    return run;
}

/** The part of a kernel's Rust file that has its references, which are served beside the page. @param {any} kernel */
async function withReference(kernel) {
    if (mock) return kernel;
    const path = kernel.reference.replace(/^src\//, 'source/');
    const answer = await fetch(new URL(`./${path}`, self.location.href)).catch(() => null);
    const text = answer?.ok ? await answer.text() : `// ${kernel.reference} is not beside this page.`;
    const from = text.search(/^\/\/ ---- References?/m);
    const rest = from < 0 ? text : text.slice(from);
    // A fused kernel's reference is the kernels that it stands for: its whole file says which.
    const end = from < 0 ? -1 : rest.slice(1).search(/^\/\/ ---- /m);
    return { ...kernel, reference: end < 0 ? rest : rest.slice(0, end + 1) };
}

/** @type {Record<string, (...args: any[]) => any>} */
const methods = {
    async open(device) {
        try {
            elbo = await import(mock ? './mock/elbo_web.js' : './engine/elbo_web.js');
            await elbo.default();
        } catch (error) {
            throw new Error(`The engine could not be loaded: ${sentence(error)}`);
        }
        engine = await elbo.Engine.open(device);
        return { description: engine.description(), catalogue: JSON.parse(elbo.catalogue()) };
    },
    use_digits: async (train, test) => JSON.parse(await engine.use_digits(train, test)),
    use_idx: async (names, files) => JSON.parse(await engine.use_idx(names, files)),
    use_pictures: async (...args) => JSON.parse(await engine.use_pictures(...args)),
    start: async (preset, settings) => begun(await engine.start(preset, JSON.stringify(settings))),
    open_model: async (bytes) => begun(await engine.open_model(bytes)),
    open_state: async (bytes) => begun(await engine.open_state(bytes)),
    go() {
        if (!run) throw new Error('There is no run to train: choose a preset and start one.');
        training = true;
        post({ event: 'training', on: true });
    },
    pause() {
        training = false;
        tell(true);
        post({ event: 'training', on: false });
    },
    async step() {
        training = false;
        const now = JSON.parse(await engine.train(1));
        learn(now);
        tell(true);
        if (now.finished) await epochOver(now.finished);
        else await sendPictures();
        post({ event: 'training', on: false });
    },
    pictures: sendPictures,
    set: (key, value) => { engine.set(key, value); },
    decode: async (z, labels) => ({ pictures: await engine.decode(z, labels) }),
    async encode(x, labels) {
        const { mean, logvar } = await engine.encode(x, labels);
        return { mean, logvar };
    },
    async points() {
        const { mean, logvar, labels, kl, losses } = await engine.points();
        return { mean, logvar, labels, kl, losses };
    },
    async loss(x, labels) {
        const loss = JSON.parse(await engine.loss(x, labels));
        return { ...loss, pixels: await engine.pixels() };
    },
    async test_pictures(first, count) {
        const { pictures, labels } = await engine.test_pictures(first, count);
        return { pictures, labels };
    },
    program: async () => JSON.parse(await engine.program()),
    kernel: async (name) => withReference(JSON.parse(await elbo.kernel(name))),
    time: async () => ({ seconds: await engine.time() }),
    check: async (name) => JSON.parse(await engine.check(name)),
    rung: async (name) => JSON.parse(await engine.rung(name)),
    model: async () => ({ bytes: await engine.model() }),
    state: async () => ({ bytes: await engine.state() }),
};
