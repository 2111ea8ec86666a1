// A chapter's kernel, run where it is read. Where the studio lies beside the guide, as on the project's pages, each
// place of a kernel gets a button that opens the studio's page of it in a frame; elsewhere its text stays.
for (const place of document.querySelectorAll("[data-kernel]")) {
    const page = `${path_to_root}studio/kernel.html`;
    // A guide that was opened as a file has no server to ask.
    if (!location.protocol.startsWith("http")) break;
    fetch(page, { method: "HEAD" }).then(({ ok }) => {
        if (!ok) return;
        const button = document.createElement("button");
        button.textContent = `Run ${place.dataset.kernel} in this page`;
        button.addEventListener("click", () => {
            const frame = document.createElement("iframe");
            frame.title = `The cases of ${place.dataset.kernel}`;
            frame.src = `${page}?name=${encodeURIComponent(place.dataset.kernel)}`;
            place.replaceChildren(frame);
        });
        place.append(" ", button);
    }, () => {});
}
