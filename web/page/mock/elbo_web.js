// A STAND-IN FOR TESTS of the page, never part of the product: the engine's interface with pretend numbers.
// Asked for with ?mock. ?mock&lose: the device is lost once, after the first epoch. ?mock&nogpu: there is no WebGPU.

const query = new URLSearchParams(self.location.search);
const SIDE = 28, PLANE = SIDE * SIDE, TESTS = 600;
const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
let seed = 1;
const random = () => { seed = (seed * 16807) % 2147483647; return seed / 2147483647; };
const normal = () => Math.sqrt(-2 * Math.log(random())) * Math.cos(6.2832 * random());

/** A blob in the way of digit k: a ring, a stroke, or both, moved by z. */
function blob(k, z, into, at) {
    const [cx, cy] = [14 + 2 * Math.tanh(z[0] ?? 0), 14 + 2 * Math.tanh(z[1] ?? 0)];
    const r = 4 + (k % 4) + Math.tanh(z[2] ?? 0), tilt = (k * 0.6) + 0.4 * (z[3] ?? 0);
    for (let y = 0; y < SIDE; y++) {
        for (let x = 0; x < SIDE; x++) {
            const [dx, dy] = [x - cx, y - cy];
            const ring = Math.exp(-(((Math.hypot(dx, dy * (0.7 + 0.05 * k)) - r) / 1.4) ** 2));
            const along = dx * Math.cos(tilt) + dy * Math.sin(tilt), across = dy * Math.cos(tilt) - dx * Math.sin(tilt);
            const bar = Math.exp(-((across / 1.6) ** 2)) * (Math.abs(along) < 9 ? 1 : 0);
            into[at + y * SIDE + x] = Math.min(1, (k % 3 === 1 ? 0 : ring) + (k % 3 === 0 ? 0 : bar));
        }
    }
}

const setting = (key, value, help, common) => ({ key, value, help, common });
const settings = (network) => [
    setting('lr', '0.001', 'Learning rate of the optimiser.', true),
    setting('batch_size', '128', 'Pictures a batch.', true),
    setting('epochs', '3', 'How often the training pictures are gone through.', true),
    setting('hidden', network, 'Features of the hidden layers, outermost first.', true),
    setting('kl_weight', '1', 'Weight of the KL term; 1 is the evidence lower bound.', true),
    setting('optimizer', 'adam', 'adam, adamw or sgd.', false),
    setting('clip', '0', 'The largest norm of the gradient; 0 for any.', false),
    setting('binarise', 'false', 'Pixels are drawn as 0 or 1 anew for each batch.', false),
    setting('seed', '0', 'Of all random numbers.', false),
];
const PRESETS = {
    'mnist-2d': { about: 'A VAE whose latent space is a plane, to look at.', model: 'vae', latent: 2, classes: 0 },
    'mnist-mlp': { about: 'The VAE of PyTorch\'s examples: 784-400-20.', model: 'vae', latent: 20, classes: 0 },
    'mnist-cvae': { about: 'Told the label of each picture, it draws what is asked for.', model: 'cvae', latent: 20,
        classes: 10 },
};
const KERNELS = ['matmul.forward', 'matmul.backward_w', 'activation.relu', 'reparameterise.forward', 'bce.forward',
    'gaussian_kl.forward', 'adam.forward', 'subgroup_sum.forward'];

export default async function init() {}

export function catalogue() {
    return JSON.stringify({
        presets: Object.entries(PRESETS).map(([name, { about, model }]) =>
            ({ name, about, model, settings: settings(name === 'mnist-2d' ? '400,200' : '400') })),
        kernels: KERNELS, ladder: ['matmul.1', 'matmul.2', 'matmul.3', 'matmul.4', 'matmul.5'],
    });
}

