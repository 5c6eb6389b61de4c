// Keeps pages fresh: that of a run while it goes on, the list of sources now and then. What changed is asked of the server, which makes all text; this
// only puts the new parts in the place of the old ones. Without it the page is as good, once it is loaded again.
"use strict";

(() => {
  const REST = 1000; // milliseconds between two looks, at least
  const PATIENCE = 5000; // … where no event tells of anything new
  let source = null;
  let due = false;
  let busy = false;

  const live = () => document.getElementById("live");

  function swap(old, fresh, over) {
    if (old.outerHTML === fresh.outerHTML) return;
    // Nothing is taken from under the fingers of somebody who stands on it with the keyboard.
    if (!over && old.contains(document.activeElement)) return;
    const log = old.querySelector(".log");
    const atEnd = log === null || log.scrollTop + log.clientHeight > log.scrollHeight - 40;
    const top = log === null ? 0 : log.scrollTop;
    old.replaceWith(fresh);
    const now = fresh.querySelector(".log");
    if (now !== null) now.scrollTop = atEnd ? now.scrollHeight : top;
  }

  async function look() {
    if (busy) return;
    busy = true;
    due = false;
    try {
      const answer = await fetch(location.pathname + location.search, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (answer.redirected) {
        location.reload(); // the login is over
        return;
      }
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const over = source !== null && page.querySelector("#live[data-events]") === null;
        for (const part of page.querySelectorAll("#live [data-part]")) {
          const old = live().querySelector(`[data-part="${part.dataset.part}"]`);
          if (old !== null) swap(old, document.importNode(part, true), over);
        }
        document.title = page.title;
        if (over) {
          live().removeAttribute("data-events");
          source.close();
        }
      }
    } catch (error) {
      due = true; // the server is away just now
    } finally {
      busy = false;
    }
  }

  function watch() {
    if (live() === null) return;
    const { events: address, every } = live().dataset;
    if (every !== undefined) {
      setInterval(() => { if (!document.hidden) look(); }, Number(every) * 1000);
    }
    if (address === undefined) return;
    const wake = () => { due = true; };
    source = new EventSource(address);
    for (const name of ["begin", "stage", "hello", "progress", "warning", "log", "remark", "quarantined", "admitted", "denied", "ended", "run"]) {
      source.addEventListener(name, wake);
    }
    let quiet = 0;
    const timer = setInterval(() => {
      if (live().dataset.events === undefined) {
        clearInterval(timer);
        return;
      }
      quiet += REST;
      if (document.hidden || !(due || quiet >= PATIENCE)) return;
      quiet = 0;
      look();
    }, REST);
  }

  watch();
})();
