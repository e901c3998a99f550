// What the plots of a run show: latencies, rates, quantiles, clocks. Everything is computed from
// the decoded columns, for the range in view.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const BINS = 240;
  const RATE_BINS = 120;
  const RAW_MAX = 3000;
  const FUNCTION_COLOURS = ['plot1', 'plot2', 'plot3', 'plot4', 'plot5', 'plot6'];

  // Numbers of the operations that ended in the range.
  function inRange(ops, from, to, wanted) {
    const slack = (ops.longest ??= ops.span_us.reduce((a, b) => Math.max(a, b), 0));
    const first = A.lowerBound(ops.start_us, from - slack, 0, ops.count);
    const last = A.lowerBound(ops.start_us, to, 0, ops.count, true);
    const found = new Uint32Array(last - first);
    let size = 0;
    for (let n = first; n < last; n++) {
      const end = ops.end_us[n];
      if (end >= from && end <= to && (!wanted || ops.function[n] === wanted)) found[size++] = n;
    }
    return found.subarray(0, size);
  }

  const quantile = (sorted, share) => sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(sorted.length * share) - 1))];

  function bins(ops, numbers, from, to) {
    const width = (to - from) / BINS;
    const sizes = new Uint32Array(BINS + 1);
    const place = (n) => Math.min(BINS - 1, Math.max(0, Math.floor((ops.end_us[n] - from) / width)));
    for (const n of numbers) if (ops.answered(n)) sizes[place(n) + 1]++;
    for (let i = 0; i < BINS; i++) sizes[i + 1] += sizes[i];
    const spans = new Float32Array(sizes[BINS]);
    const next = sizes.slice();
    for (const n of numbers) if (ops.answered(n)) spans[next[place(n)]++] = ops.span_us[n];
    const xs = [];
    const lines = [[], [], [], []];
    for (let i = 0; i < BINS; i++) {
      xs.push(from + (i + 0.5) * width);
      const sorted = spans.subarray(sizes[i], sizes[i + 1]).sort();
      [0.5, 0.9, 0.99, 1].forEach((share, k) => lines[k].push(sorted.length ? Math.max(1, quantile(sorted, share)) : null));
    }
    return [xs, ...lines];
  }

  // Few operations are shown one by one, by their outcome.
  function single(ops, numbers) {
    const order = Array.from(numbers).sort((a, b) => ops.end_us[a] - ops.end_us[b]);
    const xs = order.map((n) => ops.end_us[n]);
    return [xs, ...[0, 1, 2, 3].map((outcome) => order.map((n) => (Math.min(3, ops.outcome[n]) === outcome ? Math.max(1, ops.span_us[n]) : null)))];
  }

  A.latencyPlots = (host, model) => {
    const { document, operations: ops, faults, view } = model;
    const gaps = document.availability.windows.map(([from, to]) => [from / 1000, to / 1000]);
    const bands = A.timeBands(faults, view, gaps);
    const onhover = (us) => view.setHover(us);
    const over = { view, bands, onhover, x: 'time' };
    let wanted = 0;
    const shareLines = [];
    const choice = A.el('select', { 'aria-label': 'operations in the latency plots' }, A.el('option', { value: '0' }, 'all operations'),
      ops.functions.map((name, i) => i ? A.el('option', { value: String(i) }, name) : null));
    host.append(A.el('p', { class: 'controls' }, choice, A.el('span', { class: 'hint' }, 'Drag over a plot to zoom; the red foot marks times without any answer.')));
    const grid = A.el('div', { class: 'plots' });
    host.append(grid);

    const many = A.plot(grid, { ...over, title: 'Latency: quantiles of what was answered', log: true, y: A.duration, series: [
      { label: 'median', colour: 'plot1' }, { label: 'p90', colour: 'plot2' }, { label: 'p99', colour: 'plot3' }, { label: 'max', colour: 'plot4', points: true, size: 3 }] });
    const few = A.plot(grid, { ...over, title: 'Latency: every operation by its outcome', log: true, y: A.duration, series:
      ['ok', 'mismatch', 'fail', 'info'].map((colour, i) => ({ label: ['ok', 'mismatch', 'failed', 'unknown'][i], colour, points: true, size: 5 })) });
    const rates = A.plot(grid, { ...over, title: 'Throughput: operations a second', y: (v) => A.count(v), series: [
      ...ops.functions.slice(1).map((name, i) => ({ label: `${name} answered`, colour: FUNCTION_COLOURS[i % 6], step: true })), { label: 'failed or unknown', colour: 'info', step: true, width: 2 }] });
    const shares = A.plot(grid, { title: 'Latency by quantile, in the range shown', log: true, y: A.duration, x: nines, range: () => [0, 5], splits: () => [0, 1, 2, 3, 4, 5],
      series: ops.functions.slice(1).map((name, i) => ({ label: name, colour: FUNCTION_COLOURS[i % 6] })) });

    // Each plot in a task of its own: with a million operations in view none may block for long.
    let round = 0;
    const update = () => {
      const numbers = inRange(ops, view.from, view.to, wanted);
      const all = wanted ? inRange(ops, view.from, view.to, 0) : numbers;
      const [from, to] = [view.from, view.to];
      const mine = ++round;
      const steps = [
        () => {
          const raw = numbers.length <= RAW_MAX;
          many.node.hidden = raw;
          few.node.hidden = !raw;
          if (raw) few.set(single(ops, numbers));
          else many.set(bins(ops, numbers, from, to));
        },
        () => rates.set(throughput(ops, all, from, to)),
        ...ops.functions.slice(1).map((_, i) => () => (shareLines[i] = quantiles(ops, all, i + 1))),
        () => shares.set([SHARES, ...shareLines]),
      ];
      const next = () => {
        if (mine !== round || !steps.length) return;
        steps.shift()();
        setTimeout(next, 0);
      };
      next();
    };
    choice.addEventListener('change', () => {
      wanted = Number(choice.value);
      update();
    });
    view.on('range', A.debounced(update, 140));
    clocks(grid, model, over);
    update();
  };

  function throughput(ops, numbers, from, to) {
    const width = (to - from) / RATE_BINS;
    const kinds = ops.functions.length;
    const counts = Array.from({ length: kinds }, () => new Float64Array(RATE_BINS));
    for (const n of numbers) {
      const i = Math.min(RATE_BINS - 1, Math.max(0, Math.floor((ops.end_us[n] - from) / width)));
      counts[ops.answered(n) ? ops.function[n] - 1 : kinds - 1][i] += 1e6 / width;
    }
    return [Array.from({ length: RATE_BINS }, (_, i) => from + i * width), ...counts.map((line) => [...line])];
  }

  const SHARES = Array.from({ length: 101 }, (_, i) => i * 0.05);
  const nines = (v) => ['0 %', '90 %', '99 %', '99.9 %', '99.99 %', '99.999 %'][v] ?? `${(100 * (1 - 10 ** -v)).toFixed(Math.min(5, Math.ceil(v)))} %`;

  // The latencies of one function's answered operations at each of SHARES.
  function quantiles(ops, numbers, wanted) {
    let spans = new Float32Array(numbers.length);
    let size = 0;
    for (const n of numbers) if (ops.function[n] === wanted && ops.answered(n)) spans[size++] = ops.span_us[n];
    spans = spans.subarray(0, size).sort();
    // Beyond 1 - 1/n there is no estimate.
    return SHARES.map((v) => (size && 10 ** -v >= 0.5 / size ? Math.max(1, quantile(spans, 1 - 10 ** -v)) : null));
  }

  // How far each node's clock was off, as asked for.
  function clocks(host, { document, faults, view }, over) {
    const skewed = faults.all.filter((f) => f.effect === 'clock' && f.strikes);
    if (!skewed.length) return;
    const nodes = [...new Set(skewed.flatMap((f) => f.nodes))].sort((a, b) => a - b);
    const moments = [view.min, view.max];
    for (const f of skewed) for (const n of f.nodes) moments.push(...faults.onNode(f, n).flatMap((us) => [us - 0.5, us]));
    const xs = [...new Set(moments)].sort((a, b) => a - b);
    const offset = (node, us) => skewed.reduce((sum, f) => {
      if (!f.nodes.includes(node)) return sum;
      const [from, to] = faults.onNode(f, node);
      return us >= from && us < to ? sum + A.clockOffset(f, from, us) : sum;
    }, 0);
    // A skew of an hour and one of a second are both to be seen: the scale is logarithmic both ways.
    const squeeze = (us) => Math.sign(us) * Math.log10(1 + Math.abs(us) / 1000);
    const stretch = (v) => Math.sign(v) * (10 ** Math.abs(v) - 1) * 1000;
    const plot = A.plot(host, { ...over, title: 'Clocks: offset per node (scale logarithmic in both directions)', yRange: (u, low, high) => [Math.min(-1, Math.floor(low)), Math.max(1, Math.ceil(high))],
      y: (v) => { const us = Number.isInteger(v) ? Math.sign(v) * 1000 * 10 ** Math.abs(v) : stretch(v); return us ? `${us > 0 ? '+' : '−'}${A.duration(Math.abs(us))}` : '0'; },
      series: nodes.map((n, i) => ({ label: `n${n}`, colour: FUNCTION_COLOURS[i % 6], width: 2 })) });
    plot.set([xs, ...nodes.map((n) => xs.map((us) => squeeze(offset(n, us))))]);
    view.on('range', A.debounced(() => plot.set([xs, ...nodes.map((n) => xs.map((us) => squeeze(offset(n, us))))]), 140));
  }
})();
