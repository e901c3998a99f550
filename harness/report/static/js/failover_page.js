// The page of a failover benchmark: windows, their cumulative distribution, phases.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});
  const result = JSON.parse(A.byId('bundle').textContent);
  const cells = result.cells.filter((c) => c.failure !== 'healthy');
  const healthy = result.cells.filter((c) => c.failure === 'healthy');
  const ms = (v) => (v === null || v === undefined ? '–' : A.duration(v * 1000));
  const name = (cell) => [cell.target, cell.failure, cell.point].filter(Boolean).join(' ');

  A.byId('summary-host').append(
    A.el('p', {}, A.verdictBadge(result.verdict), ` ${result.nodes} nodes, election timeout ${result.election_timeout_ms} ms, ${result.rate} operations a second, ${result.count} failures of each kind`),
    ...result.cells.filter((c) => c.verdict !== 'valid').map((c) => A.el('p', { class: 'sentence' }, `${name(c)}: ${c.verdict}. ${c.reasons[0] ?? ''}`)));

  // A window of 0: nothing took longer than counts as served.
  const span = (c, v) => (v === 0 ? `<${c.in_time_ms} ms` : ms(v));
  const quantile = (cell, q) => cell.window_ms.quantiles[q];
  A.table(A.byId('windows-host'), [
    { name: 'target', text: (c) => c.target },
    { name: 'failure', text: (c) => c.failure },
    ...(result.sweep ? [{ name: result.sweep, text: (c) => c.point }] : []),
    { name: 'failures', text: (c) => String(c.proven), numeric: true },
    { name: 'service back', text: (c) => String(c.recovered), numeric: true },
    { name: 'min', text: (c) => span(c, c.window_ms.min), numeric: true },
    { name: 'p50 (95 % interval)', text: (c) => { const q = quantile(c, 'p50'); return q ? `${span(c, q.value)} (${span(c, q.low)} to ${span(c, q.high)})` : '–'; }, numeric: true },
    { name: 'p90', text: (c) => span(c, quantile(c, 'p90')?.value), numeric: true },
    { name: 'max', text: (c) => span(c, c.window_ms.max), numeric: true },
    { name: 'p50 in timeouts', text: (c) => { const q = quantile(c, 'p50'); return q && q.value !== null ? (q.value === 0 ? `<${(c.in_time_ms / c.election_timeout_ms).toFixed(2)}` : (q.value / c.election_timeout_ms).toFixed(2)) : '–'; }, numeric: true },
    { name: 'outcome unknown', text: (c) => String(c.indefinite), numeric: true },
    { name: 'blocked p50, healing included', text: (c) => ms(c.blocked_ms?.quantiles.p50?.value), numeric: true },
  ], { rows: cells });

  // One step function per cell over the common axis of all windows.
  const worst = (o) => (o.recovered ? Math.max(...Object.values(o.windows_us).map((v) => v ?? Infinity)) : Infinity);
  const samples = cells.map((c) => c.observations.filter((o) => o.struck_us !== null && o.problem === null).map(worst).sort((a, b) => a - b));
  const xs = [...new Set(samples.flat().filter(Number.isFinite))].sort((a, b) => a - b);
  if (xs.length > 1) {
    const plot = A.plot(A.byId('plots-host'), {
      title: 'Share of failures after which service was back within this time', x: (v) => A.duration(v), y: (v) => `${Math.round(v * 100)} %`, height: 280,
      series: cells.map((c, i) => ({ label: name(c), colour: `plot${(i % 6) + 1}`, step: true })),
    });
    plot.set([xs, ...samples.map((s) => xs.map((x) => s.filter((v) => v <= x).length / Math.max(1, s.length)))]);
  }

  const phases = ['detection', 'election', 'commit', 'clients', 'rate'];
  A.table(A.byId('phases-host'), [
    { name: '', text: name },
    ...phases.map((p) => ({ name: p, text: (c) => ms(c.phases_ms[`${p}_us`]?.quantiles.p50?.value), numeric: true })),
  ], { rows: cells });

  const classes = Object.keys(cells[0]?.windows_ms ?? {});
  A.table(A.byId('classes-host'), [
    { name: '', text: name },
    ...classes.map((k) => ({ name: k, text: (c) => span(c, c.windows_ms[k].quantiles.p50?.value), numeric: true })),
  ], { rows: cells });

  const sum = (c, field) => String(c.healthy.reduce((total, h) => total + h[field], 0));
  if (healthy.length === 0) A.byId('healthy').remove();
  else A.table(A.byId('healthy-host'), [
    { name: '', text: (c) => [c.target, c.point].filter(Boolean).join(' ') },
    { name: 'seconds', text: (c) => String(Math.round(Number(sum(c, 'us')) / 1e6)), numeric: true },
    { name: 'busy processors', text: (c) => String(result.busy), numeric: true },
    ...['candidacies', 'elections', 'operations', 'late'].map((k) => ({ name: k, text: (c) => sum(c, k), numeric: true })),
  ], { rows: healthy });
})();
