// The page of a run in progress: polls for more, and keeps the reader's position.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const EVERY_MS = 2000;
  let state = '';

  async function follow() {
    const started = performance.now();
    let running = true;
    try {
      if (!document.hidden && A.page) {
        const answer = await fetch(`${location.pathname}/bundle?${new URLSearchParams({ state })}`);
        if (answer.status === 200) {
          const found = await answer.json();
          state = found.state;
          running = found.document.is_running;
          await again(found.document);
        }
      }
    } catch (error) {
      if (!(error instanceof TypeError)) throw error; // the server has stopped: what is shown stays
      running = false;
    }
    // A long history takes long to read: ask at most a fifth of the time.
    if (running) setTimeout(follow, Math.max(EVERY_MS, 4 * (performance.now() - started)));
  }

  // A view of the end follows the end; any other view stays where it is.
  async function again(found) {
    const { view, operations } = A.page.model;
    const { from, to, max } = view;
    const selected = view.selected;
    const atEnd = to >= max - (max - view.min) * 0.02;
    const all = from <= view.min + 1 && atEnd;
    const place = window.scrollY;
    const page = await A.openRun(found);
    const after = page.model.view;
    if (!all) atEnd ? after.show(after.max - (to - from), after.max) : after.show(from, to);
    if (selected >= 0 && selected < operations.count) after.select(selected);
    window.scrollTo(0, place);
  }

  setTimeout(follow, EVERY_MS);
})();
