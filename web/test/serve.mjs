// A small server of static files, for tests and for a look: node serve.mjs [folder] [port].
// Isolated from other origins, as shared memory needs, and with WebAssembly's MIME type, as streaming needs.

import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';

const TYPES = {
    '.html': 'text/html; charset=utf-8', '.js': 'text/javascript; charset=utf-8', '.css': 'text/css; charset=utf-8',
    '.wasm': 'application/wasm', '.json': 'application/json', '.png': 'image/png', '.svg': 'image/svg+xml',
};

/**
 * Serves a folder. Port 0 takes any that is free.
 * @param {string} folder
 * @param {number} port
 * @returns {Promise<{ address: string, close: () => void }>}
 */
export function serve(folder, port = 0) {
    const server = createServer(async (request, response) => {
        const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://x').pathname));
        // A normalised absolute path has no `..` left that could leave the folder.
        const file = join(folder, path.endsWith('/') ? `${path}index.html` : path);
        const found = await stat(file).catch(() => null);
        response.setHeader('Cross-Origin-Opener-Policy', 'same-origin');
        response.setHeader('Cross-Origin-Embedder-Policy', 'require-corp');
        response.setHeader('Cache-Control', 'no-store');
        if (!found?.isFile()) return response.writeHead(404).end('no such file');
        response.writeHead(200, { 'Content-Type': TYPES[extname(file)] ?? 'application/octet-stream',
            'Content-Length': found.size });
        return createReadStream(file).pipe(response);
    });
    return new Promise((resolve) => {
        server.listen(port, '127.0.0.1', () => {
            const { port: taken } = /** @type {any} */ (server.address());
            resolve({ address: `http://127.0.0.1:${taken}`, close: () => server.close() });
        });
    });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
    const folder = process.argv[2] ?? fileURLToPath(new URL('../page', import.meta.url));
    const { address } = await serve(folder, Number(process.argv[3] ?? 8000));
    console.log(`${folder} at ${address}`);
}
