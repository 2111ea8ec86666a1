// What can be turned while a run trains: learning rate, KL weight and what else the run reports.

import { byId, make, number, title } from './dom.js';
import { latest } from './host.js';
import { attempt, host, on } from './studio.js';

const STEPS = 200; // of a slider

/** @typedef {{ key: string, value: number, help: string, min: number, max: number, log: boolean }} Knob */

export function startKnobs() {
    on('run', (run) => {
        byId('knobs').replaceChildren(...(run.knobs ?? []).map(control));
        byId('knobs-card').hidden = !run.knobs?.length;
    });
}

/** A slider beside a field of the same value. @param {Knob} knob */
function control(knob) {
    const { key, help } = knob;
    const name = title(key);
    const [min, max, start] = [knob.min, knob.max, knob.value].map(Number);
    // A logarithmic slider cannot reach 0, so its lowest place stands for it where 0 is allowed.
    const low = min > 0 ? min : max * 1e-5;
    const toPlace = (/** @type {number} */ v) => !knob.log ? STEPS * (v - min) / (max - min) :
        v <= min ? 0 : Math.max(0, STEPS * Math.log(v / low) / Math.log(max / low));
    const toValue = (/** @type {number} */ p) => !knob.log ? min + (max - min) * p / STEPS :
        p === 0 ? min : low * (max / low) ** (p / STEPS);
    const send = latest(async (/** @type {number} */ value) => {
        await attempt(() => host.call('set', key, value));
    });
    const slider = make('input', {
        type: 'range', min: 0, max: STEPS, step: 1, 'aria-label': name, 'aria-describedby': `knob-${key}`,
        input: () => {
            const value = Number(toValue(Number(slider.value)).toPrecision(3));
            field.value = String(value);
            slider.setAttribute('aria-valuetext', number(value));
            send(value);
        },
    });
    const field = make('input', {
        inputmode: 'decimal', 'aria-label': `${name}, as a number`,
        change: () => {
            const value = Number(field.value);
            if (!Number.isFinite(value) || field.value.trim() === '') return void (field.value = String(start));
            slider.value = toPlace(value);
            slider.setAttribute('aria-valuetext', number(value));
            send(value);
        },
    });
    slider.value = toPlace(start);
    slider.setAttribute('aria-valuetext', number(start));
    field.value = String(start);
    return make('div', { class: 'knob' }, make('span', { class: 'knob-name', text: name }), slider, field,
        make('p', { class: 'hint', id: `knob-${key}`, text: help }));
}
