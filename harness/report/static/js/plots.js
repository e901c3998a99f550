// Plots over time (uPlot), with the faults behind them. They follow the view's range, and dragging
// over a plot sets it. Any page can use `A.plot` with series of its own.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const axis = (colours, more = {}) => ({
    stroke: colours.muted, grid: { stroke: colours.line, width: 1 }, ticks: { stroke: colours.line, width: 1, size: 4 },
    font: '11px system-ui, sans-serif', ...more,
  });

  // spec: {title, height, series: [{label, colour, points, dash, width}], x: 'time' | (value) => text,
  //        xLabel, y: (value) => text, log, view, bands: (context, box) => void, splits}
  // Returns {set(data), node}; data is [xs, ys, …] with null where there is no value.
  A.plot = (host, spec) => {
    const node = A.el('figure', { class: 'plot' }, A.el('figcaption', {}, spec.title));
    host.append(node);
    let plot = null;
    let data = null;

    const options = () => {
      const colours = A.colours();
      const isTime = spec.x === 'time';
      return {
        width: Math.max(240, node.clientWidth),
        height: spec.height ?? 200,
        cursor: { drag: { x: isTime, y: false, setScale: false }, points: { size: 6 } },
        legend: { live: true },
        scales: {
          x: { time: false, range: spec.range ?? ((u, low, high) => (isTime ? [spec.view.from, spec.view.to] : [low, high])) },
          y: spec.log ? { distr: 3, range: spec.yRange ?? (() => logRange(data)) } : { range: spec.yRange ?? ((u, low, high) => [Math.min(0, low ?? 0), (high ?? 1) * 1.08 || 1]) },
        },
        axes: [
          axis(colours, { size: 30, space: 80, splits: spec.splits, values: (u, splits) => splits.map((v) => (isTime ? A.moment(v, splits.length > 1 ? splits[1] - splits[0] : 1) : spec.x(v))) }),
          axis(colours, { size: 64, space: spec.log ? 24 : 32, values: (u, splits) => splits.map((v) => (v === null ? '' : spec.log && !isDecade(v) ? '' : spec.y(v))) }),
        ],
        series: [
          { label: isTime ? 'at' : spec.xLabel ?? 'quantile', value: (u, v) => (v === null ? '' : isTime ? A.moment(v, 1000) : spec.x(v)) },
          ...spec.series.map((s) => ({
            label: s.label, stroke: colours[s.colour] || s.colour, width: s.points ? 0 : s.width ?? 1.6, dash: s.dash,
            paths: s.points ? () => null : s.step ? uPlot.paths.stepped({ align: 1 }) : undefined, spanGaps: Boolean(s.spanGaps),
            points: { show: Boolean(s.points), size: s.size ?? 4, fill: colours[s.colour] || s.colour, width: 0 },
            value: (u, v) => (v === null || v === undefined ? '–' : spec.y(v)),
          })),
        ],
        hooks: {
          drawClear: [(u) => spec.bands?.(u.ctx, pixels(u), colours)],
          setSelect: [(u) => {
            if (!isTime || u.select.width < 3) return;
            const [from, to] = [u.posToVal(u.select.left, 'x'), u.posToVal(u.select.left + u.select.width, 'x')];
            u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
            spec.view.show(from, to);
          }],
          setCursor: isTime ? [(u) => u.cursor.left >= 0 && u.cursor.event !== null && spec.onhover?.(u.posToVal(u.cursor.left, 'x'))] : [],
        },
      };
    };

    const make = () => {
      plot?.destroy();
      plot = new uPlot(options(), data, node);
    };
    const resize = A.debounced(() => plot && plot.setSize({ width: Math.max(240, node.clientWidth), height: spec.height ?? 200 }), 80);
    A.onResize(host, resize);
    A.onColourChange(() => data && make());
    return {
      node,
      set(next) {
        data = next;
        if (plot) plot.setData(data);
        else make();
      },
    };
  };

  const isDecade = (v) => Math.abs(Math.log10(v) - Math.round(Math.log10(v))) < 1e-6;
  // Whole decades around what there is.
  function logRange(data) {
    let [low, high] = [Infinity, 1];
    for (const line of data.slice(1)) {
      for (const y of line) {
        if (y === null) continue;
        if (y < low) low = y;
        if (y > high) high = y;
      }
    }
    const least = Math.floor(Math.log10(Math.min(low, high)) + 1e-9);
    return [10 ** least, 10 ** Math.max(least + 1, Math.ceil(Math.log10(high) - 1e-9))];
  }

  function pixels(u) {
    const { left, top, width, height } = u.bbox;
    return { left, right: left + width, top, bottom: top + height, x: (us) => Math.min(left + width, Math.max(left, u.valToPos(us, 'x', true))) };
  }

  // The usual background of a plot over time: faults, and spans in which no client was answered.
  A.timeBands = (faults, view, gaps = []) => (context, box, colours) => {
    A.paintBands(context, faults, view, box, colours);
    context.fillStyle = colours.invalid;
    for (const [from, to] of gaps) {
      if (to < view.from || from > view.to) continue;
      context.fillRect(box.x(from), box.bottom - 5, Math.max(2, box.x(to) - box.x(from)), 5);
    }
  };
})();
