// Drags with a key held: Shift on a map is a rectangle, whose mean pattern is shown; Ctrl (or ⌘) measures lengths and
// angles.
"use strict";
(() => {
  const {ask} = window.ptylive;
  const NAMES = {0: "map_0", 1: "map_1", 2: "map_2", 3: "map_3", 4: "map_4", 5: "map_5", 11: "object"};
  const SVG = "http://www.w3.org/2000/svg";
  let drag = null;
  let lines = [];
  let held = null;

  const figure_of = panel => (panel in NAMES ? window.Bokeh?.documents[0]?.get_model_by_name(NAMES[panel]) : null);
  const tidy = text => text.replace("-", "−");

  function overlay(canvas) {
    let svg = canvas.querySelector(":scope > svg.drag");
    if (!svg) {
      svg = document.createElementNS(SVG, "svg");
      svg.setAttribute("class", "drag");
      canvas.append(svg);
    }
    return svg;
  }

  // Position of the pointer on the page, in its canvas, and in the coordinates of the picture.
  function place(event, {canvas, figure}) {
    const box = canvas.getBoundingClientRect();
    const px = Math.min(Math.max(event.clientX - box.left, 0), box.width);
    const py = Math.min(Math.max(event.clientY - box.top, 0), box.height);
    const {x_range: x, y_range: y} = figure;
    return {
      px,
      py,
      x: x.start + (px / box.width) * (x.end - x.start),
      y: y.end + (py / box.height) * (y.start - y.end),
    };
  }

  const unit = figure => figure.renderers[0].data_source.data.where?.[0] ?? "";

  function draw(canvas, shapes) {
    overlay(canvas).replaceChildren(
      ...shapes.map(({tag, text = "", ...attributes}) => {
        const element = document.createElementNS(SVG, tag);
        for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
        element.textContent = text;
        return element;
      }),
    );
  }

  function clear() {
    for (const svg of document.querySelectorAll("svg.drag")) svg.replaceChildren();
    lines = [];
    held = null;
  }

  // Degrees from the horizontal, counter-clockwise as seen on the screen; a line has no direction.
  const angle = ({from, to}) => ((Math.atan2(from.y - to.y, to.x - from.x) * 180) / Math.PI + 360) % 180;
  const length = ({from, to}) => Math.hypot(to.x - from.x, to.y - from.y);

  // Length and angle of the last line, and the angle between the last two.
  function said(all, where) {
    const now = all.at(-1);
    const words = [`${tidy(length(now).toPrecision(3))} ${where}`, `${angle(now).toFixed(1)}° from horizontal`];
    if (where === "1/Å" && length(now) > 0) words.splice(1, 0, `period ${(1 / length(now)).toPrecision(3)} Å`);
    if (all.length > 1) {
      const between = Math.abs(angle(now) - angle(all.at(-2))) % 180;
      words.push(`${Math.min(between, 180 - between).toFixed(1)}° between the two`);
    }
    return words.join(" · ");
  }

  function show_lines(canvas, all, where) {
    const text = said(all, where);
    const {to} = all.at(-1);
    const width = canvas.getBoundingClientRect().width;
    const right = to.px > width / 2;
    draw(canvas, [
      ...all.map(({from, to: end}) => ({
        tag: "line",
        class: "measure",
        x1: from.px,
        y1: from.py,
        x2: end.px,
        y2: end.py,
      })),
      {
        tag: "text",
        x: to.px + (right ? -8 : 8),
        y: Math.max(14, to.py - 8),
        "text-anchor": right ? "end" : "start",
        text,
      },
    ]);
    document.getElementById("cursor").textContent = text;
  }

  function show_rectangle(canvas, {from, to}) {
    const [x, y] = [Math.min(from.px, to.px), Math.min(from.py, to.py)];
    draw(canvas, [
      {tag: "rect", class: "chosen", x, y, width: Math.abs(to.px - from.px), height: Math.abs(to.py - from.py)},
    ]);
  }

  document.addEventListener(
    "pointerdown",
    event => {
      const canvas = event.target.closest?.(".canvas");
      const panel = Number(event.target.closest?.("[data-panel]")?.dataset.panel);
      const figure = canvas && figure_of(panel);
      const measures = event.ctrlKey || event.metaKey;
      const chooses = event.shiftKey && panel < 6;
      if (!figure || event.button !== 0 || !(measures || chooses) || canvas.id === "canvas-compare") {
        if (canvas && canvas === held) clear();
        return;
      }
      event.stopPropagation();
      event.preventDefault();
      if (held !== canvas || !measures) clear();
      const from = place(event, {canvas, figure});
      drag = {canvas, figure, panel, measures, from, to: from, pointer: event.pointerId};
      held = canvas;
    },
    true,
  );

  document.addEventListener(
    "pointermove",
    event => {
      if (!drag || event.pointerId !== drag.pointer) return;
      event.stopPropagation();
      drag.to = place(event, drag);
      if (drag.measures) show_lines(drag.canvas, [...lines.slice(-1), drag], unit(drag.figure));
      else show_rectangle(drag.canvas, drag);
    },
    true,
  );

  document.addEventListener(
    "pointerup",
    event => {
      if (!drag || event.pointerId !== drag.pointer) return;
      event.stopPropagation();
      const {measures, from, to, panel, canvas} = drag;
      const far = Math.hypot(to.px - from.px, to.py - from.py) > 3;
      if (measures && far) lines = [...lines.slice(-1), {from, to}];
      if (!measures) {
        draw(canvas, []);
        if (far) ask("pick", {key: "rectangle", panel, numbers: [from.y, from.x, to.y, to.x]});
      }
      drag = null;
      window.addEventListener("click", swallow, {capture: true, once: true});
      setTimeout(() => window.removeEventListener("click", swallow, true), 50);
    },
    true,
  );

  // A drag ends with a click, which the map must not take for one.
  function swallow(event) {
    event.stopPropagation();
  }

  document.addEventListener(
    "wheel",
    event => {
      if (held && event.target.closest?.(".canvas") === held) clear();
    },
    {capture: true, passive: true},
  );
  document.addEventListener("keydown", event => {
    if (event.key === "Escape") clear();
  });
})();
