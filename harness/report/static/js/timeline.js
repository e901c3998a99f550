// The timeline: faults, nodes and operations over time, from the whole run down to microseconds.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const AXIS = 22;
  const FAULT_ROW = 15;
  const NODE_ROW = 18;
  const LANE = 20;
  const GAP = 6;
  const MINIMAP = 30;

  A.Timeline = class {
    // `model`: {document, operations, faults, view, failing: Set of numbers, points}
    constructor(host, model) {
      Object.assign(this, model);
      this.mode = 'process';
      this.showPoints = Boolean(model.failing.size);
      this.scroll = 0;
      this.frames = 0;
      this.colours = A.colours();
      this.minimap = A.el('canvas', { class: 'minimap', 'aria-hidden': 'true' });
      this.canvas = A.el('canvas', {
        class: 'timeline', tabindex: '0', role: 'application', 'aria-describedby': 'timeline-keys',
        'aria-label': 'timeline of operations, faults and nodes',
      });
      this.tip = A.el('div', { class: 'tip', role: 'status' });
      host.append(this.minimap, this.canvas, this.tip);
      this.rows = A.nodeRows(this.document, this.faults, this.view.max);
      this.regroup('process');
      this.draw = A.perFrame(() => this.render());
      for (const what of ['range', 'selection', 'cursor']) this.view.on(what, this.draw);
      A.onResize(host, this.draw);
      A.onColourChange(() => {
        this.colours = A.colours();
        this.draw();
      });
      A.timelineInput(this);
    }

    regroup(mode) {
      this.mode = mode;
      const failingKeys = [...this.failing].map((n) => this.operations.key_name(n));
      const { lanes, laneOf } = A.buildLanes(this.operations, mode, failingKeys);
      this.lanes = lanes;
      this.laneOf = laneOf;
      this.scroll = 0;
    }

    // ---------------------------------------------------------------- geometry

    measure() {
      const width = this.canvas.parentElement.clientWidth;
      this.gutter = width < 600 ? 58 : 104;
      this.faultsTop = AXIS;
      this.nodesTop = this.faultsTop + this.faults.rows * FAULT_ROW + (this.faults.rows ? GAP : 0);
      this.lanesTop = this.nodesTop + this.rows.length * NODE_ROW + GAP;
      const most = Math.max(360, Math.min(720, globalThis.innerHeight * 0.62));
      const wanted = this.lanesTop + this.lanes.length * LANE + 8;
      this.height = Math.max(this.lanesTop + 3 * LANE, Math.min(most + this.faults.rows * 6, wanted));
      this.width = width;
      this.scrollMax = Math.max(0, wanted - this.height);
      this.scroll = Math.min(this.scroll, this.scrollMax);
      const scale = (width - this.gutter) / this.view.width;
      this.box = {
        left: this.gutter, right: width, width: width - this.gutter, top: 0, bottom: this.height,
        x: (us) => this.gutter + (us - this.view.from) * scale,
      };
    }
    timeAt(x) {
      return this.view.from + ((x - this.gutter) / this.box.width) * this.view.width;
    }
    laneAt(y) {
      if (y < this.lanesTop) return -1;
      const lane = Math.floor((y - this.lanesTop + this.scroll) / LANE);
      return lane < this.lanes.length ? lane : -1;
    }
    operationAt(x, y) {
      const lane = this.laneAt(y);
      return lane < 0 || x < this.gutter ? -1 : this.lanes[lane].at(this.timeAt(x), (this.view.width / this.box.width) * 3);
    }
    faultAt(x, y) {
      if (y < this.faultsTop || y >= this.nodesTop) return null;
      const row = Math.floor((y - this.faultsTop) / FAULT_ROW);
      const us = this.timeAt(x);
      const slack = (this.view.width / this.box.width) * 3;
      return this.faults.all.find((f) => f.row === row && f.from - slack <= us && us <= f.to + slack) ?? null;
    }
    // Scroll so that an operation's lane is in view.
    revealLane(n) {
      this.measure();
      const top = this.laneOf[n] * LANE;
      const room = this.height - this.lanesTop;
      if (top < this.scroll || top + LANE > this.scroll + room) this.scroll = Math.max(0, Math.min(this.scrollMax, top - room / 2));
      this.draw();
    }

    // ---------------------------------------------------------------- drawing

    render() {
      this.measure();
      const { view, box, colours } = this;
      const context = A.fitCanvas(this.canvas, this.width, this.height);
      this.strip ??= document.createElement('canvas');
      context.save();
      context.beginPath();
      context.rect(this.gutter, 0, box.width, this.height);
      context.clip();
      A.paintAxis(context, view, box, colours);
      A.paintBands(context, this.faults, view, { ...box, top: this.nodesTop - GAP }, colours);
      for (const fault of this.faults.within(view.from, view.to)) {
        A.paintFaultRow(context, fault, box, this.faultsTop + fault.row * FAULT_ROW, FAULT_ROW - 2, colours);
      }
      this.rows.forEach((row, i) => A.paintNodeRow(context, row, view, box, this.nodesTop + i * NODE_ROW, NODE_ROW, colours));
      context.beginPath();
      context.rect(this.gutter, this.lanesTop, box.width, this.height);
      context.clip();
      this.#lanes(context);
      context.restore();
      this.#labels(context);
      this.#cursor(context);
      this.#minimap();
      this.frames++;
    }

    #lanes(context) {
      const first = Math.floor(this.scroll / LANE);
      const last = Math.min(this.lanes.length, Math.ceil((this.scroll + this.height - this.lanesTop) / LANE));
      const columns = Math.ceil(this.box.width);
      for (let i = first; i < last; i++) {
        const top = this.lanesTop + i * LANE - this.scroll + 2;
        const lane = this.lanes[i];
        const found = lane.levelFor(this.view.from, this.view.to, columns * 2);
        const dense = found.level > 0 || found.last - found.first > columns / 3;
        if (lane.openFrom < this.view.to) {
          A.paintOpenEnd(context, Math.max(this.gutter, this.box.x(lane.openFrom)), this.box.right, top + LANE - 5, this.colours);
        }
        if (dense) this.#dense(context, lane, found, top, columns);
        else this.#sparse(context, lane, found, top);
      }
      this.#special(context, first, last);
    }

    // Many operations: one strip of pixels. Its colour is the worst outcome under the pixel, its
    // strength the share of the time in which something was under way.
    #dense(context, lane, { level, first, last }, top, columns) {
      const { from, to, mask, busy } = lane.levels[level];
      if (!this.worst || this.worst.length < columns) {
        this.worst = new Uint8Array(columns);
        this.share = new Float32Array(columns);
      }
      const { worst, share } = this;
      worst.fill(0, 0, columns);
      share.fill(0, 0, columns);
      const scale = this.box.width / this.view.width;
      for (let i = first; i < last; i++) {
        const start = Math.max(0, Math.floor((from[i] - this.view.from) * scale));
        const end = Math.min(columns - 1, Math.floor((to[i] - this.view.from) * scale));
        const each = (busy[i] * scale) / Math.max(1, Math.floor((to[i] - from[i]) * scale) + 1);
        for (let x = start; x <= end; x++) {
          worst[x] |= mask[i];
          share[x] += each;
        }
      }
      const strength = (x) => (worst[x] > 1 ? 4 : Math.min(4, Math.ceil(share[x] * 4)));
      for (let x = 0; x < columns; ) {
        const [found, level_] = [worst[x], strength(x)];
        let end = x + 1;
        while (end < columns && worst[end] === found && strength(end) === level_) end++;
        if (found) {
          context.globalAlpha = 0.25 + 0.1875 * level_;
          context.fillStyle = this.colours[A.OUTCOME_COLOURS[31 - Math.clz32(found)]];
          context.fillRect(this.gutter + x, top, end - x, LANE - 4);
        }
        x = end;
      }
      context.globalAlpha = 1;
    }

    #sparse(context, lane, { first, last }, top) {
      const byKey = this.mode === 'key';
      const label = (n) => this.operations.label(n, !byKey);
      for (let i = first; i < last; i++) A.paintOperation(context, this.operations, lane.order[i], this.box, top, LANE - 4, this.colours, label);
      if (!this.showPoints || !this.points || last - first > this.box.width / 14) return;
      for (let i = first; i < last; i++) {
        const at = this.points.get(lane.order[i]);
        if (at !== undefined) A.paintPoint(context, this.box.x(at), top + (LANE - 4) / 2, this.colours.point, this.colours.panel);
      }
    }

    // The failing part and the selected operation are outlined, however far one is zoomed out.
    #special(context, first, last) {
      const outline = (n, colour, width) => {
        const lane = this.laneOf[n];
        if (lane < first || lane >= last) return;
        const top = this.lanesTop + lane * LANE - this.scroll;
        const from = this.box.x(this.operations.start_us[n]);
        const to = this.box.x(this.operations.end_us[n]);
        context.strokeStyle = colour;
        context.lineWidth = width;
        context.strokeRect(from - 1.5, top + 0.5, Math.max(4, to - from + 3), LANE - 1);
      };
      for (const n of this.failing) outline(n, this.colours.invalid, 2);
      if (this.view.selected >= 0) outline(this.view.selected, this.colours.accent, 2.5);
    }

    #labels(context) {
      const { colours, gutter } = this;
      context.clearRect(0, 0, gutter - 1, this.height);
      context.font = '11px system-ui, sans-serif';
      context.textBaseline = 'middle';
      context.textAlign = 'right';
      context.fillStyle = colours.muted;
      if (this.faults.rows) context.fillText('faults', gutter - 8, this.faultsTop + FAULT_ROW / 2);
      this.rows.forEach((row, i) => context.fillText(`n${row.node}`, gutter - 8, this.nodesTop + (i + 0.5) * NODE_ROW));
      context.save();
      context.beginPath();
      context.rect(0, this.lanesTop, gutter, this.height);
      context.clip();
      context.fillStyle = colours.ink;
      const first = Math.floor(this.scroll / LANE);
      for (let i = first; i < this.lanes.length; i++) {
        const top = this.lanesTop + i * LANE - this.scroll;
        if (top > this.height) break;
        const name = gutter < 80 ? this.lanes[i].shortName : this.lanes[i].name;
        if (name) context.fillText(A.clipText(context, A.visible(name), gutter - 10), gutter - 8, top + LANE / 2);
      }
      context.restore();
      if (this.scrollMax > 0) {
        const room = this.height - this.lanesTop;
        const size = Math.max(20, (room * room) / (room + this.scrollMax));
        context.fillStyle = colours.line;
        context.fillRect(this.width - 4, this.lanesTop + (room - size) * (this.scroll / this.scrollMax), 4, size);
      }
    }

    #cursor(context) {
      const x = Math.round(this.box.x(this.view.moment)) + 0.5;
      if (x < this.gutter || x > this.width) return;
      context.strokeStyle = this.colours.accent;
      context.lineWidth = 1;
      context.beginPath();
      context.moveTo(x, AXIS - 4);
      context.lineTo(x, this.height);
      context.stroke();
    }

    // ---------------------------------------------------------------- the whole run, above

    #minimap() {
      const { view, colours } = this;
      const context = A.fitCanvas(this.minimap, this.width, MINIMAP);
      const columns = Math.ceil(this.width - this.gutter);
      const scale = columns / (view.max - view.min);
      const x = (us) => this.gutter + (us - view.min) * scale;
      const heights = this.#density(columns);
      A.paintBands(context, this.faults, { from: view.min, to: view.max }, { x, top: 0, bottom: MINIMAP }, colours);
      context.fillStyle = colours.muted;
      for (let i = 0; i < columns; i++) context.fillRect(this.gutter + i, MINIMAP - heights[i] * (MINIMAP - 4), 1, heights[i] * (MINIMAP - 4));
      context.fillStyle = colours.invalid;
      for (const n of this.failing) context.fillRect(x(this.operations.start_us[n]) - 1, 0, 3, MINIMAP);
      context.fillStyle = colours.shade;
      context.fillRect(this.gutter, 0, Math.max(0, x(view.from) - this.gutter), MINIMAP);
      context.fillRect(x(view.to), 0, Math.max(0, this.width - x(view.to)), MINIMAP);
      context.strokeStyle = colours.accent;
      context.lineWidth = 1.5;
      context.strokeRect(x(view.from), 0.75, Math.max(3, (view.to - view.from) * scale), MINIMAP - 1.5);
    }

    #density(columns) {
      if (this.densities?.length === columns) return this.densities;
      const { start_us, count } = this.operations;
      const found = new Float32Array(columns);
      const scale = columns / (this.view.max - this.view.min);
      for (let n = 0; n < count; n++) found[Math.floor((start_us[n] - this.view.min) * scale)]++;
      const most = found.reduce((a, b) => Math.max(a, b), 1);
      for (let i = 0; i < columns; i++) found[i] = found[i] ? 0.08 + 0.92 * (found[i] / most) : 0;
      return (this.densities = found);
    }
  };
})();
