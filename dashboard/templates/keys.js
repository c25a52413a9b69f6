// Keyboard, focus and full screen: what needs no server happens here, the rest is requested from it.
"use strict";
(() => {
  const panels = () =>
    [...document.querySelectorAll("[data-panel]")].filter(
      e => e.offsetParent !== null && getComputedStyle(e).visibility === "visible",
    );
  let focused = 0;
  let mouse = false;

  function focus(index) {
    focused = index;
    for (const element of document.querySelectorAll("[data-panel]")) {
      element.classList.toggle("focused", Number(element.dataset.panel) === index);
    }
  }

  function full(index) {
    const {dataset} = document.body;
    if (index === null || dataset.full === String(index)) delete dataset.full;
    else dataset.full = index;
    for (const element of document.querySelectorAll("[data-panel]")) {
      element.classList.toggle("full", element.dataset.panel === dataset.full);
    }
  }

  // Settings that the browser stores: the layout of the maps, and the theme; for a page that is loaded again, also its
  // view. A browser that cannot store them is no error.
  const LAYOUTS = ["four", "six", "pair", "large", "one"];
  const kept = (name, storage = "localStorage") => {
    try {
      return window[storage].getItem(`ptylive.${name}`);
    } catch {
      return null;
    }
  };
  const keep = (name, value, storage = "localStorage") => {
    try {
      window[storage].setItem(`ptylive.${name}`, value);
    } catch {
      /* then it is not stored */
    }
  };

  function layout(name) {
    document.body.dataset.layout = name;
    for (const panel of document.querySelectorAll(".maps .panel")) {
      panel.classList.toggle("alone", Number(panel.dataset.panel) === (focused < 6 ? focused : 0));
    }
    window.ptylive.arrange?.paint();
    window.ptylive.ask("layout", {key: name});
  }

  function next_layout() {
    const name = LAYOUTS[(LAYOUTS.indexOf(document.body.dataset.layout) + 1) % LAYOUTS.length];
    layout(name);
    keep("layout", name);
  }

  window.ptylive.theme_kept = on => keep("theme", on ? "light" : "dark");
  window.ptylive.view_kept = name => keep("view", name, "sessionStorage");
  window.ptylive.as_kept = views => {
    const place = views.labels.findIndex(label => label.toLowerCase() === kept("view", "sessionStorage"));
    if (place > 0) views.active = place;
    window.ptylive.ask("layout", {key: document.body.dataset.layout});
    if (kept("theme") === "light") window.ptylive.ask("key", {key: "d"});
  };

  function help(on) {
    document.body.dataset.help = on ? "on" : "off";
    const text = document.querySelector(".help");
    if (on) text.focus();
    else text.blur();  // arrows scroll the help while it is open, then act on the page again
  }

  // The nearest panel in the direction of the arrow.
  function move(dx, dy) {
    const middle = e => {
      const r = e.getBoundingClientRect();
      return [r.x + r.width / 2, r.y + r.height / 2];
    };
    const here = panels().find(e => Number(e.dataset.panel) === focused);
    if (!here) {
      focus(Number(panels()[0]?.dataset.panel ?? 0));
      return;
    }
    const [x, y] = middle(here);
    const ahead = panels()
      .map(e => [e, ...middle(e)])
      .filter(([, px, py]) => (px - x) * dx + (py - y) * dy > 5)
      .sort((a, b) => Math.hypot(a[1] - x, a[2] - y) - Math.hypot(b[1] - x, b[2] - y));
    if (ahead.length) focus(Number(ahead[0][0].dataset.panel));
    if (document.body.dataset.full !== undefined) {
      full(null);
      full(focused);
    }
  }

  const arrows = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]};
  const moves = {KeyW: [-1, 0], KeyS: [1, 0], KeyA: [0, -1], KeyD: [0, 1]};
  const local = {
    f: () => full(focused),
    m: () => window.ptylive.smooth(),
    "+": () => window.ptylive.arrange.grow(focused, 0.05),
    "-": () => window.ptylive.arrange.grow(focused, -0.05),
    "0": () => window.ptylive.arrange.reset(),
    "?": () => help(document.body.dataset.help !== "on"),
    Escape: () => {
      help(false);
      full(null);
      const refused = [...document.querySelectorAll("[data-refused]")].some(place => place.textContent);
      if (refused) window.ptylive.ask("set", {key: "forget"});
    },
    "/": () => {
      const field = document.querySelector("[data-note-field]");
      field?.focus();
      field?.select();
    },
  };

  document.addEventListener("keydown", event => {
    const target = event.composedPath()[0];
    mouse = false;
    if (target instanceof HTMLElement && target.matches("input[type=range]")) {
      if (event.key in arrows) return;
      if (event.key === "Escape") target.blur();
    } else if (target instanceof HTMLElement && target.matches("input, select, textarea")) {
      if (event.key === "Escape") target.blur();
      return;
    }
    if (event.ctrlKey || event.metaKey || (event.key in arrows && document.activeElement?.matches(".help"))) return;
    if (event.altKey && event.key in arrows) {
      // move the picked point; with Shift the rectangle grows
      const [dx, dy] = arrows[event.key];
      window.ptylive.ask("pick", {key: event.shiftKey ? "grow" : "move", numbers: [dy, dx]});
    } else if (event.altKey) {
      if (!(event.code in moves)) return;
      const step = event.shiftKey ? 5 : 1;
      window.ptylive.ask("detector", {key: "move", numbers: moves[event.code].map(v => v * step)});
    } else if (event.key in arrows && event.shiftKey) {
      window.ptylive.arrange.carry(focused, ...arrows[event.key]);
    } else if (event.key in arrows) {
      move(...arrows[event.key]);
    } else if (event.key in local || event.key.toLowerCase() in local) {
      (local[event.key] ?? local[event.key.toLowerCase()])();
    } else if (/^[1-9atlcoprsvd]$/i.test(event.key)) {
      window.ptylive.ask("key", {key: event.key.toLowerCase(), panel: focused});
    } else {
      return;
    }
    event.preventDefault();
  });

  // A choice made with the mouse returns the keyboard focus to the page.
  function release() {
    let element = document.activeElement;
    while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
    if (mouse && element?.matches("select, input[type=range]")) element.blur();
  }
  window.ptylive.release = release;
  document.addEventListener("change", release);
  document.addEventListener("click", event => {
    if (event.target.matches?.("input[type=range]")) release();
  });

  document.addEventListener("pointerdown", event => {
    mouse = true;
    const panel = event.target.closest?.("[data-panel]");
    if (panel) focus(Number(panel.dataset.panel));
  });

  document.addEventListener("click", event => {
    const button = event.target.closest?.("[data-act]");
    if (!button) return;
    const {act} = button.dataset;
    if (act === "full") full(Number(button.closest("[data-panel]").dataset.panel));
    if (act === "layout") next_layout();
    if (act === "help") help(document.body.dataset.help !== "on");
  });

  document.addEventListener("DOMContentLoaded", () => {
    focus(0);
    layout(LAYOUTS.includes(kept("layout")) ? kept("layout") : "four");
  });
})();
