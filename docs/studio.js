// A chapter's kernel, run where it is read. Where the studio lies beside the guide, as on the project's pages, each
// place of a kernel gets a button that opens the studio's page of it in a frame; elsewhere its text stays.
const kernelPage = `${path_to_root}studio/kernel.html`;

/** @param {HTMLElement} place */
function offer(place) {
    const kernel = place.dataset.kernel;
    const button = document.createElement("button");
    button.textContent = `Run ${kernel} in this page`;
    button.addEventListener("click", () => {
        const frame = document.createElement("iframe");
        frame.title = `The cases of ${kernel}`;
        frame.src = `${kernelPage}?name=${encodeURIComponent(kernel)}`;
        place.replaceChildren(frame);
    });
    place.append(" ", button);
}

const kernelPlaces = document.querySelectorAll("[data-kernel]");
// A guide that was opened as a file has no server to ask.
if (kernelPlaces.length > 0 && location.protocol.startsWith("http")) {
    fetch(kernelPage, { method: "HEAD" }).then(({ ok }) => { if (ok) kernelPlaces.forEach(offer); }, () => {});
}
