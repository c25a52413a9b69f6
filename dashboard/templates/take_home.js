// What the browser does with results: a picture for the clipboard, a report for the printer; and files dropped on the
// page.
"use strict";
(() => {
  const {painters, ask, make} = window.ptylive;
  const NAMES = {
    0: "map_0",
    1: "map_1",
    2: "map_2",
    3: "map_3",
    4: "map_4",
    5: "map_5",
    10: "diffraction",
    11: "object",
  };

  const view_of = panel => [...window.Bokeh.index].find(view => view.model.name === NAMES[panel]);

  function say(button, text) {
    const before = button.textContent;
    button.textContent = text;
    setTimeout(() => {
      button.textContent = before;
    }, 1600);
  }

  // Browsers allow access to the clipboard only for pages of this machine and over https.
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

  // The browser can also print to PDF; the report contains a style sheet for paper.
  async function print(button) {
    const text = await (await fetch(button.dataset.href)).text();
    document.getElementById("printed")?.remove();
    const frame = make("iframe", {
      id: "printed",
      class: "offscreen",
      title: "report",
      sandbox: "allow-modals allow-same-origin",
    });
    frame.srcdoc = text;
    frame.addEventListener("load", () => frame.contentWindow.print());
    document.body.append(frame);
  }

  const links = painters.downloads;
  painters.downloads = found => {
    links(found);
    for (const {name, href} of found.filter(one => one.name.endsWith(".html"))) {
      document.getElementById("downloads").append(
        make("button", {
          class: "small",
          "data-act": "print",
          "data-href": `./${href}`,
          title: `print ${name}, or save it as PDF`,
          text: "print",
        }),
      );
    }
  };

  // A film is viewed before it is saved; the server marks its response as a download, so the film is fetched by script.
  function show_film(address) {
    const film = document.getElementById("film");
    const moving = film.querySelector("img");
    URL.revokeObjectURL(moving.src);
    if (address) moving.src = address;
    else moving.removeAttribute("src");
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
    document
      .getElementById("film-every")
      .addEventListener("change", event => ask("film", {key: "every", value: event.target.value}));
  });
  document.addEventListener("keydown", event => {
    if (event.key === "Escape") show_film();
  });

  // Local files go into the folder from which the server may open files, one after the other; then the scan is opened.
  // Files that exist already are not sent again. The server is asked before anything is sent: it gives any reason in
  // one line.
  let request = null;

  function upload_says(text, {share = null, goes_on = false} = {}) {
    const box = document.getElementById("upload");
    const bar = box.querySelector("progress");
    box.hidden = !text;
    box.querySelector("span").textContent = text;
    box.querySelector("button").textContent = goes_on ? "cancel" : "close";
    bar.hidden = share === null;
    bar.value = share ?? 0;
  }

  // Answers without a line of our server: to a viewer, and of a proxy in front of the server.
  const REFUSED = {
    403: "only operators can upload files",
    413:
      "the proxy in front of the server refuses files of this size: its limit must be raised "
      + "(nginx: client_max_body_size 0)",
  };

  function answer(status, text) {
    try {
      const said = JSON.parse(text);
      if (said.error) throw new Error(said.error);
      return said;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      throw new Error(REFUSED[status] ?? `the server does not respond (${status}): try again`);
    }
  }

  const bring = (file, address) =>
    new Promise((done, failed) => {
      request = new XMLHttpRequest();
      request.upload.onprogress = ({loaded, total}) =>
        upload_says(`sending ${file.name}: ${Math.floor((100 * loaded) / total)} %`, {
          share: loaded / total,
          goes_on: true,
        });
      request.onload = () => {
        try {
          done(answer(request.status, request.responseText));
        } catch (error) {
          failed(error);
        }
      };
      request.onerror = () => failed(new Error(`${file.name} was interrupted: nothing was kept; upload it again`));
      request.onabort = () => failed(new Error(""));
      request.open("POST", address);
      request.send(file);
    });

  async function upload(files) {
    if (document.body.dataset.role === "viewer") {
      upload_says("only operators can upload files");
      return;
    }
    if (request) {
      upload_says("wait until the previous file has arrived");
      return;
    }
    request = {abort: () => {}};
    try {
      for (const file of files) {
        upload_says(`${file.name}: asking the server`);
        const address = `upload?name=${encodeURIComponent(file.name)}&bytes=${file.size}`;
        const asked = await fetch(address, {cache: "no-store"});
        if (!answer(asked.status, await asked.text()).there) await bring(file, address);
      }
      upload_says("");
      ask("take", {key: "sent", value: files.map(({name}) => name).join("\n")});
    } catch (error) {
      upload_says(error instanceof TypeError ? "the server does not respond: try again" : error.message);
    } finally {
      request = null;
    }
  }

  function upload_button(button) {
    if (button.dataset.name === "choose") document.getElementById("upload-files").click();
    else if (request) request.abort();
    else upload_says("");
  }

  function dropped(event) {
    const files = [...(event.dataTransfer?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    upload(files);
  }
  document.addEventListener("dragover", event => {
    if ([...(event.dataTransfer?.types ?? [])].includes("Files")) event.preventDefault();
  });
  document.addEventListener("drop", dropped);
  document.addEventListener("DOMContentLoaded", () => {
    const chosen = document.getElementById("upload-files");
    chosen.addEventListener("change", () => {
      const files = [...chosen.files];
      chosen.value = "";
      if (files.length) upload(files);
    });
  });

  const films = button => {
    if (button.dataset.name === "show") ask("film", {key: "show"});
    else show_film();
  };
  const actions = {picture: copy_picture, print, film: films, upload: upload_button};
  document.addEventListener("click", event => {
    const button = event.target.closest?.("[data-act]");
    if (button && button.dataset.act in actions) actions[button.dataset.act](button);
  });
})();
