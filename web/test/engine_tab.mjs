// A tab of Chromium that has the engine and no page, on the software driver that Chromium brings (SwiftShader).

import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { serve } from './serve.mjs';

/**
 * Opens one. There `elbo` is the engine's JavaScript, `module` what the WebAssembly module exports, `gc` a collection.
 * @param {string} [folder] The studio's files; web/dist where none is named.
 */
export async function openTab(folder = fileURLToPath(new URL('../dist', import.meta.url))) {
    const server = await serve(folder);
    const browser = await chromium.launch({
        executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
        args: ['--no-sandbox', '--enable-unsafe-webgpu', '--enable-features=Vulkan', '--use-webgpu-adapter=swiftshader',
            '--use-angle=swiftshader', '--enable-precise-memory-info', '--js-flags=--expose-gc'],
    });
    const page = await browser.newPage();
    page.setDefaultTimeout(0);
    /** @type {string[]} What is in the console. */
    const said = [];
    page.on('console', (message) => said.push(`${message.type()}: ${message.text()}`));
    page.on('pageerror', (error) => said.push(`error: ${error.stack}`));
    // A page of the same origin without the studio on it.
    await page.route('**/empty.html', (route) => route.fulfill({ contentType: 'text/html', body: '<!doctype html>' }));
    await page.goto(`${server.address}/empty.html`);
    await page.evaluate(async () => {
        window.elbo = await import('./engine/elbo_web.js');
        window.module = await window.elbo.default();
    });
    const close = async () => {
        await browser.close();
        server.close();
    };
    return { page, said, close };
}

/** The environment in which a program takes the same driver. */
export function sameDriver() {
    const driver = process.env.SWIFTSHADER ?? '/usr/lib/chromium/vk_swiftshader_icd.json';
    return { ...process.env, VK_ICD_FILENAMES: driver, VK_DRIVER_FILES: driver, NODEVICE_SELECT: '1' };
}
