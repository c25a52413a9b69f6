// The page's own small fields and buttons: calibration, depth, checks, runs, slices, copies, search, notes.
// Everything that came over the network is set as text, never as HTML.
"use strict";
(() => {
  const {painters, ask, clips} = window.ptylive;

  // An element with attributes, text and children.
  function make(kind, {text, ...attributes} = {}, ...children) {
    const element = document.createElement(kind);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    element.append(...children);
    return element;
  }

  // Replace what an element of the page contains.
  const is_viewer = () => document.body.dataset.role === "viewer";
  const fill = (id, ...content) => document.getElementById(id).replaceChildren(...content);

  Object.assign(window.ptylive, {make, fill, is_viewer});

  // A field in place of a value: Enter submits it, Escape and leaving it change nothing. A refused text is offered
  // again until Escape.
  function edit(name) {
    const cell = document.querySelector(`[data-cell="${name}"]`);
    if (cell.querySelector("input")) return;
    const reason = document.querySelector(`[data-refused="${name}"]`);
    const row = cell.closest("tr")?.querySelector("th")?.textContent;
    const label = row ?? `parameters of panel ${Number(name.slice(4)) + 1}`;
    const field = make("input", {class: "field", "aria-label": label, value: clips[`edit_${name}`] ?? ""});
    if (name === "other") field.placeholder = "NAME = VALUE";
    field.addEventListener("keydown", event => {
      if (event.key === "Enter" && name.startsWith("map_")) {
        ask("numbers", {panel: Number(name.slice(4)), value: field.value});
      } else if (event.key === "Enter") {
        ask("set", {name, value: field.value});
      }
      if (event.key === "Escape" && reason?.textContent) ask("set", {name, key: "forget"});
      if (event.key === "Enter" || event.key === "Escape") field.blur();
    });
    field.addEventListener("blur", () => {
      cell.classList.remove("edited");
      field.remove();
    });
    cell.classList.add("edited");
    cell.append(field);
    field.scrollIntoView?.({block: "nearest"});
    field.select();
  }

  async function copy(name, button) {
    const before = button.textContent;
    try {
      await navigator.clipboard.writeText(clips[name] ?? "");
    } catch {
      const area = make("textarea", {class: "offscreen"});
      area.value = clips[name] ?? "";
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.textContent = "copied";
    setTimeout(() => {
      button.textContent = before;
    }, 1200);
  }

  function save_preset() {
    const address = URL.createObjectURL(new Blob([clips.preset ?? ""], {type: "application/toml"}));
    make("a", {href: address, download: "preset.toml"}).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  // Irreversible actions require a second click within a few seconds.
  function twice(button, act) {
    if (button.dataset.sure) {
      delete button.dataset.sure;
      act();
      return;
    }
    const before = button.textContent;
    button.dataset.sure = "asked";
    button.textContent = "really?";
    setTimeout(() => {
      delete button.dataset.sure;
      button.textContent = before;
    }, 4000);
  }

  // The tab's title always shows the state; a viewer of another tab gets one notification, if the browser permits it.
  let watched = "";
  let before = null;
  painters.heard = ({title, of, live, told}) => {
    document.title = title ? `${title} · ptylive` : "ptylive";
    if (live) watched = of;
    const fresh = Object.entries(told).filter(
      ([what, text]) => before && before[what] !== text && (what === "refinement" || of === watched),
    );
    before = told;
    if (!document.hidden || window.Notification?.permission !== "granted") return;
    for (const [what, text] of fresh) new Notification("ptylive", {body: text, tag: what});
  };

  async function notify(button) {
    const before = button.textContent;
    const may = window.Notification && window.isSecureContext ? await Notification.requestPermission() : "none";
    button.textContent = {granted: "on", denied: "refused", none: "https only"}[may] ?? before;
    setTimeout(() => {
      button.textContent = before;
    }, 2400);
  }

  const actions = {
    notify: button => notify(button),
    edit: button => edit(button.dataset.name),
    pin: button => ask("pin", {name: button.dataset.name ?? ""}),
    estimate: button => ask("estimate", {name: button.dataset.name ?? ""}),
    undo: () => ask("undo"),
    reset: () => ask("reset"),
    use: () => ask("use"),
    search: button => ask("search", {key: button.dataset.name}),
    beside: button => ask("beside", {name: button.dataset.name}),
    show_run: button => ask("show_run", {name: button.dataset.name ?? ""}),
    run: button => ask("run", {key: button.dataset.name}),
    compare: button => ask("compare", {name: button.dataset.name}),
    copy: button => copy(button.dataset.name, button),
    preset: save_preset,
    load: () => document.getElementById("preset-file").click(),
    open: button => ask("open", {name: button.dataset.name ?? "", key: button.dataset.key ?? ""}),
    replay: button => ask("replay", {name: button.dataset.name ?? "", key: button.dataset.key ?? ""}),
    take: button => ask("take", {value: button.dataset.name}),
    delete: button =>
      twice(button, () => {
        window.ptylive.untick(button.dataset.name);
        ask("delete", {name: button.dataset.name});
      }),
    restore: () => ask("restore"),
    withdraw: button => ask("withdraw", {name: button.dataset.name, value: button.dataset.uid}),
    overwrite: () => ask("overwrite"),
    record: () => ask("record"),
    end_scan: button => twice(button, () => ask("end_scan")),
    past: () => ask("past", {key: "open"}),
    export: button => ask("key", {key: "e", panel: Number(button.closest("[data-panel]").dataset.panel)}),
    detector: button => ask("detector", {key: button.dataset.name, numbers: JSON.parse(clips.disc ?? "[]")}),
  };

  document.addEventListener("click", event => {
    const button = event.target.closest?.("[data-act]");
    if (button && button.dataset.act in actions) actions[button.dataset.act](button);
  });

  const signed = value => `${value < 0 ? "−" : "+"}${Math.abs(value)} Å`;

  document.addEventListener("DOMContentLoaded", () => {
    const depth = document.getElementById("depth");
    const depth_text = document.getElementById("depth-text");
    depth.addEventListener("input", () => {
      depth_text.textContent = signed(Number(depth.value));
    });
    depth.addEventListener("change", () => ask("depth", {numbers: [Number(depth.value)]}));
    painters.depth = value => {
      depth.disabled = is_viewer();
      if (document.activeElement !== depth || !depth.matches(":active")) depth.value = value;
      depth_text.textContent = signed(Math.round(value));
    };

    const slice = document.getElementById("slice");
    const slice_text = document.getElementById("slice-text");
    const name_slice = () => {
      slice_text.textContent = slice.value === "0" ? "all slices" : `slice ${slice.value} of ${slice.max}`;
    };
    slice.addEventListener("input", () => {
      name_slice();
      ask("run", {key: "slice", numbers: [Number(slice.value)]});
    });
    painters.slices = number => {
      slice.max = number;
      slice.hidden = number < 2;
      name_slice();
    };

    const shows = document.getElementById("object-shows");
    shows.addEventListener("change", () => ask("run", {key: "shows", value: shows.value}));

    const file = document.getElementById("preset-file");
    file.addEventListener("change", async () => {
      if (file.files.length) ask("preset", {value: await file.files[0].text()});
      file.value = "";
    });

    const past = document.getElementById("past");
    past.addEventListener("input", () => ask("past", {numbers: [past.max - past.value]}));
    painters.past = ({most, back}) => {
      past.max = Math.max(most, 1);
      past.disabled = most === 0;
      if (!past.matches(":active")) past.value = past.max - back;
    };

    const match = document.getElementById("files-match");
    match.addEventListener("input", () => ask("files", {value: match.value}));

    for (const key of ["match", "since", "until"]) {
      const field = document.getElementById(key);
      field.addEventListener("input", () => ask("search", {key, value: field.value}));
    }
    const refined = document.getElementById("refined");
    refined.addEventListener("change", () => ask("search", {key: "refined", value: refined.checked ? "on" : ""}));

    const note = document.querySelector("[data-note-field]");
    // a note is on the scan that was there when its field was entered
    let present = {text: "", of: ""};
    let of = "";
    const show_note = () => {
      if (document.activeElement !== note) ({text: note.value, of} = present);
    };
    note.addEventListener("change", () => {
      if (of === present.of) present.text = note.value;
      ask("note", {name: of, value: note.value});
    });
    note.addEventListener("keydown", event => {
      if (event.key === "Enter") note.blur();
    });
    note.addEventListener("blur", () => setTimeout(show_note));
    painters.note = found => {
      note.readOnly = is_viewer();
      present = found;
      show_note();
    };
  });

  // Links to the most recent exports; the address is ours, whatever the name.
  painters.downloads = files =>
    fill(
      "downloads",
      ...files.map(({name, href}) =>
        make("a", {
          href: `./${href}`,
          download: name,
          title: name,
          text: files.length > 6 ? "⤓" : `⤓ ${name.split(".").pop()}`,
        }),
      ),
    );

  painters.wrong = lines => {
    for (const place of document.querySelectorAll("[data-wrong]")) place.textContent = lines[place.dataset.wrong] ?? "";
  };

  painters.refused = lines => {
    for (const place of document.querySelectorAll("[data-refused]")) {
      place.textContent = lines[place.dataset.refused] ?? "";
    }
  };

  // Missing metadata of the scan, in the place of its map: the button opens the field in the calibration.
  painters.needs = panels =>
    panels.forEach((lacking, i) => {
      const place = document.querySelector(`#canvas-map-${i} .needs`);
      place.hidden = lacking.length === 0;
      place.replaceChildren(
        make("p", {text: `this map needs the ${lacking.map(({label}) => label).join(", the ")}:`}),
        ...lacking.map(({name, label}) =>
          make("button", {class: "small", "data-act": "edit", "data-name": name, text: label}),
        ),
      );
    });

  // Information limit against dose, both on logarithmic axes: bars for measured and expected values, a line for the
  // prediction from the first scan alone.
  painters.dose = ({measured, predicted, expected}) => {
    const plot = document.getElementById("dose-curve");
    const all = [...measured, ...predicted, ...expected];
    plot.replaceChildren();
    if (!all.length) return;
    const {log} = Math;
    const scans = all.map(point => log(point[0]));
    const limits = all.map(point => log(point[1]));
    const [left, right, low, high] = [
      Math.min(...scans),
      Math.max(...scans),
      Math.min(...limits) - 0.1,
      Math.max(...limits) + 0.1,
    ];
    const x = scan => 34 + (198 * (log(scan) - left)) / (right - left || 1);
    const y = limit => 48 - 44 * Math.min(1, Math.max(0, (log(limit) - low) / (high - low)));
    const draw = (tag, values, text = "") => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [name, value] of Object.entries(values)) element.setAttribute(name, value);
      element.textContent = text;
      plot.append(element);
    };
    draw("polyline", {
      class: "predicted",
      points: predicted.map(([scan, limit]) => `${x(scan)},${y(limit)}`).join(" "),
    });
    for (const [kind, points] of Object.entries({measured, expected})) {
      for (const [scan, limit, finest, coarsest] of points) {
        draw("line", {class: kind, x1: x(scan), x2: x(scan), y1: y(finest), y2: y(coarsest)});
        draw("circle", {class: kind, cx: x(scan), cy: y(limit), r: 2.5});
      }
    }
    const [finest, coarsest] = [Math.min(...limits), Math.max(...limits)].map(Math.exp);
    draw("text", {x: 0, y: y(coarsest) + 3}, `${coarsest.toPrecision(3)} Å`);
    if (coarsest > 1.05 * finest) draw("text", {x: 0, y: y(finest) + 3}, finest.toPrecision(3));
    const ends = [measured[0], measured.at(-1), expected.at(-1)].filter(Boolean);
    for (const scan of new Set(ends.map(point => point[0]))) {
      draw("text", {x: x(scan), y: 59, "text-anchor": "middle"}, `${scan}×`);
    }
  };

  painters.checks = checks =>
    fill(
      "checks",
      ...checks.map(({name, state, text}) =>
        make("li", {"data-check": state}, make("b", {text: name}), make("span", {text, title: text})),
      ),
    );

  const HELD_OUT =
    "held out: negative log-likelihood per pattern, for patterns kept out of a short refinement with these settings; "
    + "lower is better";

  // Results of a run of several scans of one place, for each of them.
  function run_scans(rows) {
    fill(
      "run-scans",
      ...rows.map(({name, text}) =>
        make("li", {}, make("b", {text: name, title: name}), make("span", {text, title: text})),
      ),
    );
  }

  // The run on display is not compared with itself.
  function compare_button(name, on) {
    const text = on ? "comparing" : "compare";
    return make("button", {class: "small", "data-act": "compare", "data-name": name, "aria-pressed": String(on), text});
  }

  painters.runs = ({known, waiting, scans = []}) => {
    run_scans(scans);
    fill(
      "runs",
      ...known.map(({name, text, made, loss, quality = "", on, shown}) =>
        make(
          "li",
          {"data-shown": String(shown)},
          make("button", {
            class: "small run",
            "data-act": "show_run",
            "data-name": name,
            "aria-pressed": String(shown),
            title: "show this run and its settings",
            text: name,
          }),
          make("span", {text: [text, made].filter(Boolean).join(", "), title: made}),
          make("span", {
            text: [`loss ${loss}`, quality].filter(Boolean).join(", "),
            title: quality.includes("held out") ? `${quality}\n${HELD_OUT}` : quality,
          }),
          ...(shown && !on ? [] : [compare_button(name, on)]),
        ),
      ),
      ...waiting.map(({run, uid, series}) =>
        make(
          "li",
          {},
          make("b", {text: run}),
          make("span", {text: series ? `waits (${series})` : "waits"}),
          make("button", {class: "small", "data-act": "withdraw", "data-name": run, "data-uid": uid, text: "withdraw"}),
        ),
      ),
    );
  };
})();
