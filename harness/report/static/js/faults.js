// Faults as spans of time, packed into rows; and what they did to nodes and links at a given time.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  A.Faults = class {
    constructor(document, endUs) {
      this.all = document.faults.map((fault) => ({
        ...fault,
        from: fault.asked_us,
        sure: fault.proven_us ?? fault.asked_us,
        waning: fault.heal_asked_us ?? endUs,
        to: fault.healed_us ?? endUs,
      }));
      this.rows = 0;
      const ends = [];
      for (const fault of this.all) {
        let row = ends.findIndex((end) => end <= fault.from);
        if (row < 0) row = ends.length;
        ends[row] = fault.to;
        fault.row = row;
      }
      this.rows = ends.length;
    }

    within(from, to) {
      return this.all.filter((fault) => fault.to >= from && fault.from <= to);
    }
    at(us) {
      return this.all.filter((fault) => fault.strikes && fault.from <= us && us < fault.to);
    }

    // [from, to] of a fault on one of its nodes: by that node's own times where it reported them.
    onNode(fault, node) {
      const name = `n${node}`;
      return [fault.moments_us[name] ?? fault.sure, fault.heal_moments_us[name] ?? fault.to];
    }
  };

  const EFFECT_WORDS = {
    down: 'down',
    paused: 'paused',
    clock: 'clock skewed',
    disk: 'disk faulty',
    cpu: 'processor limited',
    memory: 'memory limited',
    isolate: 'isolated',
    other: 'affected',
  };
  A.EFFECT_WORDS = EFFECT_WORDS;

  // The state of the cluster at a given time: per node, and per directed link.
  A.clusterAt = (document, faults, us) => {
    const nodes = new Map(document.nodes.map((n) => [n, { node: n, effects: [], leads: null, clockUs: 0 }]));
    const links = new Map();
    for (const fault of faults.all) {
      if (!fault.strikes || fault.from > us || fault.to <= us) continue;
      for (const n of fault.nodes) {
        const [from, to] = faults.onNode(fault, n);
        if (!nodes.has(n) || us < from || us >= to) continue;
        if (!fault.links.length || fault.effect === 'isolate') nodes.get(n).effects.push(fault);
        if (fault.effect === 'clock') nodes.get(n).clockUs += A.clockOffset(fault, from, us);
      }
      if (us < fault.sure) continue;
      const cut = fault.effect === 'isolate' ? isolation(fault.nodes[0], document.nodes) : fault.links;
      for (const [a, b] of cut) {
        const key = `${a}-${b}`;
        const known = links.get(key) ?? { source: a, target: b, cut: false, faults: [] };
        known.cut ||= fault.effect === 'cut' || fault.effect === 'isolate';
        known.faults.push(fault);
        links.set(key, known);
      }
    }
    const leader = document.leaders.filter((entry) => entry.at_us <= us).at(-1);
    if (leader && nodes.has(leader.node)) nodes.get(leader.node).leads = leader.term;
    return { nodes: [...nodes.values()], links: [...links.values()] };
  };

  const isolation = (node, all) => all.filter((n) => n !== node).flatMap((n) => [[n, node], [node, n]]);

  A.clockOffset = (fault, from, us) => {
    const { offset_us: offset, ppm } = fault.parameters;
    if (typeof offset === 'number') return offset;
    return typeof ppm === 'number' ? ((us - from) * ppm) / 1e6 : 0;
  };
})();
