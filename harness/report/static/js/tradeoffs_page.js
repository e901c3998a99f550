// The page of a comparison: each cell with its text, its table, the reasons, details and curves.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});
  const result = JSON.parse(A.byId('bundle').textContent);

  const number = (value, digits) => (value === null ? '∞' : String(Number(value.toFixed(digits))));
  const measured = (row, p) => row.figures[p.target];
  const text = (row, p) => {
    const figure = measured(row, p);
    if (!figure) return '–';
    const found = number(figure.measured, row.digits);
    return figure.agrees === null ? found : `${found} ${figure.agrees ? '/' : '≠'} ${figure.at_most ? '≤ ' : ''}${number(figure.expected, row.digits)}`;
  };
  const cell = (row, p) => {
    const figure = measured(row, p);
    const title = figure && figure.source ? `expected: ${number(figure.expected, row.digits)} (${figure.source})` : undefined;
    const wrong = figure && figure.agrees === false;
    return A.el('span', { title, class: wrong ? 'badge unknown' : undefined }, text(row, p));
  };
  const plain = (value) => (value === null ? '–' : typeof value === 'number' ? String(Number(value.toPrecision(4))) : value);

  const where = result.on === 'sim' ? 'in the simulator' : 'in containers';
  A.byId('summary-host').append(
    A.el('p', {}, `${result.nodes} nodes, ${result.delay_ms} ms on every link, measured ${where}.`),
    A.el('p', {}, 'Each figure is what was measured / what theory says. ', A.el('span', { class: 'badge unknown' }, '3 ≠ 1'),
      ` marks a disagreement (${result.disagreements} of them); its reason stands below the table, and the source of every expected value shows when you point at it.`));

  for (const section of result.sections) {
    const protocols = result.protocols.filter((p) => section.rows.some((r) => r.figures[p.target]));
    const card = A.el('div', { class: 'card' });
    const block = A.el('section', { id: section.id }, A.el('h2', {}, section.title), section.text.map((t) => A.el('p', {}, t)));
    A.byId('sections-host').append(block);
    if (section.rows.length) {
      block.append(card);
      A.table(card, [
        { name: 'measured / theory', text: (r) => r.title, node: (r) => A.el('span', {}, r.title, ' ', A.el('span', { class: 'hint' }, r.unit)) },
        ...protocols.map((p) => ({ name: p.title, text: (r) => text(r, p), sort: (r) => measured(r, p)?.measured ?? -1, node: (r) => cell(r, p), numeric: true })),
      ], { rows: section.rows });
      for (const row of section.rows) {
        for (const p of protocols) {
          const figure = measured(row, p);
          if (figure && figure.agrees === false) card.append(A.el('p', {}, `≠ ${p.title}, ${row.title}: ${figure.why || 'not explained'}`));
        }
      }
    }
    const curves = section.details.filter((d) => d.curve);
    if (curves.length) {
      const host = A.el('div', { class: 'plots' });
      block.append(host);
      for (const curve of curves) {
        const xs = curve.rows.map((r) => r[0]);
        const lines = curve.head.slice(1);
        A.plot(host, {
          title: curve.title, x: (v) => plain(v), y: (v) => plain(v), height: 240, splits: () => xs, xLabel: curve.head[0], log: curve.curve === 'log',
          series: lines.map((label, i) => ({ label, colour: `plot${(i % 6) + 1}`, spanGaps: true, dash: i >= 6 ? [6, 4] : undefined })),
        }).set([xs, ...lines.map((_, i) => curve.rows.map((r) => r[i + 1]))]);
      }
    }
    for (const detail of section.details) {
      const table = A.el('div', { class: 'card' });
      block.append(A.el('details', { open: !detail.curve }, A.el('summary', {}, detail.title), table));
      A.table(table, detail.head.map((name, i) => ({
        name, text: (r) => plain(r[i]), sort: (r) => r[i] ?? '', numeric: detail.rows.some((r) => typeof r[i] === 'number'),
      })), { rows: detail.rows });
    }
  }
  document.documentElement.dataset.ready = 'all';
})();
