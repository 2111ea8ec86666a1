// Check this browser: the cases of every kernel on this device, and a report to send.

import { byId, count, counted, download } from './dom.js';
import { attempt, host, say, studio } from './studio.js';

let stopped = false;
let running = false;

/** One line of the report. @param {string} name @param {any} found */
function line(name, found) {
    const verdict = found.failures?.length ? 'FAILED' : found.lacks ? 'lacking' : found.cases ? 'ok' : 'skipped';
    const detail = found.lacks ? `the device lacks ${found.lacks}` :
        `${String(found.cases ?? 0).padStart(4)} cases ${String(found.elements ?? 0).padStart(9)} numbers` +
        `  worst ${Number(found.worst ?? 0).toFixed(3)}${found.skipped ? `  skipped ${found.skipped}` : ''}`;
    return [`${name.padEnd(38)} ${verdict.padEnd(8)} ${detail}`,
        ...(found.failures ?? []).map((/** @type {string} */ failure) => `    ${failure}`)].join('\n');
}

async function check() {
    const names = studio.catalogue.kernels;
    const lines = [
        'elbo, a check of every kernel in a browser', `device   ${byId('description').textContent}`,
        `browser  ${navigator.userAgent}`, `threads  ${navigator.hardwareConcurrency}`,
        `date     ${new Date().toISOString()}`, '',
    ];
    const sum = { cases: 0, elements: 0, failed: 0, lacking: 0 };
    const [bar, report] = [byId('check-bar'), byId('report')];
    report.hidden = false;
    bar.max = names.length;
    let done = 0;
    for (const name of names) {
        if (stopped) break;
        byId('check-said').textContent = `${done + 1} of ${names.length}: ${name}`;
        // A kernel that cannot be checked is a line of the report, not its end.
        const found = await host.call('check', name).catch((error) => ({ failures: [error.message] }));
        sum.cases += found.cases ?? 0;
        sum.elements += found.elements ?? 0;
        sum.failed += found.failures?.length ? 1 : 0;
        sum.lacking += found.lacks ? 1 : 0;
        lines.push(line(name, found));
        bar.value = ++done;
        report.textContent = lines.join('\n');
        report.scrollTop = report.scrollHeight;
        if (!host.worker) break;
    }
    const said = `${counted(done, 'kernel')}, ${counted(sum.cases, 'case')}, ` +
        `${count(sum.elements)} numbers compared: ` +
        `${sum.failed ? `${counted(sum.failed, 'kernel')} failed` : 'none failed'}` +
        `${sum.lacking ? `, ${sum.lacking} that this device cannot run` : ''}${stopped ? '. Stopped early' : ''}.`;
    report.textContent = [...lines, '', said].join('\n');
    report.scrollTop = report.scrollHeight;
    byId('check-said').textContent = said;
    say(said);
}

export function startCheck() {
    const button = byId('check');
    button.addEventListener('click', async () => {
        if (running) {
            stopped = true;
            return;
        }
        if (!studio.catalogue) return;
        running = true;
        stopped = false;
        button.textContent = 'Stop';
        await attempt(check);
        running = false;
        button.textContent = 'Check every kernel';
        byId('copy').disabled = byId('save-report').disabled = false;
    });
    byId('copy').addEventListener('click', async () => {
        try {
            await navigator.clipboard.writeText(byId('report').textContent);
            say('The report is on the clipboard.');
        } catch {
            // Without the right to write there, the reader copies what is selected.
            getSelection()?.selectAllChildren(byId('report'));
            say('The report is selected: copy it with the keyboard.');
        }
    });
    byId('save-report').addEventListener('click', () =>
        download('elbo-check.txt', byId('report').textContent, 'text/plain'));
}
