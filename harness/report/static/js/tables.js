// A table that sorts by its headings and filters by a text; rows are plain data.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  // columns: [{name, text(row), sort?(row), node?(row), numeric?}]; options: {rows, filter, onrow,
  // sorted: [column, descending], caption}
  A.table = (host, columns, options) => {
    let [by, descending] = options.sorted ?? [-1, false];
    let wanted = '';
    const body = A.el('tbody');
    const heads = columns.map((column, i) =>
      A.el('th', { scope: 'col', class: column.numeric && 'numeric' },
        A.el('button', { type: 'button', onclick: () => sortBy(i) }, column.name)));
    const table = A.el('table', { class: 'data' },
      options.caption && A.el('caption', {}, options.caption),
      A.el('thead', {}, A.el('tr', {}, heads)), body);

    function sortBy(i) {
      descending = by === i ? !descending : Boolean(columns[i].numeric);
      by = i;
      draw();
    }

    function draw() {
      heads.forEach((head, i) => {
        head.setAttribute('aria-sort', i !== by ? 'none' : descending ? 'descending' : 'ascending');
      });
      const rows = options.rows.filter((row) => !wanted || columns.some((c) => c.text(row).toLowerCase().includes(wanted)));
      if (by >= 0) {
        const key = columns[by].sort ?? columns[by].text;
        rows.sort((a, b) => compare(key(a), key(b)) * (descending ? -1 : 1));
      }
      body.replaceChildren(...rows.map((row) => {
        const cells = columns.map((c) => A.el('td', { class: c.numeric && 'numeric' }, c.node ? c.node(row) : c.text(row)));
        const line = A.el('tr', {}, cells);
        if (options.onrow) line.addEventListener('click', () => options.onrow(row));
        return line;
      }));
    }

    const compare = (a, b) => (typeof a === 'number' && typeof b === 'number' ? a - b : String(a).localeCompare(String(b), 'en', { numeric: true }));
    if (options.filter) {
      options.filter.addEventListener('input', () => {
        wanted = options.filter.value.toLowerCase();
        draw();
      });
    }
    draw();
    host.append(A.el('div', { class: 'scroll' }, table));
    return { draw };
  };

  A.verdictBadge = (verdict) => {
    const sign = { valid: '✓', invalid: '✗', unknown: '?' }[verdict] ?? '–';
    return A.el('span', { class: `badge ${verdict}` }, `${sign} ${verdict}`);
  };
})();
