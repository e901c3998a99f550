// The page over all nights of a store.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});
  const { nights, findings, failovers, coverage } = JSON.parse(A.byId('bundle').textContent);
  const perSecond = (n, count) => (n.seconds ? Math.round((count ?? 0) / n.seconds * 10) / 10 : 0);
  const share = (n) => (n.runs ? n.valid / n.runs : 0);

  const ordered = [...nights].reverse();
  if (ordered.length > 1) {
    const xs = ordered.map((_, i) => i);
    const label = (i) => (Number.isInteger(i) ? ordered[i]?.night ?? '' : '');
    const host = A.byId('plots-host');
    const plots = [
      ['Share of runs that were valid', (v) => `${Math.round(v * 100)} %`, share],
      ['New findings', (v) => A.count(v), (n) => n.new_findings],
      ['Runs', (v) => A.count(v), (n) => n.runs],
      ['Operations a second', (v) => A.count(v), (n) => perSecond(n, n.operations)],
      ['Runs an hour', (v) => A.count(v), (n) => perSecond(n, n.runs) * 3600],
    ];
    plots.forEach(([title, y, of], i) => A.plot(host, {
      title, x: label, xLabel: 'night', y, series: [{ label: title, colour: `plot${(i % 6) + 1}` }],
    }).set([xs, ordered.map(of)]));
  }

  A.table(A.byId('nights-host'), [
    { name: 'night', node: (n) => A.el('a', { href: `${encodeURIComponent(n.night)}/night.html` }, n.night), text: (n) => n.night },
    { name: 'outcome', text: (n) => n.outcome ?? 'unfinished' },
    { name: 'runs', text: (n) => A.count(n.runs), numeric: true },
    { name: 'valid', text: (n) => `${(share(n) * 100).toFixed(1)} %`, numeric: true },
    ...['invalid', 'unknown', 'errors'].map((name) => ({ name, text: (n) => A.count(n[name] ?? 0), numeric: true })),
    { name: 'new findings', text: (n) => A.count(n.new_findings), numeric: true },
    { name: 'operations', text: (n) => A.count(n.operations ?? 0), numeric: true },
    { name: 'runs an hour', text: (n) => A.count(Math.round(perSecond(n, n.runs) * 3600)), numeric: true },
    { name: 'time', text: (n) => A.duration((n.seconds ?? 0) * 1e6), numeric: true },
  ], { rows: nights });

  // One plot per row that was measured in more than one night: the median and its interval.
  for (const cell of new Set(failovers.map((f) => f.cell))) {
    const measured = failovers.filter((f) => f.cell === cell);
    if (measured.length < 2) continue;
    A.plot(A.byId('failover-plots-host'), {
      title: cell, xLabel: 'night', x: (i) => (Number.isInteger(i) ? measured[i]?.night ?? '' : ''), y: (v) => A.duration(v * 1000),
      series: [{ label: 'median', colour: 'plot1', width: 2 }, { label: 'low', colour: 'plot2', dash: [4, 3] }, { label: 'high', colour: 'plot3', dash: [4, 3] }],
    }).set([measured.map((_, i) => i), ...['median', 'low', 'high'].map((name) => measured.map((f) => f[name]))]);
  }
  if (failovers.length) A.table(A.byId('failover-host'), [
    { name: 'row', text: (f) => f.cell },
    { name: 'night', text: (f) => f.night },
    { name: 'failures', text: (f) => String(f.proven), numeric: true },
    { name: 'service back', text: (f) => String(f.recovered), numeric: true },
    { name: 'median (95 % interval)', text: (f) => A.interval(f.median === null && f.low === null ? null : { value: f.median, low: f.low, high: f.high }, f.in_time_ms), numeric: true },
  ], { rows: failovers });
  else A.byId('failover-host').append(A.el('p', {}, 'Not measured.'));

  A.coverage(A.byId('coverage-host'), coverage);

  A.table(A.byId('findings-host'), [
    { name: 'finding', text: (f) => f.signature },
    { name: 'first', text: (f) => f.first },
    { name: 'last', text: (f) => f.last },
    { name: 'nights', text: (f) => A.count(f.nights), numeric: true },
    { name: 'what', text: (f) => f.sentence ?? '' },
  ], { rows: findings });
})();
