// The library: scans as cards or lines, and files of other programs.
// Everything that came over the network is set as text, never as HTML.
"use strict";
(() => {
  const {painters, ask, fill, make, is_viewer} = window.ptylive;

  // A line for each scan, or a card: the browser stores which.
  function cards_as(shape) {
    document.body.dataset.cards = shape;
    document.querySelector('[data-act="cards"]').setAttribute("aria-pressed", String(shape === "list"));
  }

  function other_cards() {
    cards_as(document.body.dataset.cards === "list" ? "grid" : "list");
    try {
      localStorage.setItem("ptylive.cards", document.body.dataset.cards);
    } catch {
      /* then it is not stored */
    }
  }

  function card({
    recording,
    title,
    time = "",
    lines,
    lost = "",
    note,
    sample = "",
    noted = "",
    refined = false,
    picture,
    object = "",
  }) {
    const map = picture ? make("img", {src: picture, alt: ""}) : make("div", {class: "no-picture", text: "no maps"});
    const phase = object
      ? [make("img", {src: object, alt: `refined phase of ${title}`, title: "phase from its last refinement"})]
      : [];
    const image = make("div", {class: "pictures"}, map, ...phase);
    const remark = make("input", {class: "field", placeholder: "note", value: note, "aria-label": `note on ${title}`});
    remark.readOnly = is_viewer();
    remark.addEventListener("change", () => ask("note", {name: recording, value: remark.value}));
    const of = make("input", {
      class: "field",
      placeholder: "sample",
      value: sample,
      list: "samples",
      maxlength: "80",
      "aria-label": `sample of ${title}`,
    });
    of.readOnly = is_viewer();
    of.addEventListener("change", () => ask("note", {name: recording, key: "sample", value: of.value}));
    const button = (act, text, title, more = {}) =>
      make("button", {class: "small", "data-act": act, "data-name": recording, text, title, ...more});
    const name = make("b", {class: "ends", title: recording});
    window.ptylive.with_ends(name, title);
    const head = make(
      "div",
      {class: "head"},
      name,
      make("em", {text: lost}),
      button("metadata", "i", "what was sent with this scan: headers and metadata of its recording", {
        "aria-label": `what was sent with ${title}`,
      }),
    );
    const buttons = make(
      "div",
      {class: "actions"},
      button("open", "open", "show this scan again"),
      button("open", "refine", "show it and go to the Refine view", {"data-key": "refine"}),
      ...(refined ? [button("beside", "compare", "its last refinement next to that of the displayed scan")] : []),
      button("replay", "replay", "send it again as a new scan"),
      button("delete", "delete", "move it to the folder .trash; click twice to confirm"),
    );
    return make(
      "article",
      {class: "card"},
      image,
      window.ptylive.tick(recording, title),
      head,
      make("small", {text: time}),
      ...lines.map(text => make("span", {text, title: text})),
      of,
      remark,
      make("small", {text: noted}),
      buttons,
    );
  }

  // Files of other programs that this server may open; null: no folder is configured.
  painters.files = found => {
    document.body.dataset.files = found ? "on" : "off";
    if (!found) return;
    document.getElementById("files-folder").textContent = `${found.folder}: ${found.said}`;
    fill(
      "files",
      ...found.files.map(({name, text}) =>
        make(
          "li",
          {},
          make("span", {text: name, title: name}),
          make("small", {text}),
          make("button", {class: "small", "data-act": "take", "data-name": name, text: "open"}),
        ),
      ),
    );
  };

  // Cards are drawn anew when the list changes: the button that has the keyboard's focus keeps it.
  function replace_cards(list, cards) {
    const identity = ({dataset: {act, name, key}, ariaLabel}) => [act, name, key, ariaLabel].join("\n");
    const focused = list.contains(document.activeElement) ? identity(document.activeElement) : null;
    list.replaceChildren(...cards);
    if (focused === null) return;
    const redrawn = [...list.querySelectorAll("button, input")].find(each => identity(each) === focused);
    redrawn?.focus({preventScroll: true});
  }

  painters.history = entries => {
    const list = document.getElementById("cards");
    if (list.contains(document.activeElement) && document.activeElement.matches("input.field")) return;
    let day = "";
    const dated = entries.map(entry => {
      const first = (entry.day ?? "") !== day;
      day = entry.day ?? "";
      const many = entries.filter(other => (other.day ?? "") === day).length;
      return first && day
        ? [make("h3", {class: "day", text: `${day} · ${many} listed`}), card(entry)]
        : [card(entry)];
    });
    replace_cards(list, dated.flat());
    const samples = [...new Set(entries.map(({sample}) => sample).filter(Boolean))];
    fill("samples", ...samples.map(value => make("option", {value})));
  };

  document.addEventListener("click", event => {
    if (event.target.closest?.("[data-act]")?.dataset.act === "cards") other_cards();
  });
  document.addEventListener("DOMContentLoaded", () => {
    try {
      cards_as(localStorage.getItem("ptylive.cards") === "list" ? "list" : "grid");
    } catch {
      /* cards */
    }
  });
})();
