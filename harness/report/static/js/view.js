// What all pictures of a page share: the range of time shown, the time under the cursor, and the
// selected operation. Pictures subscribe, and redraw themselves when something changes.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const SHORTEST_US = 5;

  A.View = class {
    constructor(min, max) {
      this.listeners = { range: [], cursor: [], selection: [] };
      this.setBounds(min, max);
      this.from = this.min;
      this.to = this.max;
      this.cursor = this.min;
      this.hover = null;
      this.selected = -1;
    }

    setBounds(min, max) {
      const margin = Math.max(10, (max - min) * 0.01);
      this.min = min - margin;
      this.max = max + margin;
    }

    on(what, act) {
      this.listeners[what].push(act);
    }
    #tell(what) {
      for (const act of this.listeners[what]) act();
    }

    get width() {
      return this.to - this.from;
    }

    show(from, to) {
      let width = Math.min(this.max - this.min, Math.max(SHORTEST_US, to - from));
      const middle = (from + to) / 2;
      let start = middle - width / 2;
      start = Math.min(Math.max(start, this.min), this.max - width);
      if (start === this.from && start + width === this.to) return;
      this.from = start;
      this.to = start + width;
      this.#tell('range');
    }
    all() {
      [this.from, this.to] = [this.min, this.max];
      this.#tell('range');
    }
    zoom(factor, at = (this.from + this.to) / 2) {
      const width = Math.min(this.max - this.min, Math.max(SHORTEST_US, this.width * factor));
      const from = at - ((at - this.from) / this.width) * width;
      this.show(from, from + width);
    }
    pan(us) {
      const width = this.width;
      const from = Math.min(Math.max(this.from + us, this.min), this.max - width);
      this.show(from, from + width);
    }
    // Bring a span into view, with room around it; keep the zoom where it fits already.
    reveal(from, to) {
      const room = Math.max(20, (to - from) * 0.6);
      if (from >= this.from && to <= this.to && to - from > this.width / 200) return;
      this.show(from - room, to + room);
    }

    setCursor(us) {
      this.cursor = us;
      this.hover = null;
      this.#tell('cursor');
    }
    setHover(us) {
      this.hover = us;
      this.#tell('cursor');
    }
    get moment() {
      return this.hover ?? this.cursor;
    }
    select(number) {
      this.selected = number;
      this.#tell('selection');
    }
  };
})();
