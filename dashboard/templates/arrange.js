// Arranging panels: dragging a panel by its upper edge swaps it with another one, the strips between panels set their
// shares. Keys do the same (Shift + arrows, + and −, 0), and a focused strip follows the arrows. The browser stores
// the result.
"use strict";
(() => {
  const GAP = 8;
  const LEAST = 0.15;
  const LEAST_ASIDE = 300;
  const NAME = "ptylive.arranged";
  const SHARES = {
    four: {cols: [1, 1], rows: [1, 1]},
    six: {cols: [1, 1, 1], rows: [1, 1]},
    pair: {cols: [1, 1], rows: [1]},
    large: {cols: [2.2, 1], rows: [1, 1, 1]},
    one: {cols: [1], rows: [1]},
  };
  const ALONG = {
    cols: {size: "width", at: "clientX", orientation: "vertical", less: "ArrowLeft", more: "ArrowRight"},
    rows: {size: "height", at: "clientY", orientation: "horizontal", less: "ArrowUp", more: "ArrowDown"},
  };
  let kept = {order: [0, 1, 2, 3, 4, 5], shares: {}, aside: 0};
  let strips = [];
  let held = null;
  let carried = null;

  const maps = () => document.querySelector(".maps");
  const layout = () => (document.body.dataset.layout in SHARES ? document.body.dataset.layout : "four");
  const panel_of = number => maps().querySelector(`.panel[data-panel="${number}"]`);
  const total = shares => shares.reduce((sum, one) => sum + one, 0);

  // Stored values may be from another version, or edited by hand: only valid ones are used.
  function read() {
    try {
      const {order, shares = {}, aside = 0} = JSON.parse(localStorage.getItem(NAME)) ?? {};
      if (Array.isArray(order) && [...order].sort().join() === "0,1,2,3,4,5") kept.order = order;
      for (const [name, usual] of Object.entries(SHARES)) {
        const fits = kind =>
          Array.isArray(shares[name]?.[kind])
          && shares[name][kind].length === usual[kind].length
          && shares[name][kind].every(share => Number.isFinite(share) && share > 0);
        if (fits("cols") && fits("rows")) kept.shares[name] = {cols: shares[name].cols, rows: shares[name].rows};
      }
      if (Number.isFinite(aside) && aside > 0) kept.aside = aside;
    } catch {
      /* keep the defaults */
    }
  }

  const keep = () => {
    try {
      localStorage.setItem(NAME, JSON.stringify(kept));
    } catch {
      /* then it is not stored */
    }
  };
  const shares_of = kind => (kept.shares[layout()] ?? SHARES[layout()])[kind];

  // Apply shares, width of the column of values, and order of the panels.
  function paint() {
    const {style} = maps();
    for (const kind of ["cols", "rows"]) {
      const tracks = shares_of(kind).map(share => `minmax(0, ${share}fr)`);
      style.setProperty(`--${kind}`, tracks.join(" "));
    }
    if (kept.aside) document.body.style.setProperty("--aside", `clamp(${LEAST_ASIDE}px, ${kept.aside}px, 50vw)`);
    else document.body.style.removeProperty("--aside");
    // focus follows the order of the document, so panels change places in the document
    for (const [place, number] of kept.order.entries()) {
      const panel = panel_of(number);
      if (maps().children[place] !== panel) maps().insertBefore(panel, maps().children[place]);
    }
    const [first] = shown();
    for (const panel of maps().querySelectorAll(".panel")) panel.classList.toggle("first", panel === first);
    lay_strips();
  }

  const shown = () =>
    [...maps().querySelectorAll(".panel")].filter(panel => getComputedStyle(panel).display !== "none");

  // -- strips between panels

  function strip(kind, index, label) {
    const element = window.ptylive.make("div", {
      class: `strip ${kind}`,
      role: "separator",
      tabindex: "0",
      "aria-label": label,
      "aria-orientation": kind === "rows" ? "horizontal" : "vertical",
      "aria-valuemin": "15",
      "aria-valuemax": "85",
      title: "drag, or use the arrow keys, to change the sizes; double-click to reset",
    });
    Object.assign(element, {kind, index});
    return element;
  }

  // Make the strips that the layout needs, and put them on the borders of the grid.
  function lay_strips() {
    const borders = kind => shares_of(kind).slice(1).map((_, index) => [kind, index]);
    const wanted = [...borders("cols"), ...(layout() === "large" ? [] : borders("rows"))];
    const key = wanted.join(";");
    if (maps().dataset.strips !== key) {
      const names = {cols: "width of panels", rows: "height of panels"};
      for (const old of strips) old.remove();
      strips = wanted.map(([kind, index]) => strip(kind, index, `${names[kind]}, border ${index + 1}`));
      maps().append(...strips);
      maps().dataset.strips = key;
    }
    for (const element of strips) {
      const {kind, index} = element;
      const shares = shares_of(kind);
      const name = kind === "cols" ? "gridTemplateColumns" : "gridTemplateRows";
      const tracks = getComputedStyle(maps())[name].split(" ").map(parseFloat);
      const before = total(tracks.slice(0, index + 1)) + GAP * index;
      element.style.setProperty(kind === "cols" ? "left" : "top", `${before}px`);
      const length = kind === "cols" ? total(tracks_of("gridTemplateRows", shares_of("rows").length)) : 0;
      if (kind === "cols") element.style.height = `${length}px`;
      const share = total(shares.slice(0, index + 1)) / total(shares);
      element.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    }
    const aside = document.getElementById("aside-strip");
    const box = document.querySelector(".view[data-of=session] > aside").getBoundingClientRect();
    aside.setAttribute("aria-valuenow", String(Math.round(Math.min(85, Math.max(15, (100 * box.width) / innerWidth)))));
  }

  // Sizes of the first tracks of the grid, and of the gaps between them.
  function tracks_of(name, count) {
    const tracks = getComputedStyle(maps())[name].split(" ").map(parseFloat).slice(0, count);
    return [...tracks, GAP * (count - 1)];
  }

  // Move the fraction `by` of all shares from one side of a border to the other.
  function shift(kind, index, by) {
    const shares = [...shares_of(kind)];
    const sum = total(shares);
    const least = LEAST * sum;
    const step = Math.max(least - shares[index], Math.min(by * sum, shares[index + 1] - least));
    shares[index] += step;
    shares[index + 1] -= step;
    const {cols, rows} = kept.shares[layout()] ?? SHARES[layout()];
    kept.shares[layout()] = {cols, rows, [kind]: shares};
    paint();
  }

  function widen_aside(by) {
    const {width} = document.querySelector(".view[data-of=session] > aside").getBoundingClientRect();
    kept.aside = Math.round(Math.min(innerWidth / 2, Math.max(LEAST_ASIDE, width + by)));
    paint();
  }

  const move_strip = ({id, kind, index}, by) =>
    id === "aside-strip" ? widen_aside(-by) : shift(kind, index, by / maps().getBoundingClientRect()[ALONG[kind].size]);

  function as_before(element) {
    if (element.id === "aside-strip") {
      kept.aside = 0;
    } else if (kept.shares[layout()]) {
      kept.shares[layout()] = {...kept.shares[layout()], [element.kind]: SHARES[layout()][element.kind]};
    }
    paint();
    keep();
  }

  // -- dragged panels

  function swap(one, other) {
    const [first, second] = [one, other].map(panel => kept.order.indexOf(Number(panel.dataset.panel)));
    [kept.order[first], kept.order[second]] = [kept.order[second], kept.order[first]];
    paint();
    keep();
  }

  const below = event => document.elementFromPoint(event.clientX, event.clientY)?.closest?.(".maps .panel") ?? null;

  function put_down() {
    for (const panel of maps().querySelectorAll(".panel")) panel.classList.remove("carried", "target");
    carried = null;
  }

  document.addEventListener("pointerdown", event => {
    if (event.button !== 0 || innerWidth <= 1100) return;
    const element = event.target.closest?.(".strip");
    const tools = event.target.closest?.(".maps .panel:not(.full) .tools");
    if (element) {
      held = {element, from: event[ALONG[element.kind ?? "cols"].at], pointer: event.pointerId};
      event.preventDefault();
      element.focus();
    } else if (tools && (event.target === tools || event.target.classList.contains("method"))) {
      carried = {
        panel: tools.closest(".panel"),
        x: event.clientX,
        y: event.clientY,
        far: false,
        pointer: event.pointerId,
      };
      event.preventDefault();
    }
  });

  document.addEventListener("pointermove", event => {
    if (held?.pointer === event.pointerId) {
      const now = event[ALONG[held.element.kind ?? "cols"].at];
      held.by = now - held.from;
      held.next ??= requestAnimationFrame(() => {
        if (!held) return;
        move_strip(held.element, held.by);
        held.from += held.by;
        held.next = undefined;
      });
    } else if (carried?.pointer === event.pointerId) {
      carried.far ||= Math.hypot(event.clientX - carried.x, event.clientY - carried.y) > 6;
      if (!carried.far) return;
      carried.panel.classList.add("carried");
      const over = below(event);
      for (const panel of maps().querySelectorAll(".panel")) {
        panel.classList.toggle("target", panel === over && panel !== carried.panel);
      }
    }
  });

  document.addEventListener("pointerup", event => {
    if (held?.pointer === event.pointerId) {
      const {element, from} = held;
      const by = event[ALONG[element.kind ?? "cols"].at] - from;
      held = null;
      if (by) move_strip(element, by);
      keep();
    } else if (carried?.pointer === event.pointerId) {
      const {panel, far} = carried;
      const over = below(event);
      put_down();
      if (far && over && over !== panel) swap(panel, over);
    }
  });

  document.addEventListener("pointercancel", () => {
    held = null;
    if (carried) put_down();
  });
  document.addEventListener("dblclick", event => {
    const element = event.target.closest?.(".strip");
    if (element) as_before(element);
  });

  // -- keys

  document.addEventListener(
    "keydown",
    event => {
      if (event.key === "Escape" && carried) put_down();
      const element = event.target.closest?.(".strip");
      if (!element || !event.key.startsWith("Arrow")) return;
      const {less, more} = ALONG[element.kind ?? "cols"];
      event.stopImmediatePropagation();
      event.preventDefault();
      if (event.key !== less && event.key !== more) return;
      move_strip(element, event.key === more ? 24 : -24);
      keep();
    },
    true,
  );

  // Enlarge or shrink a panel at the cost of its neighbours, if it has any beside, above or below it.
  function grow(panel, by) {
    const place = shown().indexOf(panel);
    const columns = shares_of("cols").length;
    if (place < 0) return;
    const at =
      layout() === "large"
        ? {cols: place ? 1 : 0, rows: null}
        : {cols: place % columns, rows: Math.floor(place / columns)};
    for (const [kind, index] of Object.entries(at)) {
      const count = shares_of(kind).length;
      if (index === null || count < 2) continue;
      if (index + 1 < count) shift(kind, index, by);
      else shift(kind, index - 1, -by);
    }
    keep();
  }

  function reset() {
    delete kept.shares[layout()];
    kept = {...kept, order: [0, 1, 2, 3, 4, 5], aside: 0};
    paint();
    keep();
  }

  const nearest = (panel, dx, dy) => {
    const middle = element => {
      const box = element.getBoundingClientRect();
      return [box.x + box.width / 2, box.y + box.height / 2];
    };
    const [x, y] = middle(panel);
    return shown()
      .map(one => [one, ...middle(one)])
      .filter(([, px, py]) => (px - x) * dx + (py - y) * dy > 5)
      .sort((a, b) => Math.hypot(a[1] - x, a[2] - y) - Math.hypot(b[1] - x, b[2] - y))[0]?.[0];
  };

  window.ptylive.arrange = {
    paint,
    carry: (number, dx, dy) => {
      const panel = number < 6 && panel_of(number);
      const other = panel && nearest(panel, dx, dy);
      if (other) swap(panel, other);
    },
    grow: (number, by) => {
      if (number < 6) grow(panel_of(number), by);
    },
    reset,
  };
  document.addEventListener("DOMContentLoaded", () => {
    read();
    document.getElementById("aside-strip").kind = "cols";
    paint();
    new ResizeObserver(lay_strips).observe(maps());
  });
})();
