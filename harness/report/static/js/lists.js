// Long lists: the nodes' logs, of which only the visible lines exist as elements; and the story.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const ROW = 22;

  A.nodeLogs = (host, { document, view }, logs) => {
    const { at_us: at, node, event, text } = logs.columns;
    const filter = A.el('input', { type: 'search', placeholder: 'filter: event or text', 'aria-label': 'filter the logs' });
    const nodes = A.el('select', { 'aria-label': 'node' }, A.el('option', { value: '0' }, 'all nodes'), document.nodes.map((n) => A.el('option', { value: String(n) }, `n${n}`)));
    const follow = A.el('input', { type: 'checkbox' });
    const told = A.el('span', { class: 'hint' });
    const list = A.el('div', { class: 'log', tabindex: '0', role: 'log', 'aria-label': 'log lines' });
    const inner = A.el('div', { class: 'inner' });
    list.append(inner);
    host.append(A.el('p', { class: 'controls' }, filter, nodes, A.el('label', {}, follow, ' only the range of the timeline'), told), list);
    let shown = [];

    const choose = () => {
      const wanted = filter.value.toLowerCase();
      const only = Number(nodes.value);
      shown = [];
      for (let i = 0; i < at.length; i++) {
        if (only && node[i] !== only) continue;
        if (follow.checked && (at[i] < view.from || at[i] > view.to)) continue;
        if (wanted && !`${logs.events[event[i]]} ${logs.text(text[i])}`.toLowerCase().includes(wanted)) continue;
        shown.push(i);
      }
      told.textContent = `${A.count(shown.length)} of ${A.count(at.length + logs.left_out)} lines${logs.is_aligned ? '' : '; their clock could not be aligned with the run'}`;
      inner.style.height = `${shown.length * ROW}px`;
      list.style.height = `${Math.max(3, Math.min(17, shown.length)) * ROW}px`;
      draw();
    };
    const draw = () => {
      const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 5);
      const last = Math.min(shown.length, first + Math.ceil((list.clientHeight || 300) / ROW) + 10);
      const current = nearest();
      const rows = [];
      for (let i = first; i < last; i++) {
        const line = shown[i];
        rows.push(A.el('button', { type: 'button', class: `line${i === current ? ' now' : ''}`, style: { top: `${i * ROW}px` }, onclick: () => {
          view.setCursor(at[line]);
          view.reveal(at[line], at[line]);
        } }, A.el('span', { class: 'at' }, A.moment(at[line])), A.el('span', { class: `who n${node[line] % 6}` }, `n${node[line]}`), A.el('b', {}, logs.events[event[line]]), A.el('span', {}, logs.text(text[line]).replaceAll('\n', ' ⏎ '))));
      }
      inner.replaceChildren(...rows);
    };
    // The last shown line that is not after the cursor.
    const nearest = () => {
      let [low, high] = [0, shown.length];
      while (low < high) {
        const middle = (low + high) >>> 1;
        if (at[shown[middle]] <= view.moment) low = middle + 1;
        else high = middle;
      }
      return low - 1;
    };
    filter.addEventListener('input', choose);
    nodes.addEventListener('change', choose);
    follow.addEventListener('change', choose);
    list.addEventListener('scroll', A.perFrame(draw));
    view.on('cursor', A.perFrame(draw));
    view.on('range', A.debounced(() => follow.checked && choose(), 120));
    choose();
  };

  // The shrunk run, explained line by line; a click goes to the line's time.
  A.story = (host, { document, view }) => {
    const lines = document.story.map((line) => {
      const words = A.el(line.at_us === null ? 'span' : 'button', { class: 'line', type: line.at_us === null ? null : 'button' }, line.text || ' ');
      if (line.at_us !== null) {
        words.addEventListener('click', () => {
          view.setCursor(line.at_us);
          view.show(line.at_us - 4000, line.at_us + 8000);
        });
      }
      return { ...line, words };
    });
    const list = A.el('div', { class: 'story', tabindex: '0', role: 'list', 'aria-label': 'the story' }, lines.map((line) => line.words));
    host.append(list);
    let marked = [];
    view.on('cursor', A.perFrame(() => {
      const timed = lines.filter((line) => line.at_us !== null && line.at_us <= view.moment);
      const last = timed.reduce((most, line) => Math.max(most, line.at_us), -1);
      marked.forEach((line) => line.words.classList.remove('now'));
      marked = timed.filter((line) => line.at_us === last);
      marked.forEach((line) => line.words.classList.add('now'));
      const first = marked[0]?.words;
      if (first && view.hover === null) list.scrollTop = first.offsetTop - list.clientHeight / 3;
    }));
  };
})();
