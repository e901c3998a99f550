// What a timeline's node rows show: spans of faults, terms of leadership, marks from the nodes' logs.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  A.nodeRows = (document, faults, endUs) =>
    document.nodes.map((node) => {
      const marks = document.marks.filter((mark) => mark.node === node);
      return { node, marks, markTimes: marks.map((m) => m.at_us), spans: spans(faults, node), leads: terms(document, node, endUs) };
    });

  function spans(faults, node) {
    return faults.all
      .filter((fault) => fault.strikes && fault.nodes.includes(node) && ['down', 'paused', 'clock', 'disk', 'cpu', 'memory', 'isolate'].includes(fault.effect))
      .map((fault) => {
        const [from, to] = faults.onNode(fault, node);
        return { from, to, effect: fault.effect, fault };
      });
  }

  function terms(document, node, endUs) {
    const entries = document.leaders;
    return entries
      .map((entry, i) => ({ node: entry.node, from: entry.at_us, to: entries[i + 1]?.at_us ?? endUs, term: entry.term }))
      .filter((term) => term.node === node);
  }
})();
