// Uses the studio's page as a reader does, in Chromium, and asserts what must be seen.
//
//     node page.mjs [--real] [--folder FOLDER] [--device NAME] [--shots FOLDER] [--only TEXT]
//
// Without --real the page runs on its stand-in engine. --folder: what to serve, ../page if not told.

import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';
import { cases } from './cases.mjs';
import { patience } from './reader.mjs';
import { serve } from './serve.mjs';

const { values: given } = parseArgs({
    options: {
        real: { type: 'boolean', default: false }, folder: { type: 'string' }, device: { type: 'string' },
        shots: { type: 'string' }, only: { type: 'string', default: '' },
    },
});
const folder = given.folder ?? fileURLToPath(new URL('../page', import.meta.url));
if (given.shots) await mkdir(given.shots, { recursive: true });

if (given.real) patience.ms = 120_000;
const server = await serve(folder);
const browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--enable-unsafe-webgpu', '--enable-features=Vulkan', '--use-webgpu-adapter=swiftshader'],
});
const query = new URLSearchParams();
if (!given.real) query.set('mock', '');
if (given.device) query.set('device', given.device);

let failed = 0;
let passed = 0;
for (const { name, options = {}, also = '', mockOnly = false, run } of cases) {
    if (!name.includes(given.only) || (mockOnly && given.real)) continue;
    const context = await browser.newContext({ viewport: { width: 1400, height: 900 }, ...options });
    const page = await context.newPage();
    page.setDefaultTimeout(given.real ? 60_000 : 10_000);
    // Whatever reaches the console is a failure: what goes wrong is said on the page.
    const said = [];
    page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => said.push(`error: ${error.stack}`));
    try {
        await page.goto(`${server.address}/?${query}${also}`);
        await run({ page, real: given.real, shot: async (title) => {
            if (!given.shots) return;
            // What sticks to the window would lie across a picture of the whole page.
            const unstuck = await page.addStyleTag({ content: '.tabs, footer { position: static !important; }' });
            await page.screenshot({ path: `${given.shots}/${title}.png`, fullPage: true });
            await unstuck.evaluate((style) => style.remove());
        } });
        if (said.length) throw new Error(`The console is not empty:\n${said.join('\n')}`);
        passed += 1;
        console.log(`ok      ${name}`);
    } catch (error) {
        failed += 1;
        console.log(`FAILED  ${name}\n${error.stack}${said.length ? `\nconsole: ${said.join('\n')}` : ''}`);
        if (given.shots) await page.screenshot({ path: `${given.shots}/failed-${name.replaceAll(/\W+/g, '-')}.png` });
    }
    await context.close();
}
await browser.close();
server.close();
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed ? 1 : 0;
