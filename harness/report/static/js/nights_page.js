// The page over all nights of a store.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});
  const { nights, findings } = JSON.parse(A.byId('bundle').textContent);
  const share = (n) => (n.runs ? n.valid / n.runs : 0);

  const ordered = [...nights].reverse();
  if (ordered.length > 1) {
    const xs = ordered.map((_, i) => i);
    const label = (i) => ordered[Math.round(i)]?.night ?? '';
    const host = A.byId('plots-host');
    const plots = [
      ['Share of runs that were valid', (v) => `${Math.round(v * 100)} %`, share],
      ['New findings', (v) => A.count(v), (n) => n.new_findings],
      ['Runs', (v) => A.count(v), (n) => n.runs],
    ];
    plots.forEach(([title, y, of], i) => A.plot(host, {
      title, x: label, y, series: [{ label: title, colour: `plot${i + 1}` }],
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
    { name: 'time', text: (n) => A.duration((n.seconds ?? 0) * 1e6), numeric: true },
  ], { rows: nights });

  A.table(A.byId('findings-host'), [
    { name: 'finding', text: (f) => f.signature },
    { name: 'first', text: (f) => f.first },
    { name: 'last', text: (f) => f.last },
    { name: 'nights', text: (f) => A.count(f.nights), numeric: true },
    { name: 'what', text: (f) => f.sentence ?? '' },
  ], { rows: findings });
})();
