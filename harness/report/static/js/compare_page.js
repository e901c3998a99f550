// Two runs side by side: verdicts, rates and latencies over the same time, figures, settings.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const { runs } = JSON.parse(A.byId('bundle').textContent);
  const names = ['first', 'second'];

  runs.forEach((run, i) => A.byId('verdicts-host').append(A.el('article', { class: 'card' },
    A.el('p', {}, A.verdictBadge(run.header.verdict), ' ', A.el('span', { class: names[i] }, names[i])),
    A.el('h3', {}, A.el('a', { href: `/run/${run.name.split('/').map(encodeURIComponent).join('/')}` }, run.name)),
    A.el('p', { class: 'sentence' }, run.header.sentence))));

  // Both on the time since their own start.
  const longest = Math.max(...runs.map((run) => run.bins.rate.length * run.bins.width_us));
  const view = new A.View(0, longest);
  const xs = runs[0].bins.rate.map((_, i) => i * runs[0].bins.width_us); // both have the same bins
  const series = (more) => runs.map((_, i) => ({ label: names[i], colour: `plot${i + 1}`, ...more }));
  const data = (of) => [xs, ...runs.map((run) => of(run.bins))];
  const host = A.byId('plots-host');
  const plots = [
    [A.plot(host, { title: 'Answers a second', x: 'time', view, y: (v) => A.count(v), series: series({ step: true }) }), data((b) => b.rate)],
    [A.plot(host, { title: 'Latency: median', x: 'time', view, log: true, y: A.duration, series: series() }), data((b) => b.p50_us)],
    [A.plot(host, { title: 'Latency: p99', x: 'time', view, log: true, y: A.duration, series: series() }), data((b) => b.p99_us)],
    [A.plot(host, { title: 'Not answered', x: 'time', view, y: (v) => A.count(v), series: series({ step: true }) }), data((b) => b.unanswered)],
  ];
  for (const [plot, values] of plots) plot.set(values);
  view.on('range', () => plots.forEach(([plot, values]) => plot.set(values)));

  const pairs = (rows) => [
    { name: '', text: (r) => r[0] },
    ...runs.map((_, i) => ({ name: names[i], text: (r) => r[i + 1], numeric: rows === 'figures' })),
  ];
  const compared = (target, rows, kind) => {
    A.table(target, pairs(kind), { rows });
    target.querySelectorAll('tbody tr').forEach((tr, i) => tr.classList.toggle('differs', kind === 'settings' && rows[i][1] !== rows[i][2]));
  };

  const latency = (run, name) => {
    const found = run.availability.latency?.[name];
    return found === undefined ? '–' : A.duration(found / 1000);
  };
  compared(A.byId('figures-host'), [
    ['operations answered', ...runs.map((r) => A.count((r.availability.outcomes.ok ?? 0) + (r.availability.outcomes.mismatch ?? 0)))],
    ['failed', ...runs.map((r) => A.count(r.availability.outcomes.fail ?? 0))],
    ['unknown outcome', ...runs.map((r) => A.count((r.availability.outcomes.info ?? 0) + (r.availability.outcomes.open ?? 0)))],
    ['longest time without an answer', ...runs.map((r) => A.duration(r.availability.longest_unavailability_ns / 1000))],
    ...['p50_ns', 'p90_ns', 'p99_ns', 'p999_ns', 'max_ns'].map((name) => [`latency ${name.replace('_ns', '')}`, ...runs.map((r) => latency(r, name))]),
    ['faults', ...runs.map((r) => A.count(r.faults.length))],
  ], 'figures');

  const flat = (value, path = '') => (value !== null && typeof value === 'object' && !Array.isArray(value)
    ? Object.entries(value).flatMap(([key, inner]) => flat(inner, path ? `${path}.${key}` : key)) : [[path, JSON.stringify(value)]]);
  const settings = runs.map((run) => new Map(flat(run.header.configuration)));
  const keys = [...new Set(settings.flatMap((found) => [...found.keys()]))];
  const rows = keys.map((key) => [key, ...settings.map((found) => found.get(key) ?? '–')]);
  rows.sort((a, b) => (a[1] === a[2]) - (b[1] === b[2]));
  compared(A.byId('settings-host'), rows, 'settings');
  document.documentElement.dataset.ready = 'all';
})();
