// Work with many jobs: where it runs, trials of settings, batches of scans.
// Everything that came over the network is set as text, never as HTML.
"use strict";
(() => {
  const {painters, ask, fill, make} = window.ptylive;
  const chosen = new Set();
  let shown = [];

  const cells = (kind, texts) => texts.map(text => make(kind, {text, title: text}));

  painters.places = ({options, chosen: now}) => {
    for (const select of document.querySelectorAll("[data-place]")) {
      select.replaceChildren(...options.map(({name, words}) => make("option", {value: name, text: words})));
      select.value = now;
    }
  };

  // -- trials

  function form() {
    const rows = {};
    const typed = {};
    for (const line of document.querySelectorAll("[data-varied]")) {
      const tick = line.querySelector("[data-tick]");
      const low = line.querySelector("[data-low]").value;
      if (!tick) typed[line.dataset.varied] = low;
      else if (tick.checked) rows[line.dataset.varied] = [low, line.querySelector("[data-high]").value];
    }
    return JSON.stringify({rows, ...typed});
  }

  painters.tune_wrong = wrong => {
    for (const line of document.querySelectorAll("[data-varied]")) {
      const said = wrong[line.dataset.varied] ?? "";
      line.classList.toggle("is-wrong", said !== "");
      line.querySelector(".wrong").textContent = said;
    }
  };

  painters.tune_table = ({head, rows}) =>
    fill(
      "tune-table",
      make("tr", {}, ...cells("th", head)),
      ...rows.map(({cells: texts, state, best}) =>
        make("tr", {"data-state": state, "data-best": String(best)}, ...cells("td", texts)),
      ),
    );

  painters.tune_values = values =>
    fill(
      "tune-values",
      ...(values.length > 1 ? values : []).map(({name, title, on}) =>
        make("button", {
          class: "small",
          "data-act": "landscape",
          "data-name": name,
          "aria-pressed": String(on),
          text: title,
        }),
      ),
    );

  painters.tune_found = ({estimates, said}) =>
    fill(
      "tune-found",
      ...estimates.map(({text, told}) => make("li", {"data-told": String(told), text})),
      ...said.map(text => make("li", {class: "dim", text})),
    );

  // -- batches

  function count() {
    document.getElementById("chosen").textContent = chosen.size
      ? `${chosen.size} ticked`
      : "tick scans to refine or download them";
  }

  window.ptylive.tick = (recording, title) => {
    const box = make("input", {
      type: "checkbox",
      class: "tick",
      "aria-label": `choose ${title}`,
      title: "for “refine ticked” and “download ticked”",
    });
    box.checked = chosen.has(recording);
    box.addEventListener("change", () => {
      chosen[box.checked ? "add" : "delete"](recording);
      count();
    });
    return box;
  };

  window.ptylive.untick = recording => {
    chosen.delete(recording);
    count();
  };

  const history = painters.history;
  painters.history = entries => {
    shown = entries.map(({recording}) => recording);
    count();  // ticks are kept on other pages of the list
    history(entries);
  };

  function choose_all() {
    const every = shown.length > 0 && shown.every(one => chosen.has(one));
    chosen.clear();
    for (const box of document.querySelectorAll("#cards .tick")) box.checked = !every;
    if (!every) for (const one of shown) chosen.add(one);
    count();
  }

  painters.batch = ({rows, said}) => {
    document.getElementById("batch-said").textContent = said;
    fill(
      "batch-table",
      ...rows.map(({name, state, cells: texts}) =>
        make("tr", {"data-state": state}, make("th", {text: name, title: name}), ...cells("td", texts)),
      ),
    );
    document.getElementById("batch").hidden = rows.length === 0 && said === "";
  };

  // -- scans of one place at several tilts

  const dialog = () => document.getElementById("together");
  const tilted = () => [...dialog().querySelectorAll(".tilted-scan")];

  function tilts() {
    return tilted().map(line => [
      line.dataset.recording,
      ...[...line.querySelectorAll("input")].map(field => field.value),
    ]);
  }

  function tilted_scan({recording, title}) {
    const field = which =>
      make("input", {class: "field", value: "0", maxlength: "24", "aria-label": `tilt of ${title}, ${which}`});
    return make(
      "div",
      {class: "tilted-scan", "data-recording": recording},
      make("b", {text: title, title: recording}),
      make("label", {text: "row"}, field("row")),
      make("label", {text: "column"}, field("column")),
      make("span", {text: "mrad"}),
      make("p", {class: "wrong", role: "alert"}),
    );
  }

  painters.together = ({rows, said}) => {
    const before = dialog().hidden;
    dialog().hidden = rows.length === 0;
    document.getElementById("together-said").textContent = said;
    const wanted = rows.map(({recording}) => recording).join();
    const present = tilted().map(line => line.dataset.recording).join();
    if (wanted !== present) dialog().querySelector(".tilted").replaceChildren(...rows.map(tilted_scan));
    if (before && rows.length) dialog().querySelector(".tilted input").select();
  };

  painters.together_wrong = wrong => {
    for (const line of tilted()) {
      const text = wrong[line.dataset.recording] ?? "";
      line.classList.toggle("is-wrong", text !== "");
      line.querySelector(".wrong").textContent = text;
    }
    document.querySelector("[data-together]").textContent = wrong.form ?? "";
  };

  document.addEventListener("keydown", event => {
    if (dialog().hidden) return;
    if (event.key === "Escape") ask("together", {key: "close"});
    if (event.key === "Enter" && event.target.closest?.(".tilted")) {
      ask("together", {key: "start", value: JSON.stringify(tilts())});
    }
  });

  const actions = {
    together: ({dataset: {name}}) =>
      ask("together", {key: name, value: JSON.stringify(name === "open" ? [...chosen] : tilts())}),
    tune: button => ask("tune", {key: button.dataset.name, value: form()}),
    beside_ticked: () => {
      const [first, second, ...more] = chosen;
      if (second && !more.length) ask("beside", {name: second, value: first});
      else document.getElementById("chosen").textContent = "tick two refined scans to compare them";
    },
    fetch: () => ask("fetch", {value: JSON.stringify([...chosen])}),
    landscape: button => ask("landscape", {name: button.dataset.name}),
    batch: button => {
      if (button.dataset.name === "all") {
        choose_all();
        return;
      }
      if (button.dataset.name === "start") document.getElementById("batch").open = true;
      ask("batch", {key: button.dataset.name, value: JSON.stringify([...chosen])});
    },
  };

  document.addEventListener("click", event => {
    const button = event.target.closest?.("[data-act]");
    if (button && button.dataset.act in actions) actions[button.dataset.act](button);
  });

  document.addEventListener("DOMContentLoaded", () => {
    for (const select of document.querySelectorAll("[data-place]")) {
      select.addEventListener("change", () => ask("place", {value: select.value}));
    }
    for (const field of document.querySelectorAll(".varied [data-low], .varied [data-high]")) {
      const tick = field.closest("[data-varied]").querySelector("[data-tick]");
      field.addEventListener("input", () => {
        if (tick && field.value) tick.checked = true;
      });
    }
  });
})();
