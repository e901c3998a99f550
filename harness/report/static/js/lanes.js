// Operations in lanes, and for each lane a pyramid: level of detail instead of limits.
//
// Within a lane operations do not overlap and are in the order of time, so what is visible is
// found by bisection. Level k of a lane's pyramid joins 8^k operations to one span with the union
// of their outcomes; a picture of W pixels never looks at more than about 8 W entries of a lane.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const FACTOR = 8;
  const SMALLEST = 64;
  const PROCESSES_ALONE = 48; // more processes than this share lanes, one after another

  const natural = new Intl.Collator('en', { numeric: true });

  // {lanes: [Lane], laneOf: Uint32Array, placeOf: Uint32Array}
  A.buildLanes = (operations, mode, firstKeys = []) => {
    const { laneOf, labels } = mode === 'process' ? byProcess(operations) : byGroup(operations, mode, firstKeys);
    const count = operations.count;
    const sizes = new Uint32Array(labels.length + 1);
    for (let n = 0; n < count; n++) sizes[laneOf[n] + 1]++;
    for (let i = 0; i < labels.length; i++) sizes[i + 1] += sizes[i];
    const order = new Uint32Array(count);
    const next = sizes.slice();
    for (let n = 0; n < count; n++) order[next[laneOf[n]]++] = n;
    const lanes = labels.map((label, i) => new Lane(operations, order.subarray(sizes[i], sizes[i + 1]), label));
    return { lanes, laneOf };
  };

  function byProcess(operations) {
    const { count, process, start_us, end_us } = operations;
    const lastEnd = new Map();
    for (let n = 0; n < count; n++) lastEnd.set(process[n], Math.max(lastEnd.get(process[n]) ?? 0, end_us[n]));
    const laneOf = new Uint32Array(count);
    const laneOfProcess = new Map();
    const free = []; // per lane: until when its process uses it
    const share = lastEnd.size > PROCESSES_ALONE;
    const firstProcess = [];
    for (let n = 0; n < count; n++) {
      let lane = laneOfProcess.get(process[n]);
      if (lane === undefined) {
        lane = share ? free.findIndex((until) => until <= start_us[n]) : -1;
        if (lane < 0) lane = free.push(0) - 1;
        firstProcess[lane] ??= process[n];
        free[lane] = lastEnd.get(process[n]);
        laneOfProcess.set(process[n], lane);
      }
      laneOf[n] = lane;
    }
    if (share) return { laneOf, labels: free.map((_, i) => ({ name: `client slot ${i + 1}`, short: `slot ${i + 1}`, first: true })) };
    const order = firstProcess.map((_, i) => i).sort((a, b) => firstProcess[a] - firstProcess[b]);
    const place = new Uint32Array(order.length);
    order.forEach((lane, i) => (place[lane] = i));
    for (let n = 0; n < count; n++) laneOf[n] = place[laneOf[n]];
    return { laneOf, labels: order.map((lane) => ({ name: `process ${firstProcess[lane]}`, short: `p${firstProcess[lane]}`, first: true })) };
  }

  // By key or by node: operations that overlap are stacked within their group.
  function byGroup(operations, mode, firstKeys) {
    const { count, start_us, end_us } = operations;
    const group = mode === 'key' ? operations.key : operations.node;
    const name = mode === 'key' ? (g) => (g ? operations.keys[g] : 'no key') : (g) => (g ? `n${g}` : 'not known');
    const stacks = new Map();
    const sublane = new Uint32Array(count);
    for (let n = 0; n < count; n++) {
      let stack = stacks.get(group[n]);
      if (!stack) stacks.set(group[n], (stack = []));
      let i = 0;
      while (i < stack.length && stack[i] > start_us[n]) i++;
      stack[i] = end_us[n];
      sublane[n] = i;
    }
    const rank = (g) => (firstKeys.includes(name(g)) ? 0 : 1);
    const groups = [...stacks.keys()].sort((a, b) => rank(a) - rank(b) || natural.compare(name(a), name(b)));
    const base = new Map();
    const labels = [];
    for (const g of groups) {
      base.set(g, labels.length);
      stacks.get(g).forEach((_, i) => labels.push({ name: i ? '' : name(g), first: !i }));
    }
    const laneOf = new Uint32Array(count);
    for (let n = 0; n < count; n++) laneOf[n] = base.get(group[n]) + sublane[n];
    return { laneOf, labels };
  }

  class Lane {
    constructor(operations, order, label) {
      this.operations = operations;
      this.order = order;
      this.name = label.name;
      this.shortName = label.short ?? label.name;
      this.isFirst = label.first;
      this.levels = null;
      this.openFrom = Infinity; // from here on something in this lane has no known end
      for (const n of order) {
        if (!operations.openEnded(n)) continue;
        this.openFrom = operations.end_us[n];
        break;
      }
    }

    #build() {
      const { start_us, end_us, outcome } = this.operations;
      const size = this.order.length;
      const from = new Float64Array(size);
      const to = new Float64Array(size);
      const mask = new Uint8Array(size);
      const busy = new Float32Array(size); // microseconds in which something was under way
      for (let i = 0; i < size; i++) {
        const n = this.order[i];
        busy[i] = end_us[n] - start_us[n];
        from[i] = start_us[n];
        to[i] = end_us[n];
        mask[i] = 1 << outcome[n];
      }
      this.levels = [{ from, to, mask, busy }];
      while (this.levels.at(-1).from.length > SMALLEST) this.levels.push(joined(this.levels.at(-1)));
    }

    // [first, last) positions of what overlaps a span of time, in one level.
    range(level, from, to) {
      if (!this.levels) this.#build();
      const { from: starts, to: ends } = this.levels[level];
      return [
        A.lowerBound(ends, from, 0, ends.length),
        A.lowerBound(starts, to, 0, starts.length, true),
      ];
    }

    // The finest level that has at most `most` entries in a span.
    levelFor(from, to, most) {
      if (!this.levels) this.#build();
      for (let level = 0; level < this.levels.length; level++) {
        const [first, last] = this.range(level, from, to);
        if (last - first <= most || level === this.levels.length - 1) return { level, first, last };
      }
      return { level: 0, first: 0, last: 0 };
    }

    // The operation at a given time, within `slack` microseconds; -1 where there is none.
    at(us, slack) {
      const [first, last] = this.range(0, us - slack, us + slack);
      let best = -1;
      let distance = Infinity;
      const { from, to } = this.levels[0];
      for (let i = first; i < Math.min(last, first + 200); i++) {
        const away = us < from[i] ? from[i] - us : us > to[i] ? us - to[i] : 0;
        if (away < distance) [best, distance] = [this.order[i], away];
      }
      return best;
    }
  }

  function joined(level) {
    const size = Math.ceil(level.from.length / FACTOR);
    const from = new Float64Array(size);
    const to = new Float64Array(size);
    const mask = new Uint8Array(size);
    const busy = new Float32Array(size);
    for (let i = 0; i < size; i++) {
      const first = i * FACTOR;
      const last = Math.min(level.from.length, first + FACTOR) - 1;
      from[i] = level.from[first];
      to[i] = level.to[last];
      for (let j = first; j <= last; j++) {
        mask[i] |= level.mask[j];
        busy[i] += level.busy[j];
      }
    }
    return { from, to, mask, busy };
  }
})();
