// Texts longer than their place: a button that shows all remarks of the footer, and names that keep their end.
"use strict";
(() => {
  const sentence = document.querySelector.bind(document, ".sentence");
  const button = document.querySelector.bind(document, "[data-whole]");

  // While it is unfolded, its size says nothing about what would be cut off.
  function offer() {
    const text = sentence();
    if (text === document.activeElement) return;
    const cut = text.scrollWidth > text.clientWidth + 1 || text.scrollHeight > text.clientHeight + 1;
    const count = text.querySelectorAll(":scope > span").length;
    button().hidden = !cut;
    button().textContent = count > 1 ? `all ${count} remarks` : "whole text";
  }

  function unfolded() {
    button().setAttribute("aria-expanded", String(sentence() === document.activeElement));
  }

  // The end of a name tells scans apart as often as its beginning: only its middle is left out.
  const TAIL = 16;
  function with_ends(element, name) {
    const [head, tail] = [document.createElement("span"), document.createElement("span")];
    const place = name.length > 2 * TAIL ? name.length - TAIL : name.length;
    [head.textContent, tail.textContent] = [name.slice(0, place), name.slice(place)];
    element.replaceChildren(...(name ? [head, tail] : []));
  }

  window.ptylive.with_ends = with_ends;
  window.ptylive.sentence_told = offer;
  document.addEventListener("DOMContentLoaded", () => {
    new ResizeObserver(offer).observe(sentence());
    // the button must not take the focus that keeps the sentence unfolded
    button().addEventListener("mousedown", event => event.preventDefault());
    button().addEventListener("click", () => {
      if (sentence() === document.activeElement) sentence().blur();
      else sentence().focus();
    });
    sentence().addEventListener("focus", unfolded);
    sentence().addEventListener("blur", () => {
      unfolded();
      requestAnimationFrame(offer);
    });
    sentence().addEventListener("keydown", event => {
      if (event.key === "Escape") sentence().blur();
    });
  });
})();
