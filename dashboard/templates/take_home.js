// What a browser takes along by itself: a picture for the clipboard, a report for the printer; and files dropped on the page.
"use strict";
(() => {
  const {painters, ask, make} = window.ptylive;
  const NAMES = {0: "map_0", 1: "map_1", 2: "map_2", 3: "map_3", 4: "map_4", 5: "map_5", 10: "diffraction", 11: "object"};
  let files = [];

  const view_of = panel => [...window.Bokeh.index].find(view => view.model.name === NAMES[panel]);

  function say(button, text) {
    const before = button.textContent;
    button.textContent = text;
    setTimeout(() => { button.textContent = before; }, 1600);
  }

  // Browsers give the clipboard to pages of this machine and over https only.
  async function copy_picture(button) {
    const panel = Number(button.closest("[data-panel]").dataset.panel);
    try {
      const blob = await view_of(panel).export("png", true).to_blob();
      await navigator.clipboard.write([new ClipboardItem({"image/png": blob})]);
      say(button, "✓");
    } catch {
      say(button, window.isSecureContext ? "no" : "https only");
    }
  }

  // The printer of the browser makes a PDF too; the report brings a style sheet for paper.
  async function print(button) {
    const text = await (await fetch(button.dataset.href)).text();
    document.getElementById("printed")?.remove();
    const frame = make("iframe", {id: "printed", class: "offscreen", title: "report", sandbox: "allow-modals allow-same-origin"});
    frame.srcdoc = text;
    frame.addEventListener("load", () => frame.contentWindow.print());
    document.body.append(frame);
  }

  const links = painters.downloads;
  painters.downloads = found => {
    links(found);
    for (const {name, href} of found.filter(one => one.name.endsWith(".html"))) {
      document.getElementById("downloads").append(make("button", {class: "small", "data-act": "print", "data-href": `./${href}`, title: `print ${name}, or save it as PDF`, text: "print"}));
    }
  };

  // A film is looked at before it is taken along; what the server gives out is a file to be saved, and so it is fetched.
  function show_film(address) {
    const film = document.getElementById("film"), moving = film.querySelector("img");
    URL.revokeObjectURL(moving.src);
    if (address) moving.src = address; else moving.removeAttribute("src");
    film.hidden = !address;
  }

  const with_print = painters.downloads;
  painters.downloads = async found => {
    with_print(found);
    const one = found.find(({name}) => name.endsWith(".gif"));
    if (!one) return;
    const bytes = await (await fetch(`./${one.href}`)).arrayBuffer();
    show_film(URL.createObjectURL(new Blob([bytes], {type: "image/gif"})));
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("film-every").addEventListener("change", event => ask("film", {key: "every", value: event.target.value}));
  });
  document.addEventListener("keydown", event => { if (event.key === "Escape") show_film(); });

  // A page learns the name of a dropped file, not where it lies: files of the folder that the server may open are found by it.
  const listed = painters.files;
  painters.files = found => { files = found ? found.files.map(({name}) => name) : []; listed(found); };

  function dropped(event) {
    const names = [...event.dataTransfer?.files ?? []].map(({name}) => name);
    if (!names.length) return;
    event.preventDefault();
    const [name] = names, known = files.find(one => one === name || one.endsWith(`/${name}`));
    ask("take", {value: known ?? name});
  }
  document.addEventListener("dragover", event => { if ([...event.dataTransfer?.types ?? []].includes("Files")) event.preventDefault(); });
  document.addEventListener("drop", dropped);

  const films = button => { if (button.dataset.name === "show") ask("film", {key: "show"}); else show_film(); };
  const actions = {picture: copy_picture, print, film: films};
  document.addEventListener("click", event => {
    const button = event.target.closest?.("[data-act]");
    if (button && button.dataset.act in actions) actions[button.dataset.act](button);
  });
})();
