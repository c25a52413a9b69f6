// Metadata sent with a scan and stored with it: a table of names and values that can be searched and copied.
// Text, never HTML.
"use strict";
(() => {
  const {painters, ask, make, clips} = window.ptylive;
  let sent = null;

  const part = name => document.getElementById(`metadata${name}`);

  function list() {
    const words = part("-match").value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = sent.entries.filter(({name, value}) =>
      words.every(word => `${name}\n${value}`.toLowerCase().includes(word)),
    );
    part("-table").replaceChildren(
      ...found.map(({name, value}) =>
        make("tr", {}, make("th", {text: name, scope: "row"}), make("td", {text: value})),
      ),
    );
    const {length} = sent.entries;
    part("-said").textContent = [
      found.length === length ? `${length} values` : `${found.length} of ${length} values`,
      sent.said,
    ]
      .filter(Boolean)
      .join("; ");
    clips.metadata = found.map(({name, value}) => `${name} = ${value}`).join("\n");
  }

  painters.sent = now => {
    const before = sent;
    sent = now;
    part("").hidden = !now;
    if (!now) return;
    if (before?.recording !== now.recording) {
      part("-match").value = "";
      part("-of").textContent = now.recording;
      part("-match").focus();
    }
    if (JSON.stringify(before) !== JSON.stringify(now)) list();
  };

  function close() {
    const {recording} = sent;
    ask("metadata");
    painters.sent(null);
    [...document.querySelectorAll('#cards [data-act="metadata"]')]
      .find(({dataset}) => dataset.name === recording)
      ?.focus();
  }

  document.addEventListener("keydown", event => {
    if (event.key === "Escape" && sent) close();
  });
  document.addEventListener("click", event => {
    const button = event.target.closest?.('[data-act="metadata"]');
    if (button?.dataset.name === "close") close();
    else if (button) ask("metadata", {name: button.dataset.name});
  });
  document.addEventListener("DOMContentLoaded", () => part("-match").addEventListener("input", list));
})();
