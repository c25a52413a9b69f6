// What the browser does on its own: paints texts, fits pictures to their panels, acknowledges what it has shown.
"use strict";
window.ptylive = (() => {
  const fields = new Map();
  const last = {texts: {}, marks: {}, styles: {}, lists: {}, clips: {}};
  const painters = {};
  let asked = null;
  let requests = 0;

  // Call `apply` for each entry that is not what it was the last time.
  function differing(kind, now, apply) {
    for (const [key, value] of Object.entries(now)) {
      const text = typeof value === "string" ? value : JSON.stringify(value);
      if (last[kind][key] !== text) {
        last[kind][key] = text;
        apply(key, value);
      }
    }
  }

  // Unrelated remarks, each on its own line.
  function tell(element, remarks) {
    element.replaceChildren(
      ...remarks.flatMap((text, place) => {
        const remark = document.createElement("span");
        remark.textContent = text;
        return place ? [" ", remark] : [remark];
      }),
    );
  }

  function write(element, text) {
    if (element.classList.contains("ends")) {
      window.ptylive.with_ends(element, text);
    } else if (element.classList.contains("remarks")) {
      tell(element, text.split("\n"));
      window.ptylive.sentence_told();
    } else {
      element.textContent = text;
    }
  }

  function render(content) {
    if (!asked) return;  // a change that arrives while the page is built: ready() renders it
    const {texts = {}, marks = {}, styles = {}, lists = {}, clips = {}} = JSON.parse(content);
    differing("texts", texts, (key, value) => {
      for (const element of fields.get(key) ?? []) {
        if (element.dataset.text === key) write(element, value);
        element.title = value;
      }
    });
    differing("marks", marks, (key, value) => {
      document.body.dataset[key] = value;
      for (const button of document.querySelectorAll(`[data-needs="${key}"]`)) button.disabled = value === "off";
    });
    differing("styles", styles, (key, value) => {
      document.body.style.setProperty(key, value);
    });
    differing("lists", lists, (key, value) => painters[key]?.(value));
    differing("clips", clips, () => {});
  }

  // To the server: {what, …}; the number makes equal requests differ.
  function ask(what, more = {}) {
    if (asked) asked.content = JSON.stringify({number: ++requests, what, ...more});
  }

  // What is on the screen from now on: clicks that follow are meant for this scan and this refinement.
  painters.on_screen = ([name, key, value]) => ask("on_screen", {name, key, value});

  // The server sends the next picture only after this answer; a hidden page paints nothing and so receives nothing.
  function acknowledge(source, shown) {
    const number = source.data.number[0];
    requestAnimationFrame(() =>
      requestAnimationFrame(() => {
        shown.number = number;
      }),
    );
  }

  // A large figure is viewed from further away: its scale bar grows.
  function letter(figure) {
    const size = figure.inner_height > 560 ? 26 : 13;
    for (const bar of figure.center.filter(item => item.type === "ScaleBar")) {
      bar.setv({label_text_font_size: `${size}px`, bar_line_width: size / 3.25});
    }
  }

  // Figures placed on the page, each with its windows.
  const placed = new Map();

  function fit(figure, windows) {
    placed.set(figure.id, [figure, windows]);
    // the ranges of one window, not the figure's: while switching windows it has one range of each
    const [x_range, y_range, extent] = windows.find(([range]) => range.id === figure.x_range.id) ?? windows[0];
    const [left, top, width, height] = extent.box;
    // not placed on the page yet
    if (["inner_width", "inner_height"].some(name => figure.properties[name].is_unset)) return;
    const {inner_width, inner_height} = figure;
    if (!(inner_width > 1 && inner_height > 1 && width > 0 && height > 0)) return;
    letter(figure);
    const scale = Math.max(width / inner_width, height / inner_height);
    const x = left + width / 2;
    const y = top + height / 2;
    const half_width = (scale * inner_width) / 2;
    const half_height = (scale * inner_height) / 2;
    x_range.setv({start: x - half_width, end: x + half_width});
    y_range.setv({start: y + half_height, end: y - half_height});
  }

  // The extent of a window has changed.
  function refit(extent) {
    for (const [figure, windows] of placed.values()) {
      if (windows.some(([, , one]) => one.id === extent.id)) fit(figure, windows);
    }
  }

  // The shade that a picture has at a place; null outside it.
  function shade_at(source, x, y) {
    const {image, x: [left], y: [top], dw: [width], dh: [height]} = source.data;
    const [rows, columns] = image[0].shape;
    const row = Math.floor(((y - top) / height) * rows);
    const column = Math.floor(((x - left) / width) * columns);
    if (row < 0 || column < 0 || row >= rows || column >= columns) return null;
    return image[0][row * columns + column];
  }

  const tidy = text => text.replace("-", "−");

  // The value there, from the limits of the shades, as text with its unit.
  function value_at(source, name, x, y) {
    const shade = shade_at(source, x, y);
    if (shade === null) return null;
    const {low: [low], high: [high], units: [units]} = source.data;
    const share = name === "dpc" ? ((shade - 1) % 31) / 30 : (shade - 1) / 254;
    return shade === 0
      ? "–"
      : `${tidy((low + share * (high - low)).toPrecision(3))}${units && units !== "log" ? ` ${units}` : ""}`;
  }

  // A model of the page by its name; models of hidden parts are created later.
  const models = new Map();
  function named(name, document) {
    if (!models.get(name)) models.set(name, document.get_model_by_name(name));
    return models.get(name);
  }

  // Position of the mouse, row before column, and the values there of all maps in the same window; each name once.
  function cursor(kind, event) {
    const element = document.getElementById("cursor");
    if (kind === "mouseleave") {
      element.textContent = "";
      return;
    }
    const values = new Map();
    let where = "";
    for (let i = 0; i < 6; i++) {
      const figure = named(`map_${i}`, event.origin.document);
      if (figure?.x_range.id !== event.origin.x_range.id) continue;
      const {data_source: source} = figure.renderers[0];
      const {value: name} = named(`map_${i}_choice`, event.origin.document);
      const value = value_at(source, name, event.x, event.y);
      if (value === null) continue;
      values.set(name, value);
      where = source.data.where[0];
    }
    const place = `${tidy(event.y.toPrecision(3))}, ${tidy(event.x.toPrecision(3))} ${where}`;
    element.textContent = [...values]
      .map(([name, value]) => `${name} ${value}`)
      .concat(values.size ? place : [])
      .join(" · ");
  }

  function cards(text) {
    const {scans = [], files = null, sent = null} = JSON.parse(text);
    painters.history?.(scans);
    painters.files?.(files);
    painters.sent?.(sent);
  }

  // Where a view was scrolled to: one that is shown for the first time begins at its top.
  const scrolled = new Map();

  function view(name) {
    const {dataset} = document.body;
    const before = dataset.view;
    dataset.view = name;
    if (!asked || name === before) return;
    scrolled.set(before, window.scrollY);
    window.scrollTo(0, scrolled.get(name) ?? 0);
    window.ptylive.view_kept?.(name);
  }

  function light(on) {
    document.body.dataset.theme = on ? "light" : "dark";
    if (asked) window.ptylive.theme_kept?.(on);
  }

  // Bokeh's fields have no names for screen readers; ours are in the elements around them.
  function name_fields() {
    for (const slot of document.querySelectorAll("[data-label]")) {
      for (const host of slot.querySelectorAll("*")) {
        for (const field of host.shadowRoot?.querySelectorAll("select, input") ?? []) {
          field.setAttribute("aria-label", slot.dataset.label);
        }
      }
    }
    for (const place of document.querySelectorAll("[data-figure]")) {
      for (const area of in_shadows(place, ".bk-events")) {
        area.setAttribute("role", "img");
        area.setAttribute("aria-label", place.dataset.figure);
      }
    }
  }

  // Elements below another one, in shadow roots too.
  function in_shadows(root, selector) {
    const hosts = [...root.querySelectorAll("*")].filter(element => element.shadowRoot);
    return [...root.querySelectorAll(selector), ...hosts.flatMap(host => in_shadows(host.shadowRoot, selector))];
  }

  function ready(page, asked_model, pairs) {
    asked = asked_model;
    for (const element of document.querySelectorAll("[data-text], [data-title]")) {
      const key = element.dataset.text ?? element.dataset.title;
      fields.set(key, [...(fields.get(key) ?? []), element]);
    }
    render(page.content);
    cards(page.cards);
    for (const [source, shown] of pairs) acknowledge(source, shown);
    document.body.dataset.ready = "yes";
    beat(page.clock);
    listening = until_done(listen);
    name_fields();
    document.addEventListener("focusin", name_fields);  // some fields are created later
    ask("ready");
    window.ptylive.as_kept?.(page.document.get_model_by_name("view"));
  }

  // The dashboard itself has gone: report it, and reload the page as soon as it responds.
  function disconnected() {
    const since = time_of_day(performance.now());
    const ended = document.body.dataset.ended === "on";
    if (!ended) {
      render(
        JSON.stringify({
          texts: {banner: `dashboard lost at ${since}: the last picture stays; reconnecting automatically`},
          marks: {link: "gone"},
        }),
      );
    }
    clearInterval(listening);
    until_done(async () => (await responds()) && again());
  }

  // Status 500 and above: a proxy responds, but the dashboard behind it does not yet.
  async function responds() {
    try {
      return (await fetch("favicon.ico", {cache: "no-store", signal: AbortSignal.timeout(5000)})).status < 500;
    } catch {
      return false;
    }
  }

  function again() {
    window.location.reload();
    return true;
  }

  // Calls `act` every second until it returns true; one call at a time, because a request may take longer.
  function until_done(act) {
    let busy = false;
    const timer = setInterval(async () => {
      if (busy) return;
      busy = true;
      if (await act()) clearInterval(timer);
      else busy = false;
    }, 1000);
    return timer;
  }

  // A network may fail without ending the connection: a cable, a tunnel, a laptop that slept. The server sends a beat
  // every 5 s.
  const SILENT_MS = 15_000;
  const GRACE_MS = 30_000;
  let heard = 0;
  let silence = null;
  let listening = null;
  let clock = 0;  // of the server, when it was heard: that of the browser may be wrong, and may be set meanwhile

  // The time of day of a moment, as the rest of the page has it.
  function time_of_day(moment) {
    const seconds = clock + (moment - heard) / 1000;
    const parts = [(seconds / 3600) % 24, (seconds / 60) % 60, seconds % 60];
    return parts.map(part => String(Math.floor(part)).padStart(2, "0")).join(":");
  }

  function beat(time = clock + (performance.now() - heard) / 1000) {
    [clock, heard] = [time, performance.now()];
    if (silence && last.texts.banner === silence.said) render(JSON.stringify(silence.before));
    silence = null;
  }

  // A dashboard that responds, while its old connection stays silent, is connected anew.
  async function listen() {
    if (performance.now() - heard < SILENT_MS) return false;
    if (!silence) {
      const said =
        `nothing has arrived since ${time_of_day(heard)}: the last picture stays; `
        + "the network or the dashboard does not respond";
      silence = {
        said,
        before: {texts: {banner: last.texts.banner ?? ""}, marks: {link: last.marks.link ?? "up"}},
        back: null,
      };
      render(JSON.stringify({texts: {banner: said}, marks: {link: "gone"}}));
    }
    const back = await responds();
    if (!silence) return false;
    silence.back = back ? (silence.back ?? performance.now()) : null;
    return back && performance.now() - silence.back > GRACE_MS && again();
  }

  const UNCONNECTED =
    "this page is not connected yet and tries again every 30 seconds. If that does not help, "
    + "a proxy in front of the dashboard does not pass on WebSockets: its configuration needs "
    + "the lines for Upgrade and Connection";

  // If the first connection fails, on a machine that is busy or just starting, the page would stay empty for ever.
  function come_up() {
    view("session");
    light(false);
    const unless_ready = (after_ms, act) =>
      setTimeout(() => {
        if (document.body.dataset.ready !== "yes") act();
      }, after_ms);
    unless_ready(12_000, () => {
      document.querySelector(".banner").textContent = UNCONNECTED;
    });
    unless_ready(30_000, () => window.location.reload());
  }

  document.addEventListener("DOMContentLoaded", come_up);
  return {
    render,
    cards,
    acknowledge,
    fit,
    refit,
    cursor,
    view,
    light,
    ready,
    disconnected,
    beat,
    ask,
    painters,
    clips: last.clips,
  };
})();