export function kernel(name) {
    return JSON.stringify({
        name, file: `shaders/${name.split('.')[0]}.wgsl`, formula: 'forward: z = mean + e^(logvar/2) * noise.',
        wgsl: '// forward: z = mean + e^(logvar/2) * noise. Saved for backward: logvar and noise.\n' +
            'struct Params { N: u32 }\n\n@group(0) @binding(0) var<uniform> params: Params;\n' +
            '@group(0) @binding(1) var<storage, read> mean: array<f32>;            // (N) = (B,Z)\n\n' +
            '@compute @workgroup_size(64)\nfn forward(@builtin(global_invocation_id) id: vec3<u32>) {\n' +
            '    let i = id.x;\n    if i < params.N { z[i] = mean[i] + exp(0.5 * logvar[i]) * noise[i]; }\n}\n',
        reference: '/// z = mean + e^(logvar/2) * noise.\n' +
            'pub fn forward(mean: &[f32], logvar: &[f32], noise: &[f32]) -> Vec<f32> {\n' +
            '    (0..mean.len()).map(|i| mean[i] + (0.5 * logvar[i]).exp() * noise[i]).collect()\n}\n',
    });
}

export class Engine {
    static async open(device) {
        await wait(20);
        if (device === 'webgpu' && query.has('nogpu')) throw new Error('This browser has no WebGPU.');
        return Object.assign(new Engine(), { device, at: 0, resumed: false });
    }
    description() { return `a pretend ${this.device} device, a stand-in for tests`; }
    data(name, train, test) {
        this.set_ = { name, shape: [1, SIDE, SIDE], classes: 10, class_names: [...'0123456789'], train, test };
        return JSON.stringify(this.set_);
    }
    use_digits(train, test) { return this.data('drawn digits', train, test); }
    use_idx(names, files) {
        if (files.length < 2) throw new Error('MNIST comes in four files; only one was given.');
        return this.data('mnist', 60000, 10000);
    }
    use_pictures(name, train, test, labels, testLabels, classes, channels, height, width) {
        if (train.length % (channels * height * width)) throw new Error('The pictures have another size.');
        return JSON.stringify({ name, shape: [channels, height, width], classes: classes.length, class_names: classes,
            train: train.length / (channels * height * width), test: test.length / (channels * height * width) });
    }
    begin(preset, changed, at) {
        const { latent, classes, model } = PRESETS[preset];
        if (changed.lr !== undefined && !(Number(changed.lr) > 0)) throw new Error('lr is a number above 0.');
        Object.assign(this, { preset, latent, classes, at, batches: 78, epochs: Number(changed.epochs ?? 3) });
        return JSON.stringify({
            preset, model, described: `${preset}: 784-400-${latent}-400-784, Adam, 652,824 parameters.`,
            parameters: 652824, dispatches: 8, batches: this.batches, batch_size: 128, latent, classes,
            views: ['encode', 'decode'], shape: [1, SIDE, SIDE], epochs: this.epochs,
            terms: [{ name: 'bce', help: '-log p(x|z)' }, { name: 'kl', help: 'KL of q(z|x) from the prior' }],
            knobs: [{ key: 'lr', value: 0.001, help: 'Learning rate of the optimiser.', min: 0, max: 0.1, log: true },
                { key: 'kl_weight', value: 1, help: 'Weight of the KL term.', min: 0, max: 4, log: false }],
            epoch: Math.floor(at / this.batches), batch: at % this.batches,
        });
    }
    async start(preset, json) { await wait(30); return this.begin(preset, JSON.parse(json), 0); }
    losses() {
        const bce = 80 + 460 * Math.exp(-this.at / 12) + 40 * Math.exp(-this.at / 90) + 2 * normal();
        return [bce, 24 * (1 - Math.exp(-this.at / 30)) + 0.4 * normal()];
    }
    async train(batches) {
        await wait(2 * batches);
        if (query.has('lose') && !this.resumed && this.at >= this.batches + 20) {
            throw new Error('The device was lost: the driver was reset.');
        }
        const count = Math.min(batches, this.batches - this.at % this.batches);
        const losses = [...Array(count)].map(() => { this.at += 1; return this.losses(); });
        const total = losses.map(([a, b]) => a + b);
        const epoch = Math.floor(this.at / this.batches), mean = { total: total.at(-1), terms: losses.at(-1) };
        const test = { ...mean, total: mean.total - 1 };
        const finished = this.at % this.batches ? undefined : { epoch, train: mean, test };
        return JSON.stringify({ epoch, batch: this.at % this.batches, batches: this.batches, seconds: 0.002 * count,
            losses, total, finished });
    }
    blobs(count, z, k) {
        const all = new Float32Array(count * PLANE);
        for (let n = 0; n < count; n++) blob(k(n), z(n), all, n * PLANE);
        return all;
    }
    async pictures() {
        return { samples: this.blobs(64, () => [normal(), normal(), normal()], (n) => (n * 7) % 10),
            originals: this.test_pictures(0, 16).pictures, reconstructions: this.blobs(16, () => [0], (n) => n % 10) };
    }
    set(key, value) { (this.knobs ??= {})[key] = value; }
    async decode(z, labels) {
        const row = (n) => z.subarray(n * this.latent, (n + 1) * this.latent);
        return this.blobs(z.length / this.latent, row,
            (n) => labels[n] ?? Math.floor((Math.atan2(row(n)[1], row(n)[0]) / 6.2832 + 0.5) * 9.99));
    }
    async encode(x) {
        const mean = new Float32Array(this.latent), logvar = new Float32Array(this.latent).fill(-1.5);
        for (let n = 0; n < PLANE; n++) mean[n % this.latent] += (x[n] * (n % 28 - 14)) / 60;
        return { mean, logvar };
    }
    async points() {
        const labels = Uint8Array.from({ length: TESTS }, (_, n) => n % 10), z = this.latent;
        const mean = new Float32Array(TESTS * z);
        for (let n = 0; n < TESTS; n++) {
            for (let d = 0; d < z; d++) mean[n * z + d] = 1.6 * Math.sin(labels[n] * 0.63 + d * 1.57) + 0.4 * normal();
        }
        return { mean, logvar: new Float32Array(TESTS * z).fill(-1.5), labels,
            kl: Float32Array.from({ length: z }, (_, d) => 2.4 * Math.exp(-((d * 7) % z) / 4)),
            losses: Float32Array.from({ length: TESTS }, () => 104 + 22 * normal()) };
    }
    async loss(x) {
        this.last = x.map((value) => 0.05 + 2 * value * random());
        const bce = this.last.reduce((a, b) => a + b, 0);
        return JSON.stringify({ total: bce + 20, terms: [bce, 20] });
    }
    pixels() { return this.last.slice(); }
    test_pictures(first, count) {
        const z = (n) => [Math.sin(first + n), Math.cos(first + n)];
        return { pictures: this.blobs(count, z, (n) => (first + n) % 10),
            labels: Uint8Array.from({ length: count }, (_, n) => (first + n) % 10) };
    }
    program() {
        return JSON.stringify(KERNELS.slice(0, 7).map((name, n) => ({ kernel: name, scope: `encoder.${n}`,
            shapes: '(128,784) (784,400) (128,400)', flops: 80281600 >> (2 * n) })));
    }
    async time() { await wait(100); return Float32Array.from({ length: 7 }, (_, n) => 0.004 / (n + 1)); }
    async check(name) {
        await wait(15);
        const lacks = name.startsWith('subgroup') ? 'subgroups' : null;
        return JSON.stringify({ cases: lacks ? 0 : 12, elements: 4096, worst: 0.013, failures: [], lacks, skipped: 0 });
    }
    async rung(name) {
        await wait(40);
        return JSON.stringify({ name, about: `Rung ${name.at(-1)}`, gflops: 4 * name.at(-1) ** 2 });
    }
    file(metadata) {
        const header = new TextEncoder().encode(JSON.stringify({ __metadata__: metadata }));
        const bytes = new Uint8Array(16 + header.length);
        new DataView(bytes.buffer).setBigUint64(0, BigInt(header.length), true);
        bytes.set(header, 8);
        return bytes;
    }
    async model() { return this.file({ preset: this.preset }); }
    async state() { return this.file({ preset: this.preset, at: String(this.at), 'elbo.progress': 'epoch = 1' }); }
    read(bytes) {
        const size = Number(new DataView(bytes.buffer).getBigUint64(0, true));
        const { __metadata__: found } = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + size)));
        if (!PRESETS[found?.preset]) throw new Error('The file holds parameters of another shape than any preset.');
        this.resumed = true;
        return found;
    }
    async open_model(bytes) { return this.begin(this.read(bytes).preset, {}, 0); }
    async open_state(bytes) { const found = this.read(bytes); return this.begin(found.preset, {}, Number(found.at)); }
}
