// How pictures are drawn. The histogram of a panel: two handles, gamma, percentiles; the server sends the histogram
// and receives what is dragged. And smooth or pixel-by-pixel drawing, which concerns this browser alone.
"use strict";
(() => {
  const {painters, ask} = window.ptylive;
  let shown = {panel: -1};

  const box = () => document.getElementById("contrast");
  const part = name => document.getElementById(`contrast-${name}`);
  const share = value => (value - shown.range[0]) / (shown.range[1] - shown.range[0]);
  const value_of = slider => shown.range[0] + (Number(slider.value) / 1000) * (shown.range[1] - shown.range[0]);

  // Put the box above the button that opened it, inside the window.
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
    for (const [name, at] of [
      ["low", low],
      ["high", high],
    ]) {
      if (!part(name).matches(":active")) part(name).value = 1000 * at;
    }
    if (!part("gamma").matches(":active")) part("gamma").value = (100 * Math.log10(gamma)) / Math.log10(5);
    part("gamma-text").textContent = gamma.toFixed(2);
    part("limits").textContent = `${words.join(" to ")} ${units}${found.locked ? ", locked" : ""}`;
    if (opened) {
      place(found.panel);
      part("low").focus();
    }
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

  // -- smooth, or pixel by pixel

  // Bokeh draws pixels and offers no choice; patterns, probes and trotters stay so. Colours are interpolated, not
  // values: shades remain those of the data, and so do the values under the cursor.
  const SMOOTHED = /^(map_\d|object|compare)$/;
  let smooth = false;

  const images = () =>
    [...(window.Bokeh?.index ?? [])]
      .filter(plot => SMOOTHED.test(plot.model.name ?? ""))
      .flatMap(plot => [...(plot.renderer_views?.values() ?? [])])
      .filter(({glyph}) => glyph?.model.type === "Image");

  // Replace the method that paints a glyph by one that sets smoothing each time an image is drawn.
  function paint_smoothly(glyph) {
    const plain = Object.getPrototypeOf(glyph)._paint;
    if (typeof plain !== "function") return;  // another release of Bokeh: draw pixels rather than nothing
    glyph._paint = function (context, ...rest) {
      const {drawImage} = context;
      context.drawImage = function (...picture) {
        Object.assign(context, {imageSmoothingEnabled: smooth, imageSmoothingQuality: "high"});
        drawImage.apply(context, picture);
      };
      try {
        plain.call(this, context, ...rest);
      } finally {
        delete context.drawImage;
      }
    };
  }

  // Figures appear one after the other; those already patched are left alone.
  function draw() {
    document.querySelector('[data-act="smooth"]').setAttribute("aria-pressed", String(smooth));
    for (const {glyph, parent} of images()) {
      if (!Object.hasOwn(glyph, "_paint")) paint_smoothly(glyph);
      parent.request_paint?.();
    }
  }

  window.ptylive.smooth = () => {
    smooth = !smooth;
    try {
      localStorage.setItem("ptylive.smooth", smooth ? "on" : "off");
    } catch {
      /* then it is not stored */
    }
    draw();
  };

  const {fit} = window.ptylive;
  window.ptylive.fit = (figure, windows) => {
    if (smooth) draw();  // this figure too, which may be new
    fit(figure, windows);
  };

  document.addEventListener("click", event => {
    const button = event.target.closest?.('[data-act="contrast"], [data-act="smooth"]');
    if (button?.dataset.act === "contrast") act(button);
    else if (button) window.ptylive.smooth();
  });
  document.addEventListener("keydown", event => {
    if (event.key === "Escape" && shown.panel >= 0) send("open", []);
  });
  document.addEventListener("DOMContentLoaded", () => {
    try {
      smooth = localStorage.getItem("ptylive.smooth") === "on";
    } catch {
      /* pixels */
    }
    draw();
    for (const name of ["low", "high"]) part(name).addEventListener("input", limits);
    part("gamma").addEventListener("input", () => send("gamma", [5 ** (Number(part("gamma").value) / 100)]));
  });
})();
