// The list of runs: sorted, filtered, compared; on a server it follows the folder.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const EVERY_MS = 4000;
  const { rows, served, reports } = JSON.parse(A.byId('bundle').textContent);
  const written = new Set(reports);
  const chosen = new Set();
  const compare = A.byId('compare');
  const encoded = (name) => name.split('/').map(encodeURIComponent).join('/');
  const address = (row) => (served ? `/run/${encoded(row.name)}` : written.has(row.name) ? `${encoded(row.name)}/report.html` : null);

  const name = (row) => {
    const to = address(row);
    const title = to ? A.el('a', { href: to }, row.name) : row.name;
    return A.el('span', {}, title, row.verdict === 'invalid' && row.sentence ? A.el('span', { class: 'sentence' }, row.sentence) : null);
  };
  const when = (row) => (row.time_s ? new Date(row.time_s * 1000).toISOString().slice(0, 16).replace('T', ' ') : '');
  const box = (row) => A.el('input', { type: 'checkbox', checked: chosen.has(row.name), 'aria-label': `compare ${row.name}`, onchange: (event) => {
    chosen[event.target.checked ? 'add' : 'delete'](row.name);
    compare.disabled = chosen.size !== 2;
  } });

  const columns = [
    ...(served ? [{ name: ' ', text: () => '', node: box }] : []),
    { name: 'run', text: (r) => r.name, node: name },
    { name: 'began (UTC)', text: when, sort: (r) => r.time_s, numeric: true },
    { name: 'verdict', text: (r) => r.verdict, node: (r) => A.verdictBadge(r.verdict) },
    { name: 'target', text: (r) => r.target },
    { name: 'on', text: (r) => r.on },
    { name: 'workload', text: (r) => r.workload },
    { name: 'faults', text: (r) => r.faults },
    { name: 'seed', text: (r) => r.seed, sort: (r) => Number(r.seed), numeric: true },
    { name: 'operations', text: (r) => A.count(r.operations), sort: (r) => r.operations, numeric: true },
    { name: 'longest unavailability', text: (r) => A.duration(r.unavailable_ms * 1000), sort: (r) => r.unavailable_ms, numeric: true },
    ...(served ? [{ name: '', text: () => '', node: (r) => A.el('a', { href: `/run/${encoded(r.name)}/zip`, 'aria-label': `${r.name} as a zip` }, 'zip') }] : []),
  ];
  const options = { rows, filter: A.byId('filter') };
  const table = A.table(A.byId('runs-host'), columns, options);

  const tell = () => {
    const count = (verdict) => options.rows.filter((row) => row.verdict === verdict).length;
    A.byId('count-host').textContent = `${A.count(options.rows.length)} runs: ${count('valid')} valid, ${count('invalid')} invalid, ${count('unknown')} unknown`;
  };
  tell();

  if (served) {
    compare.hidden = false;
    compare.addEventListener('click', () => {
      const [a, b] = chosen;
      location.assign(`/compare?${new URLSearchParams({ a, b })}`);
    });
    setInterval(async () => {
      if (document.hidden) return;
      try {
        const found = await (await fetch('/rows')).json();
        if (JSON.stringify(found) === JSON.stringify(options.rows)) return;
        options.rows = found;
        table.draw();
        tell();
      } catch {
        A.byId('count-host').textContent = 'the server has stopped';
      }
    }, EVERY_MS);
  }
  document.documentElement.dataset.ready = 'all';
})();
