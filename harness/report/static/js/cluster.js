// The cluster at the time under the cursor: which nodes were up and led, and which links worked.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const SIZE = 300;
  const RADIUS = 100;
  const NODE = 21;

  A.Cluster = class {
    constructor(host, { document, faults, view }) {
      Object.assign(this, { document, faults, view });
      this.when = A.el('p', { class: 'when' });
      this.drawing = A.svg('svg', { viewBox: `0 0 ${SIZE} ${SIZE}`, class: 'cluster', role: 'img', 'aria-label': 'the cluster at the cursor' });
      this.words = A.el('ul', { class: 'words', 'aria-live': 'off' });
      host.append(this.when, this.drawing, this.words);
      this.draw = A.perFrame(() => this.render());
      view.on('cursor', this.draw);
      this.render();
    }

    place(node) {
      const i = this.document.nodes.indexOf(node);
      const angle = (i / this.document.nodes.length) * 2 * Math.PI - Math.PI / 2;
      return [SIZE / 2 + RADIUS * Math.cos(angle), SIZE / 2 + RADIUS * Math.sin(angle)];
    }

    render() {
      const us = this.view.moment;
      const { nodes, links } = A.clusterAt(this.document, this.faults, us);
      const phase = this.document.phases.filter((p) => p.at_us <= us).at(-1)?.phase ?? 'warm-up';
      this.when.textContent = `at ${A.moment(us, 100)}, ${phase}`;
      A.clear(this.drawing);
      this.#links(links);
      for (const node of nodes) this.#node(node);
      this.words.replaceChildren(...sentences(nodes, links).map((line) => A.el('li', {}, line)));
    }

    #links(links) {
      const { nodes } = this.document;
      const struck = new Map(links.map((link) => [`${link.source}-${link.target}`, link]));
      for (let i = 0; i < nodes.length; i++) {
        for (let j = i + 1; j < nodes.length; j++) {
          const there = struck.get(`${nodes[i]}-${nodes[j]}`);
          const back = struck.get(`${nodes[j]}-${nodes[i]}`);
          if (!there && !back) this.#line(nodes[i], nodes[j], 'whole', 0);
          else if (Boolean(there?.cut) === Boolean(back?.cut) && there && back) this.#line(nodes[i], nodes[j], there.cut ? 'cut' : 'struck', 0);
          else {
            this.#line(nodes[i], nodes[j], there ? (there.cut ? 'cut' : 'struck') : 'whole', 4, true);
            this.#line(nodes[j], nodes[i], back ? (back.cut ? 'cut' : 'struck') : 'whole', 4, true);
          }
        }
      }
    }

    // A line between two nodes; `aside` pixels to the right, with an arrow where it is one way.
    #line(a, b, state, aside, arrow = false) {
      const [[x0, y0], [x1, y1]] = [this.place(a), this.place(b)];
      const length = Math.hypot(x1 - x0, y1 - y0);
      const [ux, uy] = [(x1 - x0) / length, (y1 - y0) / length];
      const at = (along) => [x0 + ux * along - uy * aside, y0 + uy * along + ux * aside];
      const [[sx, sy], [ex, ey]] = [at(NODE + 2), at(length - NODE - 4)];
      this.drawing.append(A.svg('line', { x1: sx, y1: sy, x2: ex, y2: ey, class: `link ${state}` }));
      if (state === 'cut') {
        const [mx, my] = at(length / 2);
        this.drawing.append(A.svg('path', { d: `M${mx - 5},${my - 5}l10,10m0,-10l-10,10`, class: 'cross' }));
      }
      if (arrow && state !== 'cut') {
        const [bx, by] = at(length - NODE - 12);
        this.drawing.append(A.svg('path', { d: `M${ex},${ey}L${bx - uy * 4},${by + ux * 4}L${bx + uy * 4},${by - ux * 4}Z`, class: `arrow ${state}` }));
      }
    }

    #node(node) {
      const [x, y] = this.place(node.node);
      const effects = node.effects.map((f) => f.effect);
      const state = effects.includes('down') ? 'down' : effects.includes('paused') ? 'paused' : 'up';
      const group = A.svg('g', { class: `node ${state}${node.leads !== null ? ' leads' : ''}` });
      if (node.leads !== null) group.append(A.svg('circle', { cx: x, cy: y, r: NODE + 4, class: 'ring' }));
      group.append(A.svg('circle', { cx: x, cy: y, r: NODE, class: 'body' }), A.svg('text', { x, y: y + 4, 'text-anchor': 'middle' }, `n${node.node}`));
      const sign = { down: '✖', paused: '‖' }[state];
      if (sign) group.append(A.svg('text', { x: x + NODE - 2, y: y - NODE + 8, class: 'sign' }, sign));
      const below = [node.leads !== null && `★ ${node.leads}`, node.clockUs && signed(node.clockUs), effects.includes('disk') && 'disk'].filter(Boolean).join(' ');
      if (below) group.append(A.svg('text', { x, y: y + NODE + 15, class: 'below', 'text-anchor': 'middle' }, below));
      this.drawing.append(group);
    }
  };

  const signed = (us) => `${us > 0 ? '+' : '−'}${A.duration(Math.abs(us))}`;

  // The same as text, for readers who do not see the picture.
  function sentences(nodes, links) {
    const found = [];
    const leaders = nodes.filter((n) => n.leads !== null);
    found.push(leaders.length ? `n${leaders[0].node} leads with ${leaders[0].leads}` : 'no leader is known');
    for (const node of nodes) {
      for (const fault of node.effects) {
        const more = fault.effect === 'clock' ? ` (${signed(node.clockUs)})` : '';
        found.push(`n${node.node}: ${A.EFFECT_WORDS[fault.effect] ?? 'affected'} by ${fault.kind}${more}`);
      }
    }
    const cut = new Map();
    for (const link of links.filter((l) => l.cut)) cut.set(link.source, [...(cut.get(link.source) ?? []), `n${link.target}`]);
    for (const [source, targets] of cut) found.push(`nothing from n${source} reaches ${targets.join(', ')}`);
    const kinds = new Set(links.filter((l) => !l.cut).flatMap((l) => l.faults.map((f) => f.what)));
    return [...found, ...kinds];
  }
})();
