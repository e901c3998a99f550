// How the parts of a timeline look. Every function draws one thing on a 2d context whose scale is
// given by `x(us)`; nothing here keeps state.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});
  const FONT = '11px system-ui, sans-serif';

  // Diagonal lines, for what is uncertain.
  const patterns = new WeakMap();
  A.hatch = (context, colour) => {
    const known = patterns.get(context) ?? patterns.set(context, {}).get(context);
    if (known[colour]) return known[colour];
    const tile = document.createElement('canvas');
    tile.width = tile.height = 8;
    const pen = tile.getContext('2d');
    pen.strokeStyle = colour;
    pen.lineWidth = 1.5;
    for (const shift of [-8, 0, 8]) {
      pen.beginPath();
      pen.moveTo(shift, 8);
      pen.lineTo(shift + 8, 0);
      pen.stroke();
    }
    return (known[colour] = context.createPattern(tile, 'repeat'));
  };

  A.clipText = (context, text, width) => {
    if (width < 12) return '';
    const fits = Math.floor(width / 5.6);
    if (text.length <= fits) return text;
    return fits < 3 ? '' : `${text.slice(0, fits - 1)}…`;
  };

  A.paintAxis = (context, view, box, colours) => {
    const step = A.niceStep((view.width / box.width) * 90);
    context.font = FONT;
    context.fillStyle = colours.muted;
    context.strokeStyle = colours.line;
    context.textAlign = 'left';
    context.textBaseline = 'middle';
    context.lineWidth = 1;
    for (let us = Math.ceil(view.from / step) * step; us <= view.to; us += step) {
      const x = Math.round(box.x(us)) + 0.5;
      context.beginPath();
      context.moveTo(x, box.top + 4);
      context.lineTo(x, box.bottom);
      context.stroke();
      context.fillText(A.moment(us, step), x + 4, box.top + 10);
    }
  };

  // Faults as vertical bands: hatched while being put in or taken out, plain while proven.
  A.paintBands = (context, faults, view, box, colours) => {
    for (const fault of faults.within(view.from, view.to)) {
      if (!fault.strikes) continue;
      const [from, sure, waning, to] = [fault.from, fault.sure, fault.waning, fault.to].map(box.x);
      const height = box.bottom - box.top;
      context.globalAlpha = 0.1;
      context.fillStyle = colours[`fault-${fault.effect}`];
      context.fillRect(sure, box.top, Math.max(1, waning - sure), height);
      context.globalAlpha = 0.35;
      context.fillStyle = A.hatch(context, colours[`fault-${fault.effect}`]);
      context.fillRect(from, box.top, Math.max(0, sure - from), height);
      context.fillRect(waning, box.top, Math.max(0, to - waning), height);
      context.globalAlpha = 1;
    }
  };

  // A fault's own row: the same with its label.
  A.paintFaultRow = (context, fault, box, top, height, colours) => {
    const [from, sure, waning, to] = [fault.from, fault.sure, fault.waning, fault.to].map(box.x);
    const colour = colours[`fault-${fault.effect}`];
    context.globalAlpha = fault.strikes ? 1 : 0.35;
    context.fillStyle = A.hatch(context, colour);
    context.fillRect(from, top, Math.max(2, to - from), height);
    context.fillStyle = colour;
    context.globalAlpha *= 0.9;
    context.fillRect(sure, top, Math.max(2, waning - sure), height);
    context.globalAlpha = 1;
    // The label is drawn on the solid part; where that is too narrow, in ink across the bar.
    const solid = Math.min(box.right, waning) - Math.max(box.left, sure) > 30;
    const start = Math.max(box.left, solid ? sure : from) + 4;
    const words = fault.what + (fault.verified === false ? ' (not proven)' : '');
    const label = A.clipText(context, words, Math.min(box.right, solid ? waning : to) - start);
    context.font = FONT;
    context.textBaseline = 'middle';
    context.textAlign = 'left';
    context.fillStyle = solid ? colours['on-fault'] : colours.ink;
    if (label) context.fillText(label, start, top + height / 2 + 0.5);
  };

  // One operation, large enough to be seen on its own.
  A.paintOperation = (context, operations, n, box, top, height, colours, label) => {
    const outcome = operations.outcome[n];
    const colour = colours[A.OUTCOME_COLOURS[outcome]];
    const from = box.x(operations.start_us[n]);
    const width = Math.max(1.5, box.x(operations.end_us[n]) - from);
    context.fillStyle = colour;
    context.globalAlpha = outcome === A.OK ? 0.85 : 0.95;
    if (outcome === A.OK || width < 5) context.fillRect(from, top, width, height);
    else {
      context.fillStyle = outcome === A.MISMATCH ? colours.panel : A.hatch(context, colour);
      context.fillRect(from, top, width, height);
      context.strokeStyle = colour;
      context.lineWidth = 1.2;
      context.strokeRect(from + 0.6, top + 0.6, width - 1.2, height - 1.2);
    }
    context.globalAlpha = 1;
    const start = Math.max(box.left, from) + 4;
    const room = Math.min(box.right, from + width) - start - 2;
    if (room < 24) return;
    const text = A.clipText(context, label(n), room);
    if (!text) return;
    context.font = FONT;
    context.textBaseline = 'middle';
    context.textAlign = 'left';
    if (outcome !== A.OK) {
      context.fillStyle = colours.panel;
      context.globalAlpha = 0.85;
      context.fillRect(start - 2, top + 2, context.measureText(text).width + 4, height - 4);
      context.globalAlpha = 1;
    }
    context.fillStyle = outcome === A.OK ? colours['on-ok'] : colours.ink;
    context.fillText(text, start, top + height / 2 + 0.5);
  };

  // An operation without a known end continues as a dashed line to the end of the picture.
  A.paintOpenEnd = (context, from, to, y, colours) => {
    context.strokeStyle = colours.info;
    context.setLineDash([5, 4]);
    context.lineWidth = 1.5;
    context.beginPath();
    context.moveTo(from, y);
    context.lineTo(to, y);
    context.stroke();
    context.setLineDash([]);
  };

  // A linearization point: a diamond on the operation.
  A.paintPoint = (context, x, y, colour, outline) => {
    context.beginPath();
    context.moveTo(x, y - 5);
    context.lineTo(x + 4, y);
    context.lineTo(x, y + 5);
    context.lineTo(x - 4, y);
    context.closePath();
    context.fillStyle = colour;
    context.fill();
    context.strokeStyle = outline;
    context.lineWidth = 1;
    context.stroke();
  };

  const SIGNS = {
    restart: '▲', start: '▲', leader: '★', 'step-down': '☆', snapshot: '◆',
    'snapshot-installed': '◇', crash: '✖', election: '?',
  };
  A.MARK_SIGNS = SIGNS;

  // A node's row: its states as bars, the time that it leads as a line, marks for the lines of its log.
  A.paintNodeRow = (context, row, view, box, top, height, colours) => {
    const middle = top + height / 2;
    context.fillStyle = colours.up;
    context.fillRect(box.left, middle - 2, box.right - box.left, 4);
    for (const { from, to, effect } of row.spans) {
      if (to < view.from || from > view.to) continue;
      const [x0, x1] = [box.x(from), box.x(to)];
      context.clearRect(x0, middle - 4, Math.max(2, x1 - x0), 8);
      const colour = colours[`fault-${effect}`];
      context.fillStyle = effect === 'paused' || effect === 'clock' ? A.hatch(context, colour) : colour;
      if (effect === 'down') context.fillRect(x0, middle - 0.75, Math.max(2, x1 - x0), 1.5);
      else context.fillRect(x0, middle - 4, Math.max(2, x1 - x0), 8);
    }
    for (const { from, to } of row.leads) {
      if (to < view.from || from > view.to) continue;
      context.fillStyle = colours.leader;
      context.fillRect(box.x(from), middle - 5, Math.max(2, box.x(to) - box.x(from)), 2.5);
      context.fillRect(box.x(from), middle + 2.5, Math.max(2, box.x(to) - box.x(from)), 2.5);
    }
    context.font = '12px system-ui, sans-serif';
    context.textAlign = 'center';
    context.textBaseline = 'middle';
    let last = -Infinity;
    const first = A.lowerBound(row.markTimes, view.from, 0, row.marks.length);
    for (let i = first; i < row.marks.length && row.marks[i].at_us <= view.to; i++) {
      const x = box.x(row.marks[i].at_us);
      if (x - last < 7) continue;
      last = x;
      context.fillStyle = colours[`mark-${row.marks[i].kind}`] ?? colours.ink;
      context.fillText(SIGNS[row.marks[i].kind] ?? '•', x, middle);
    }
  };
})();
