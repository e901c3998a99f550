// The space-time diagram: a lane per node, an arrow per message, a cross where one was lost.
// It shares the timeline's range; from too far away it shows how many messages each node sent.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const LANE = 58;
  const AXIS = 24;
  const CLIENTS = 24;
  const TOP = AXIS + CLIENTS;
  const ARROWS_MAX = 1500;
  const LABELS_MAX = 90;
  const OPERATIONS_MAX = 400;

  A.SpaceTime = class {
    // `messages` and `writes` (or null): {columns, kinds, text, count, …} decoded
    constructor(host, { document, operations, faults, view }, messages, writes) {
      Object.assign(this, { document, operations, faults, view, messages, writes });
      this.colours = A.colours();
      this.rows = A.nodeRows(document, faults, view.max);
      this.hidden = new Set();
      this.canvas = A.el('canvas', { class: 'spacetime', tabindex: '0', role: 'img', 'aria-label': 'messages between nodes' });
      this.note = A.el('p', { class: 'hint' });
      this.told = A.el('p', { class: 'told', role: 'status' });
      host.append(this.#kinds(), this.canvas, this.note, this.told);
      const { sent_us: sent, wait_us: wait, transit_us: transit } = messages.columns;
      this.longest = 0;
      for (let m = 0; m < messages.count; m++) this.longest = Math.max(this.longest, wait[m] + transit[m]);
      this.sent = sent;
      this.draw = A.perFrame(() => this.render());
      view.on('range', this.draw);
      view.on('cursor', this.draw);
      A.onResize(host, this.draw);
      A.onColourChange(() => {
        this.colours = A.colours();
        this.draw();
      });
      this.#input();
    }

    #kinds() {
      const counts = new Uint32Array(this.messages.kinds.length);
      for (const kind of this.messages.columns.kind) counts[kind]++;
      const boxes = this.messages.kinds.map((name, kind) => {
        if (!kind) return null;
        const box = A.el('input', { type: 'checkbox', checked: true, onchange: () => {
          this.hidden[box.checked ? 'delete' : 'add'](kind);
          this.draw();
        } });
        return A.el('label', { class: 'chip' }, box, A.el('i', { style: { background: this.#colour(kind) } }), `${name} ${A.count(counts[kind])}`);
      });
      return A.el('div', { class: 'controls chips' }, boxes);
    }
    #colour(kind) {
      return `hsl(${(kind * 137.5) % 360} 60% 48%)`;
    }

    lane(node) {
      return TOP + (this.document.nodes.indexOf(node) + 0.5) * LANE;
    }

    visible() {
      const { columns, count } = this.messages;
      const first = A.lowerBound(this.sent, this.view.from - this.longest, 0, count);
      const last = A.lowerBound(this.sent, this.view.to, 0, count, true);
      const found = [];
      for (let m = first; m < last; m++) {
        if (this.hidden.has(columns.kind[m])) continue;
        if (this.sent[m] + columns.wait_us[m] + columns.transit_us[m] >= this.view.from) found.push(m);
      }
      return found;
    }

    render() {
      const width = this.canvas.parentElement.clientWidth;
      const height = TOP + this.document.nodes.length * LANE + 8;
      const gutter = width < 600 ? 40 : 104;
      const scale = (width - gutter) / this.view.width;
      this.box = { left: gutter, right: width, width: width - gutter, top: 0, bottom: height, x: (us) => gutter + (us - this.view.from) * scale };
      const context = A.fitCanvas(this.canvas, width, height);
      context.save();
      context.beginPath();
      context.rect(gutter, 0, width - gutter, height);
      context.clip();
      A.paintAxis(context, this.view, this.box, this.colours);
      A.paintBands(context, this.faults, this.view, { ...this.box, top: AXIS - 4 }, this.colours);
      this.rows.forEach((row) => A.paintNodeRow(context, row, this.view, this.box, this.lane(row.node) - 9, 18, this.colours));
      this.#operations(context);
      this.shown = this.visible();
      if (this.shown.length > ARROWS_MAX) this.#density(context);
      else {
        this.#writes(context);
        this.#arrows(context);
      }
      context.restore();
      this.#labels(context, gutter);
      this.note.textContent = this.shown.length > ARROWS_MAX
        ? `${A.count(this.shown.length)} messages in view: bars show how many each node sent. Zoom in for arrows.`
        : `${A.count(this.shown.length)} messages in view. Dots before an arrow are its wait for the disk, bars under a lane are records being written; a cross is where a message was lost.`;
    }

    // What clients asked meanwhile, in one row: where many overlap, the timeline above separates them.
    #operations(context) {
      const { start_us: start, count } = this.operations;
      const longest = (this.operations.longest ??= this.operations.span_us.reduce((a, b) => Math.max(a, b), 0));
      const first = A.lowerBound(start, this.view.from - longest, 0, count);
      const last = A.lowerBound(start, this.view.to, 0, count, true);
      if (last - first > OPERATIONS_MAX) return;
      for (let n = first; n < last; n++) {
        if (this.operations.end_us[n] < this.view.from) continue;
        A.paintOperation(context, this.operations, n, this.box, AXIS + 2, 17, this.colours, (m) => this.operations.label(m));
      }
    }

    #labels(context, gutter) {
      context.font = '12px system-ui, sans-serif';
      context.textAlign = 'right';
      context.textBaseline = 'middle';
      context.fillStyle = this.colours.ink;
      context.fillText('clients', gutter - 8, AXIS + 11);
      for (const node of this.document.nodes) context.fillText(`n${node}`, gutter - 8, this.lane(node));
      const x = Math.round(this.box.x(this.view.moment)) + 0.5;
      if (x < gutter) return;
      context.strokeStyle = this.colours.accent;
      context.beginPath();
      context.moveTo(x, AXIS - 6);
      context.lineTo(x, this.box.bottom);
      context.stroke();
    }

    #density(context) {
      const columns = Math.ceil(this.box.width / 3);
      const counts = new Map(this.document.nodes.map((n) => [n, new Uint32Array(columns)]));
      let most = 1;
      for (const m of this.shown) {
        const place = Math.floor((this.box.x(this.sent[m]) - this.box.left) / 3);
        const line = counts.get(this.messages.columns.source[m]);
        if (line && place >= 0 && place < columns) most = Math.max(most, ++line[place]);
      }
      context.fillStyle = this.colours.plot1;
      for (const [node, line] of counts) {
        for (let i = 0; i < columns; i++) {
          const size = line[i] ? Math.max(1, Math.sqrt(line[i] / most) * (LANE / 2 - 12)) : 0;
          context.fillRect(this.box.left + i * 3, this.lane(node) - 8 - size, 2, size);
        }
      }
    }

    // Records on their way to the disk: a bar under the lane until they are there, open where never.
    #writes(context) {
      if (!this.writes) return;
      const { at_us: at, span_us: span, node } = this.writes.columns;
      const longest = (this.writes.longest ??= span.reduce((a, b) => Math.max(a, b), 0));
      const first = A.lowerBound(at, this.view.from - longest, 0, this.writes.count);
      const last = A.lowerBound(at, this.view.to, 0, this.writes.count, true);
      for (let w = first; w < last; w++) {
        const [x, y] = [this.box.x(at[w]), this.lane(node[w]) + 5];
        const width = Math.max(2, span[w] ? this.box.x(at[w] + span[w] - 1) - x : 14);
        context.fillStyle = span[w] ? this.colours['fault-disk'] : A.hatch(context, this.colours.invalid);
        context.fillRect(x, y, width, 4);
      }
    }

    #arrows(context) {
      const label = this.shown.length <= LABELS_MAX;
      this.taken = [];
      for (const m of this.shown) this.#arrow(context, m, label);
      if (this.chosen !== undefined && this.shown.includes(this.chosen)) this.#arrow(context, this.chosen, true, true);
    }

    ends(m) {
      const { columns } = this.messages;
      const leaves = this.sent[m] + columns.wait_us[m];
      const lost = !columns.transit_us[m];
      const y0 = this.lane(columns.source[m]);
      const y1 = this.lane(columns.target[m]);
      const span = lost ? Math.min(400, this.view.width / 12) : columns.transit_us[m] - 1;
      const share = lost ? 0.5 : 1;
      return { x0: this.box.x(leaves), y0, x1: this.box.x(leaves + span), y1: y0 + (y1 - y0) * share, lost, foot: this.box.x(this.sent[m]) };
    }

    #arrow(context, m, label, strong = false) {
      const { columns, kinds } = this.messages;
      const { x0, y0, x1, y1, lost, foot } = this.ends(m);
      const colour = strong ? this.colours.accent : this.#colour(columns.kind[m]);
      context.strokeStyle = context.fillStyle = colour;
      context.lineWidth = strong ? 2.5 : 1.1;
      context.globalAlpha = strong ? 1 : 0.8;
      if (x0 - foot > 1) {
        context.setLineDash([2, 2]);
        context.beginPath();
        context.moveTo(foot, y0);
        context.lineTo(x0, y0);
        context.stroke();
        context.setLineDash([]);
      }
      if (lost) context.setLineDash([4, 3]);
      context.beginPath();
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
      context.stroke();
      context.setLineDash([]);
      if (lost) cross(context, x1, y1, this.colours.invalid);
      else head(context, x0, y0, x1, y1);
      context.globalAlpha = 1;
      if (!label) return;
      this.#label(context, kinds[columns.kind[m]], x0 + (x1 - x0) * 0.3 + 4, y0 + (y1 - y0) * 0.3);
    }

    // A label, unless it would cover another.
    #label(context, words, x, y) {
      context.font = '10.5px system-ui, sans-serif';
      const right = x + context.measureText(words).width + 4;
      if (this.taken.some((box) => x < box.right && box.x < right && Math.abs(y - box.y) < 12)) return;
      this.taken.push({ x, right, y });
      context.textAlign = 'left';
      context.fillStyle = this.colours.ink;
      context.fillText(words, x, y);
    }

    // The message whose arrow is nearest to a point; undefined where none is near.
    nearest(x, y) {
      if (!this.shown || this.shown.length > ARROWS_MAX) return undefined;
      let best;
      let distance = 9;
      for (const m of this.shown) {
        const { x0, y0, x1, y1 } = this.ends(m);
        const away = toSegment(x, y, x0, y0, x1, y1);
        if (away < distance) [best, distance] = [m, away];
      }
      return best;
    }

    tell(m) {
      const { columns, kinds, reasons, text } = this.messages;
      this.chosen = m;
      if (m === undefined) this.told.textContent = '';
      else {
        const how = columns.transit_us[m] ? `arrives after ${A.duration(columns.transit_us[m] - 1)}` : `not delivered: ${reasons[columns.reason[m]]}`;
        const wait = columns.wait_us[m] ? `, waits ${A.duration(columns.wait_us[m])} for the disk` : '';
        this.told.textContent = A.visible(`${A.moment(this.sent[m])}  n${columns.source[m]} → n${columns.target[m]}  ${kinds[columns.kind[m]]}(${text(columns.fields[m])})${wait}, ${how}`);
      }
      this.draw();
    }

    #input() {
      this.canvas.addEventListener('wheel', (event) => {
        if (!(event.ctrlKey || event.metaKey || event.altKey)) return;
        event.preventDefault();
        this.view.zoom(Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.008), this.#time(event.offsetX));
      }, { passive: false });
      let down = null;
      this.canvas.addEventListener('pointerdown', (event) => {
        down = { x: event.offsetX, moved: 0 };
        this.canvas.setPointerCapture(event.pointerId);
      });
      this.canvas.addEventListener('pointermove', (event) => {
        if (!down) {
          this.view.setHover(this.#time(event.offsetX));
          const m = this.nearest(event.offsetX, event.offsetY);
          if (m !== this.chosen && m !== undefined) this.tell(m);
          return;
        }
        down.moved += Math.abs(event.offsetX - down.x);
        if (down.moved > 4) this.view.pan(((down.x - event.offsetX) / this.box.width) * this.view.width);
        down.x = event.offsetX;
      });
      this.canvas.addEventListener('pointerup', (event) => {
        if (down && down.moved <= 4) {
          this.view.setCursor(this.#time(event.offsetX));
          this.tell(this.nearest(event.offsetX, event.offsetY));
        }
        down = null;
      });
      this.canvas.addEventListener('pointerleave', () => this.view.setHover(null));
      this.canvas.addEventListener('keydown', (event) => {
        const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (!by || !this.shown?.length) return;
        event.preventDefault();
        const at = this.shown.indexOf(this.chosen);
        const m = this.shown[Math.max(0, Math.min(this.shown.length - 1, at + by))];
        this.view.setCursor(this.sent[m]);
        this.tell(m);
      });
    }
    #time(x) {
      return this.view.from + ((x - this.box.left) / this.box.width) * this.view.width;
    }
  };

  function head(context, x0, y0, x1, y1) {
    const angle = Math.atan2(y1 - y0, x1 - x0);
    context.beginPath();
    context.moveTo(x1, y1);
    context.lineTo(x1 - 7 * Math.cos(angle - 0.35), y1 - 7 * Math.sin(angle - 0.35));
    context.lineTo(x1 - 7 * Math.cos(angle + 0.35), y1 - 7 * Math.sin(angle + 0.35));
    context.closePath();
    context.fill();
  }
  function cross(context, x, y, colour) {
    context.strokeStyle = colour;
    context.lineWidth = 2;
    context.beginPath();
    context.moveTo(x - 4, y - 4);
    context.lineTo(x + 4, y + 4);
    context.moveTo(x + 4, y - 4);
    context.lineTo(x - 4, y + 4);
    context.stroke();
  }
  function toSegment(x, y, x0, y0, x1, y1) {
    const [dx, dy] = [x1 - x0, y1 - y0];
    const share = Math.max(0, Math.min(1, ((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy || 1)));
    return Math.hypot(x - x0 - share * dx, y - y0 - share * dy);
  }
})();
