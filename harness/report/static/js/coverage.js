// What the runs of a suite covered and what they never did, and medians with intervals.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  // An interval {value, low, high} in milliseconds; null is infinite, 0 shorter than `seen` can tell.
  A.interval = (q, seen) => {
    const ms = (v) => (v === null || v === undefined ? 'never' : v === 0 && seen ? `<${A.duration(seen * 1000)}` : A.duration(v * 1000));
    return q ? `${ms(q.value)} (${ms(q.low)} to ${ms(q.high)})` : '–';
  };

  // rows: {subject, kind: 'fault' | 'state', name, count}; one line per subject.
  A.coverage = (host, rows) => {
    const subjects = [...new Set(rows.map((r) => r.subject))];
    const of = (subject, kind, is) => rows.filter((r) => r.subject === subject && r.kind === kind && is(r.count));
    const counted = (list) => list.map((r) => `${r.name} ${A.count(r.count)}`).join(', ');
    const named = (list) => list.map((r) => r.name).join(', ');
    A.table(host, [
      { name: 'target', text: (s) => s },
      { name: 'faults injected', text: (s) => counted(of(s, 'fault', (n) => n > 0)) },
      { name: 'never injected', text: (s) => named(of(s, 'fault', (n) => !n)) },
      { name: 'states reached', text: (s) => counted(of(s, 'state', (n) => n > 0)) },
      { name: 'never reached', text: (s) => named(of(s, 'state', (n) => !n)) },
    ], { rows: subjects });
  };
})();
