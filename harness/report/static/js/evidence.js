// The failing part of an invalid history, on its own: its few operations drawn in their real order,
// how far an order of them gets, and what the reads among them could have returned.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const ROW = 34;
  const LEFT = 92;
  const WIDTH = 860;

  A.evidence = (host, document, model, goTo) => {
    const parts = document.failing.map((part) => () => partCard(part, model, goTo));
    const findings = (document.disagreements ?? []).map((finding) => () => disagreement(finding, model, goTo));
    folded(host, parts, 'more keys fail');
    folded(host, findings, 'more disagreements of the replicas');
  };

  // The first one is open, the others are built on demand.
  function folded(host, cards, words) {
    if (!cards.length) return;
    host.append(cards[0]());
    if (cards.length === 1) return;
    const rest = A.el('details', { class: 'rest' }, A.el('summary', {}, `${cards.length - 1} ${words}`));
    rest.addEventListener('toggle', () => rest.append(...cards.slice(1).map((card) => card())), { once: true });
    host.append(rest);
  }

  function partCard(part, model, goTo) {
    const evidence = part.evidence ?? { operations: [], sentence: 'No order explains the history.', could: [], anomaly: 'not linearizable' };
    const title = `${evidence.anomaly.replaceAll('-', ' ')}${part.key === null ? '' : ` on key ${part.key}`}`;
    const card = A.el('article', { class: 'card failing' },
      A.el('h3', {}, title),
      A.el('p', { class: 'sentence' }, evidence.sentence),
      evidence.operations.length ? A.el('p', { class: 'hint' }, evidence.minimal
        ? `These ${evidence.operations.length} operations contradict one another by themselves; without any one of them the rest would be in order.`
        : `These ${evidence.operations.length} operations contradict one another.`) : null);
    if (evidence.operations.length && evidence.operations.length <= 40) card.append(A.el('div', { class: 'scroll' }, picture(part, evidence, goTo)));
    card.append(...reach(part, model, goTo), ...could(evidence), ...weaker(part));
    return card;
  }

  function picture(part, evidence, goTo) {
    const operations = evidence.operations;
    const processes = [...new Set(operations.map((op) => op.process))];
    const x = ordinal(operations);
    const height = processes.length * ROW + 18;
    const drawing = A.svg('svg', { viewBox: `0 0 ${WIDTH} ${height}`, class: 'evidence', role: 'img',
      'aria-label': operations.map(words).join('; ') });
    processes.forEach((process, row) => {
      drawing.append(A.svg('text', { x: LEFT - 10, y: row * ROW + ROW / 2 + 4, class: 'lane', 'text-anchor': 'end' }, `process ${process}`),
        A.svg('line', { x1: LEFT, x2: WIDTH, y1: row * ROW + ROW / 2, y2: row * ROW + ROW / 2, class: 'grid' }));
    });
    operations.forEach((op, i) => drawing.append(bar(op, i, part, x, processes.indexOf(op.process), goTo)));
    return drawing;
  }

  // Times in their order, evenly spaced: gaps of microseconds and of seconds occur side by side here.
  function ordinal(operations) {
    const moments = [...new Set(operations.flatMap((op) => [op.call, op.return ?? Infinity]))].sort((a, b) => a - b);
    const step = (WIDTH - LEFT - 10) / Math.max(1, moments.length - 1);
    return (position) => LEFT + moments.indexOf(position ?? Infinity) * step;
  }

  function bar(op, i, part, x, row, goTo) {
    const [from, to, top] = [x(op.call), x(op.return), row * ROW + 5];
    const place = part.partial?.order.indexOf(i) ?? -1;
    const stuck = part.partial?.stuck[i];
    const go = () => part.numbers[i] >= 0 && goTo(part.numbers[i]);
    const group = A.svg('g', { class: `op ${stuck ? 'stuck' : op.outcome}`, tabindex: '0', role: 'button',
      onclick: go, onkeydown: (event) => event.key === 'Enter' && go() });
    const title = A.svg('title', {}, `${words(op)}. Called ${A.moment(op.call_ns / 1e3)}, ${op.return === null ? 'never returned' : `returned ${A.moment(op.return_ns / 1e3)}`}${stuck ? `. Stuck: ${stuck}` : ''}`);
    group.append(title,
      A.svg('rect', { x: from, y: top, width: Math.max(6, to - from), height: ROW - 12, rx: 3, 'stroke-dasharray': op.return === null ? '5 4' : null }),
      A.svg('text', { x: from + (place >= 0 ? 26 : 8), y: top + 15 }, shorten(words(op), (to - from - 28) / 6.4)));
    if (place >= 0) group.append(A.svg('circle', { cx: from + 13, cy: top + 11, r: 9, class: 'place' }), A.svg('text', { x: from + 13, y: top + 15, class: 'place', 'text-anchor': 'middle' }, String(place + 1)));
    return group;
  }

  const shorten = (text, most) => (text.length <= most ? text : `${text.slice(0, Math.max(1, Math.floor(most) - 1))}…`);
  const json = (value) => JSON.stringify(value) ?? 'null';

  function words(op) {
    const told = 'result' in op ? op.result : 'observed' in op ? op.observed : undefined;
    const asked = op.value === null ? '' : ` ${json(op.value)}`;
    const key = op.key === null ? '' : ` ${op.key}`;
    const same = json(told) === json(op.value) && op.value !== null;
    return `${op.f}${key}${asked}${told === undefined || same ? '' : ` → ${json(told)}`}${op.outcome === 'mismatch' ? ' (did not match)' : op.outcome === 'info' ? ' (unknown outcome)' : ''}`;
  }

  function reach(part, model, goTo) {
    const found = [];
    if (part.partial) {
      const operations = part.evidence.operations;
      const steps = part.partial.order.map((i, at) => A.el('li', {}, `${words(operations[i])}, and the state is then ${part.partial.states[at] === null ? 'empty' : json(part.partial.states[at])}`));
      const stuck = Object.entries(part.partial.stuck).map(([i, why]) => A.el('li', { class: 'stuck' }, `${words(operations[i])} cannot follow: ${why}`));
      found.push(A.el('h4', {}, 'How far an order of these operations gets'), A.el('ol', { class: 'order' }, steps), A.el('ul', { class: 'order' }, stuck));
    }
    const { reach: whole } = part;
    if (whole) {
      const button = whole.number === null || whole.number === undefined ? [] : [
        A.el('button', { type: 'button', class: 'link', onclick: () => goTo(whole.number) }, model.operations.label(whole.number))];
      found.push(A.el('p', {}, `In the whole history of this key ${A.count(whole.completions)} of ${A.count(whole.of)} completions can be explained by one order; no order explains the next one: `, ...button, '.'));
    }
    return found;
  }

  const could = (evidence) => (evidence.could.length ? [A.el('h4', {}, 'What the reads could have returned'), A.el('ul', {}, evidence.could.map((line) => A.el('li', {}, line)))] : []);
  const weaker = (part) => (part.weaker?.length ? [A.el('h4', {}, 'Weaker consistency levels'), A.el('ul', {}, part.weaker.map((line) => A.el('li', {}, line)))] : []);

  // What the replicas decided differently, from their own logs.
  function disagreement(finding, model, goTo) {
    const rows = finding.records;
    const card = A.el('article', { class: 'card failing' },
      A.el('h3', {}, `replicas disagree: ${finding.kind.replaceAll('-', ' ')}`), A.el('p', { class: 'sentence' }, finding.sentence));
    if (!rows.length) return card;
    A.table(card, [
      { name: 'node', text: (r) => `n${r.node}` },
      { name: 'applied at', text: (r) => A.moment(r.at_us), sort: (r) => r.at_us, numeric: true },
      { name: 'slot', text: (r) => String(r.slot) },
      { name: 'ballot', text: (r) => r.ballot },
      { name: 'decided', text: (r) => r.words, node: (r) => {
        const n = r.client ? model.operations.find(r.client - 1, r.seq) : -1;
        return n < 0 ? r.words : A.el('button', { type: 'button', class: 'link', onclick: () => goTo(n) }, r.words);
      } },
    ], { rows, onrow: (r) => model.view.setCursor(r.at_us) });
    return card;
  }
})();
