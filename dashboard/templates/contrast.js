// The histogram of a panel: two handles, gamma, percentiles. What it shows comes from the server; what is dragged goes there.
"use strict";
(() => {
  const {painters, ask} = window.ptylive;
  let shown = {panel: -1};

  const box = () => document.getElementById("contrast");
  const part = name => document.getElementById(`contrast-${name}`);
  const share = value => (value - shown.range[0]) / (shown.range[1] - shown.range[0]);
  const value_of = slider => shown.range[0] + Number(slider.value) / 1000 * (shown.range[1] - shown.range[0]);

  function place(panel) {
    const button = document.querySelector(`[data-panel="${panel}"] .contrast-open`)?.getBoundingClientRect();
    const {style, offsetWidth, offsetHeight} = box();
    if (!button) return;
    style.left = `${Math.max(6, Math.min(button.right - offsetWidth, innerWidth - offsetWidth - 6))}px`;
    style.top = `${Math.max(6, button.top - offsetHeight - 6)}px`;
  }

  painters.contrast = found => {
    const opened = found.panel !== shown.panel;
    shown = found;
    box().hidden = found.panel < 0;
    if (found.panel < 0) return;
    const {bins, limits, words, units, gamma} = found;
    const [low, high] = limits.map(v => Math.min(1, Math.max(0, share(v))));
    const path = bins.map((v, i) => `M${i} 40V${40 - 40 * Math.sqrt(v)}h1V40z`).join("");
    box().querySelector("path").setAttribute("d", path);
    const band = box().querySelector("rect");
    band.setAttribute("x", 96 * low);
    band.setAttribute("width", Math.max(0, 96 * (high - low)));
    for (const [name, at] of [["low", low], ["high", high]]) if (!part(name).matches(":active")) part(name).value = 1000 * at;
    if (!part("gamma").matches(":active")) part("gamma").value = 100 * Math.log10(gamma) / Math.log10(5);
    part("gamma-text").textContent = gamma.toFixed(2);
    part("limits").textContent = `${words.join(" to ")} ${units}${found.locked ? ", locked" : ""}`;
    if (opened) { place(found.panel); part("low").focus(); }
  };

  const send = (key, numbers) => ask("contrast", {panel: shown.panel, key, numbers});

  function limits() {
    const [low, high] = [value_of(part("low")), value_of(part("high"))];
    if (low < high) send("limits", [low, high]);
  }

  function act(button) {
    const {name, key} = button.dataset;
    if (name === "open") ask("contrast", {key: "open", panel: Number(button.closest("[data-panel]").dataset.panel)});
    else if (name === "close") send("open", []);
    else send(name, key ? key.split(",").map(Number) : []);
  }

  document.addEventListener("click", event => {
    const button = event.target.closest?.('[data-act="contrast"]');
    if (button) act(button);
  });
  document.addEventListener("keydown", event => {
    if (event.key === "Escape" && shown.panel >= 0) send("open", []);
  });
  document.addEventListener("DOMContentLoaded", () => {
    for (const name of ["low", "high"]) part(name).addEventListener("input", limits);
    part("gamma").addEventListener("input", () => send("gamma", [5 ** (Number(part("gamma").value) / 100)]));
  });
})();
