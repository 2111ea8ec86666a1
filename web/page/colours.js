// Colours that drawings share.

const CLASSES = 10; // colours of classes, in style.css

/** The colour of class k, as CSS writes it. @param {number} k */
export function classColour(k) {
    return `var(--class-${k % CLASSES})`;
}

/** The colours of the classes, to draw with. */
export function classColours() {
    return [...Array(CLASSES).keys()].map((k) => themed(`class-${k}`));
}

/** A colour of the style sheet, which differs by day and night. @param {string} name */
export function themed(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The colour of a line of the loss chart: 0 is the total. @param {number} k */
export function lineColour(k) {
    return themed(`line-${k % 6}`);
}

/** From nothing (the ground) over orange to near white or black: for -log p. @param {number} t from 0 to 1 */
export function heat(t) {
    const stops = [[13, 8, 30], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
    const at = Math.min(Math.max(t, 0), 0.9999) * (stops.length - 1);
    const k = Math.floor(at);
    return stops[k].map((from, c) => Math.round(from + (stops[k + 1][c] - from) * (at - k)));
}
