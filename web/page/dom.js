// Small helpers to read and make elements, and to write numbers.

/** The element with this id; the page's own markup has it. @returns {any} */
export function byId(/** @type {string} */ id) {
    return document.getElementById(id);
}

/**
 * Makes an element. Attributes that are functions are listeners; `text` is its text.
 * @param {string} tag
 * @param {Record<string, any>} [attributes]
 * @param {...(Node | string)} children
 * @returns {any}
 */
export function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
        if (name === 'text') element.textContent = value;
        else if (typeof value === 'function') element.addEventListener(name, value);
        else if (value !== null && value !== undefined && value !== false) {
            element.setAttribute(name, value === true ? '' : String(value));
        }
    }
    element.append(...children);
    return element;
}

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });

/** 12,345. @param {number} n */
export function count(n) {
    return whole.format(n);
}

/** A number with about four digits that count: 103.2, 0.00123, 1.2e-7. @param {number} x */
export function number(x) {
    if (!Number.isFinite(x)) return String(x);
    const size = Math.abs(x);
    if (size >= 1000) return whole.format(x);
    if (size >= 100) return x.toFixed(1);
    if (size >= 1) return x.toFixed(2);
    if (size >= 0.001 || size === 0) return String(Number(x.toPrecision(3)));
    return x.toExponential(1);
}

/** 350 µs, 1.2 ms, 3.4 s. @param {number} s seconds */
export function duration(s) {
    if (s < 1e-3) return `${(s * 1e6).toFixed(s < 1e-5 ? 1 : 0)} µs`;
    if (s < 1) return `${(s * 1e3).toFixed(s < 0.01 ? 2 : 1)} ms`;
    return `${s.toFixed(1)} s`;
}

/** "1 epoch", "3 epochs". @param {number} n @param {string} what */
export function counted(n, what) {
    return `${count(n)} ${what}${n === 1 ? '' : 's'}`;
}

const NAMES = { lr: 'learning rate', kl: 'KL' };

/** A key as a reader would say it: "Learning rate" of lr, "KL weight" of kl_weight. @param {string} key */
export function title(key) {
    const said = key.split(/[_-]/).map((word) => NAMES[/** @type {'lr'} */ (word)] ?? word).join(' ');
    return said[0].toUpperCase() + said.slice(1);
}

/** Hands a file to the browser's downloads. @param {string} name @param {BlobPart} content @param {string} type */
export function download(name, content, type) {
    const address = URL.createObjectURL(new Blob([content], { type }));
    make('a', { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

/** Redraws when the element's width or the colour scheme changes. @param {Element} element @param {() => void} draw */
export function redraw(element, draw) {
    let width = 0;
    new ResizeObserver(([entry]) => {
        if (Math.abs(entry.contentRect.width - width) < 1) return;
        width = entry.contentRect.width;
        requestAnimationFrame(draw);
    }).observe(element);
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => requestAnimationFrame(draw));
}
