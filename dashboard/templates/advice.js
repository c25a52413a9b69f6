// The page's suggestions in addition to the values in use: lines below values, eight orientations, thickness.
// Everything that came over the network is set as text, never as HTML; pictures are drawn by the page's own server.
"use strict";
(() => {
  const {painters, ask, make} = window.ptylive;

  painters.beside = rows => {
    for (const line of document.querySelectorAll("[data-beside]")) {
      const {text = "", state = "", label = ""} = rows[line.dataset.beside] ?? {};
      // agreement is a tick next to the value, whose title has the words
      line.hidden = text === "" || state === "agrees";
      const origin = document.querySelector(`tr[data-row="${line.dataset.beside}"] .origin`);
      origin?.classList.toggle("agrees", state === "agrees");
      if (origin && state === "agrees") origin.title = text;
      line.dataset.state = state;
      line.querySelector("span").textContent = text;
      line.querySelector("span").title = text;
      const button = line.querySelector("button");
      button.hidden = label === "";
      button.textContent = label;
    }
  };

  const dialog = () => document.getElementById("orientations");

  painters.orientations = ({open, said, ways}) => {
    const before = dialog().hidden;
    dialog().hidden = !open;
    dialog().querySelector(".said").textContent = said;
    dialog()
      .querySelector(".ways")
      .replaceChildren(
        ...ways.map(({src, text, in_use}, i) =>
          make(
            "button",
            {
              class: "way",
              "data-act": "way",
              "data-name": String(i),
              "aria-pressed": String(in_use),
              title: `use ${text}`,
            },
            make("img", {src, alt: ""}),
            make("span", {text: text.split("; ")[0]}),
            make("small", {text: `${text.split("; ")[1]}${in_use ? ", in use" : ""}`}),
          ),
        ),
      );
    if (open && before) dialog().querySelector("button").focus();
  };

  painters.guide = steps => {
    const box = document.getElementById("guide");
    box.hidden = steps.length === 0;
    box
      .querySelector("ol")
      .replaceChildren(
        ...steps.map(({title, text, state}) =>
          make(
            "li",
            {"data-step": state, ...(state === "now" ? {"aria-current": "step"} : {})},
            make("b", {text: title}),
            ...(state === "now" ? [make("span", {text})] : []),
          ),
        ),
      );
    box.querySelector(".said").textContent =
      steps.length && steps.every(({state}) => state === "done")
        ? "That was all. This scan is in the Library; ? lists the keys."
        : "";
  };

  // The field of a setting is in the shadow root of a widget, which exists once the view has been shown.
  function focus_setting(label, patience = 20) {
    const hosts = [...document.querySelectorAll(`[data-label="${label}"] *`)];
    const field = hosts.map(host => host.shadowRoot?.querySelector("input")).find(Boolean);
    if (field && document.body.dataset.view === "refine") {
      field.focus();
      field.select();
    } else if (patience > 0) {
      setTimeout(() => focus_setting(label, patience - 1), 100);
    }
  }

  const shifts = () => document.getElementById("alignment");

  painters.alignment = ({open, said, rows, src}) => {
    const before = shifts().hidden;
    const picture = shifts().querySelector("img");
    shifts().hidden = !open;
    shifts().querySelector(".said").textContent = said;
    picture.hidden = src === "";
    if (src) picture.src = src;
    else picture.removeAttribute("src");
    shifts()
      .querySelector("table")
      .replaceChildren(
        ...rows.map((texts, row) => make("tr", {}, ...texts.map((text, i) => make(i && row ? "td" : "th", {text})))),
      );
    shifts().querySelector(".buttons").hidden = rows.length === 0;
    if (open && before) shifts().querySelector("select").focus();
  };

  function align(form) {
    const number = name => Number(form.elements[name].value.trim().replace(",", ".")) || 0;
    ask("align", {
      key: "run",
      name: form.elements.reference.value,
      numbers: [number("bin"), number("order"), number("rounds"), Number(form.elements.free.checked)],
    });
  }

  const written = () => document.getElementById("written");

  painters.detectors = rows =>
    written()
      .querySelector("ul")
      .replaceChildren(
        ...rows.map(([name, what]) =>
          make(
            "li",
            {},
            make("b", {text: name}),
            make("span", {text: what}),
            make("button", {
              class: "small",
              "data-act": "unwrite",
              "data-name": name,
              "aria-label": `remove ${name}`,
              text: "✕",
            }),
          ),
        ),
      );

  function show_written(open) {
    written().hidden = !open;
    if (open) written().querySelector("input").focus();
  }

  document.addEventListener("submit", event => {
    const form = event.target;
    if (shifts().contains(form)) {
      align(form);
    } else if (written().contains(form)) {
      ask("detector", {key: "write", name: form.elements.name.value, value: form.elements.what.value});
      form.reset();
    } else {
      return;
    }
    event.preventDefault();
  });

  const actions = {
    align: button => ask("align", {key: button.dataset.name}),
    written: () => show_written(written().hidden),
    unwrite: button => ask("detector", {key: "remove", name: button.dataset.name}),
    use_row: button => ask("use_row", {name: button.closest("[data-beside]").dataset.beside}),
    orientations: () => ask("orientations", {key: dialog().hidden ? "open" : "close"}),
    way: button => ask("orientations", {key: "use", numbers: [Number(button.dataset.name)]}),
    guide: () => ask("guide"),
    decide: button => ask("decide", {key: button.dataset.name}),
    change_depth: () => {
      ask("change_depth");
      focus_setting("thickness / Å");
    },
  };

  document.addEventListener("click", event => {
    const button = event.target.closest?.("[data-act]");
    if (button && button.dataset.act in actions) actions[button.dataset.act](button);
  });
  document.addEventListener("keydown", event => {
    if (event.key !== "Escape") return;
    if (!dialog().hidden) ask("orientations", {key: "close"});
    if (!shifts().hidden) ask("align", {key: "close"});
    show_written(false);
  });
})();
