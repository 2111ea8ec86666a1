// Tabs as the ARIA authoring practices have them: one stop of the Tab key, arrow keys between them.

import { byId } from './dom.js';
import { emit } from './studio.js';

export function startTabs() {
    const tabs = [.../** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[role=tab]'))];
    for (const tab of tabs) {
        tab.addEventListener('click', () => open(tab.getAttribute('aria-controls') ?? ''));
        tab.addEventListener('keydown', (event) => {
            const at = tabs.indexOf(tab);
            const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: tabs.length - 1 }[event.key];
            if (to === undefined) return;
            event.preventDefault();
            const next = tabs[(to + tabs.length) % tabs.length];
            next.focus();
            open(next.getAttribute('aria-controls') ?? '');
        });
    }
    const named = () => tabs.find((tab) => `#/${tab.getAttribute('aria-controls')}` === location.hash);
    addEventListener('hashchange', () => named() && open(location.hash.slice(2)));
    if (named()) open(location.hash.slice(2));
}

/** Brings a part of the page to the front. @param {string} id */
export function open(id) {
    for (const tab of /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll('[role=tab]'))) {
        const chosen = tab.getAttribute('aria-controls') === id;
        tab.setAttribute('aria-selected', String(chosen));
        tab.tabIndex = chosen ? 0 : -1;
        byId(tab.getAttribute('aria-controls') ?? '').hidden = !chosen;
        // In a row that scrolls sideways, as on a telephone, the chosen tab is in view.
        if (chosen) tab.scrollIntoView({ block: 'nearest', inline: 'nearest' });
    }
    // With a slash, as the browser would take the focus to an element of that very name.
    history.replaceState(null, '', `#/${id}`);
    emit('tab', id);
}
