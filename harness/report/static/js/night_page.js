// The page of a night of a suite.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});
  const night = JSON.parse(A.byId('bundle').textContent);

  A.byId('title-host').append(`${night.suite}: ${night.night}`);
  A.byId('summary-host').append(
    A.el('p', {}, A.verdictBadge(night.outcome), ` ${night.headline}`),
    A.el('p', {}, `${A.duration(night.seconds * 1e6)}, ${A.count(night.operations)} operations, ${A.count(night.simulated_seeds_per_hour)} simulated seeds an hour${night.interrupted ? '; interrupted' : ''}`));

  const link = (row) => (row.page ? A.el('a', { href: row.page }, 'page') : '');
  A.table(A.byId('findings-host'), [
    { name: 'status', text: (f) => f.status },
    { name: 'finding', text: (f) => f.signature },
    { name: 'what', text: (f) => [f.sentence, f.location].filter(Boolean).join('; ') },
    { name: 'runs', text: (f) => String(f.results.length), numeric: true },
    { name: 'since', text: (f) => f.since ?? 'tonight' },
    { name: 'confirmed and shrunk', text: (f) => [f.confirmed, f.shrunk_words].filter(Boolean).join('; ') },
    { name: 'show it again', text: (f) => f.again },
    { name: '', node: link, text: () => '' },
  ], { rows: night.findings });
  if (!night.findings.length) A.byId('findings-host').append(A.el('p', {}, 'No run failed.'));

  const gone = A.byId('gone-host');
  if (night.gone.length) A.table(gone, [{ name: 'finding', text: (g) => g.signature }, { name: 'last night', text: (g) => g.last }], { rows: night.gone });
  else gone.append(A.el('p', {}, 'Nothing.'));

  const of = (name) => ({ name, text: (c) => String(c.outcomes[name] ?? 0), numeric: true });
  A.table(A.byId('cells-host'), [
    { name: 'cell', text: (c) => c.cell },
    { name: 'runs', text: (c) => `${c.runs} of ${c.planned}`, numeric: true },
    ...['valid', 'invalid', 'unknown', 'error'].map(of),
    { name: 'operations', text: (c) => A.count(c.operations), numeric: true },
    { name: 'time', text: (c) => A.duration(c.seconds * 1e6), numeric: true },
    { name: 'longest unavailability', text: (c) => (c.unavailable_ms_max === null ? '–' : A.duration(c.unavailable_ms_max * 1000)), numeric: true },
  ], { rows: night.cells });

  if (night.sweeps.length) A.table(A.byId('cells-host'), [
    { name: 'sweep over the nights', text: (s) => s.cell },
    { name: 'seeds done', text: (s) => `${A.count(s.done)} of ${A.count(s.of)}`, numeric: true },
  ], { rows: night.sweeps });

  const failover = A.byId('failover-host');
  if (night.failovers.length) A.table(failover, [
    { name: 'row', text: (f) => f.cell },
    { name: 'failures', text: (f) => String(f.proven), numeric: true },
    { name: 'service back', text: (f) => String(f.recovered), numeric: true },
    { name: 'median (95 % interval)', text: (f) => A.interval(f.median_ms, f.in_time_ms), numeric: true },
    { name: '', node: link, text: () => '' },
  ], { rows: night.failovers });
  else failover.append(A.el('p', {}, 'Not measured.'));

  A.coverage(A.byId('coverage-host'), Object.entries(night.coverage).flatMap(([subject, kinds]) =>
    Object.entries(kinds).flatMap(([kind, counts]) => Object.entries(counts).map(([name, count]) => ({ subject, kind, name, count })))));

  A.table(A.byId('failed-host'), [
    { name: 'outcome', text: (r) => r.outcome },
    { name: 'cell', text: (r) => r.cell },
    { name: 'seed', text: (r) => String(r.seed), numeric: true },
    { name: 'what', text: (r) => r.sentence },
    { name: '', node: link, text: () => '' },
  ], { rows: night.failed });
})();
