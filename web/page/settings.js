// The form of a preset's settings: common ones first, the rest folded away. Only what differs from the preset is sent.

import { byId, make, title } from './dom.js';
import { on, studio } from './studio.js';

/** What was changed, kept when the preset is: a learning rate that was set stays set. @type {Map<string, string>} */
const changed = new Map();

export function startSettings() {
    byId('preset').addEventListener('change', () => showPreset());
    on('catalogue', () => {
        const select = byId('preset');
        const before = select.value;
        // Presets of one model stand together.
        const groups = new Map();
        for (const preset of studio.catalogue.presets) {
            if (!groups.has(preset.model)) groups.set(preset.model, make('optgroup', { label: preset.model }));
            groups.get(preset.model).append(make('option', { value: preset.name, text: preset.name }));
        }
        select.replaceChildren(...groups.values());
        if (before) select.value = before;
        showPreset();
    });
    on('run', (run) => {
        const known = studio.catalogue.presets.some((/** @type {any} */ preset) => preset.name === run.preset);
        if (known && byId('preset').value !== run.preset) {
            byId('preset').value = run.preset;
            showPreset();
        }
    });
}

/** The preset that is chosen, from the catalogue. */
export function preset() {
    return studio.catalogue?.presets.find((/** @type {any} */ each) => each.name === byId('preset').value);
}

/** The settings that differ from the preset's. @returns {Record<string, string>} */
export function changes() {
    const keys = new Set(preset()?.settings.map((/** @type {any} */ setting) => setting.key));
    return Object.fromEntries([...changed].filter(([key]) => keys.has(key)));
}

function showPreset() {
    const chosen = preset();
    if (!chosen) return;
    byId('preset-about').textContent = chosen.about;
    const [common, rest] = [true, false].map((which) => chosen.settings
        .filter((/** @type {any} */ setting) => Boolean(setting.common) === which).map(control));
    const parts = [make('div', { class: 'settings' }, ...common)];
    if (rest.length) {
        parts.push(make('details', {}, make('summary', { text: `${rest.length} more settings` }),
            make('div', { class: 'settings' }, ...rest)));
    }
    byId('settings').replaceChildren(...parts);
}

/** @param {{ key: string, value: string, help: string }} setting */
function control({ key, value, help }) {
    const id = `setting-${key}`;
    const now = changed.get(key) ?? value;
    const truth = value === 'true' || value === 'false';
    const read = (/** @type {any} */ input) => truth ? String(input.checked) : input.value.trim();
    const input = make('input', {
        id, type: truth ? 'checkbox' : 'text', 'aria-describedby': `${id}-help`, autocomplete: 'off',
        spellcheck: 'false',
        change: (/** @type {any} */ event) => {
            const given = read(event.target);
            // An empty field stands for the preset's own value.
            if (given === value || given === '') changed.delete(key);
            else changed.set(key, given);
            if (!truth && given === '') event.target.value = value;
            row.classList.toggle('changed', changed.has(key));
        },
    });
    if (truth) input.checked = now === 'true';
    else input.value = now;
    const row = make('div', { class: 'setting' }, make('label', { for: id, text: title(key), title: key }), input,
        make('p', { class: 'hint', id: `${id}-help`, text: help }));
    row.classList.toggle('changed', changed.has(key));
    return row;
}
