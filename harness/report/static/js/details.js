// Everything that is known of one operation, or of one fault.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const pairs = (rows) =>
    A.el('dl', { class: 'facts' }, rows.filter(([, value]) => value !== null && value !== '').map(([name, value]) =>
      A.el('div', {}, A.el('dt', {}, name), A.el('dd', {}, value))));

  A.operationDetails = (host, model, n, goTo) => {
    const { operations: ops, faults, document } = model;
    A.clear(host);
    if (n < 0) {
      host.append(A.el('p', { class: 'hint' }, 'Click an operation or a fault to see everything known of it.'));
      return;
    }
    const open = ops.openEnded(n);
    const point = model.points?.get(n);
    host.append(
      A.el('h3', {}, ops.label(n)),
      pairs([
        ['outcome', A.el('span', { class: `outcome ${A.OUTCOME_COLOURS[ops.outcome[n]]}` }, A.OUTCOME_WORDS[ops.outcome[n]])],
        ['reason', ops.error[n] ? ops.errors[ops.error[n]] : ''],
        ['process', String(ops.process[n])],
        ['answered by', ops.node[n] ? `n${ops.node[n]}` : 'not known'],
        ['key', ops.key_name(n)],
        ['value asked', ops.value_text(n)],
        ['told', ops.result_text(n) || (ops.outcome[n] === A.OK && !ops.value[n] ? 'null' : '')],
        ['called', A.moment(ops.start_us[n])],
        [open ? 'given up' : 'returned', ops.outcome[n] === A.OPEN ? 'never' : A.moment(ops.end_us[n])],
        [open ? 'waited' : 'latency', A.duration(ops.span_us[n])],
        ['linearization point', point === undefined ? '' : A.moment(point)],
        ['command', ops.seq[n] ? `client ${ops.process[n] + 1}, number ${ops.seq[n]}` : ''],
        ['leader when called', leaderAt(document, ops.start_us[n])],
        ['lines of history.jsonl', `${ops.calls[n] + 1}${ops.returns[n] ? ` and ${ops.returns[n] + 1}` : ''}`],
      ]),
      ...list('Why it matters', model.reasons?.get(n)?.map((words) => A.el('span', {}, words)) ?? []),
      ...list('Faults while it ran', faults.within(ops.start_us[n], ops.end_us[n]).map((f) => A.el('span', {}, f.what))),
      ...list('Beside it on the same key', ops.concurrent(n).map((m) =>
        A.el('button', { class: 'link', type: 'button', onclick: () => goTo(m) }, `${ops.label(m)} (process ${ops.process[m]})`))),
    );
  };

  function leaderAt(document, us) {
    const entry = document.leaders.filter((e) => e.at_us <= us).at(-1);
    return entry?.node ? `n${entry.node} (${entry.term})` : document.leaders.length ? 'none known' : '';
  }

  const list = (title, items) => (items.length ? [A.el('h4', {}, title), A.el('ul', {}, items.map((item) => A.el('li', {}, item)))] : []);

  A.faultDetails = (host, fault) => {
    A.clear(host);
    const moments = (all) => Object.entries(all).map(([node, us]) => `${node} ${A.moment(us)}`).join(', ');
    const proof = (verified) => (verified === null ? 'the run ended before its report' : verified ? 'yes' : 'no');
    host.append(
      A.el('h3', {}, fault.what),
      pairs([
        ['kind', fault.kind],
        ['asked for', A.moment(fault.asked_us)],
        ['proven', fault.proven_us === null ? 'never' : A.moment(fault.proven_us)],
        ['proof', proof(fault.verified)],
        ['on each node', moments(fault.moments_us)],
        ['healing asked for', fault.heal_asked_us === null ? 'never' : A.moment(fault.heal_asked_us)],
        ['healed', fault.healed_us === null ? 'never' : A.moment(fault.healed_us)],
        ['proof of healing', proof(fault.heal_verified)],
        ['problem', fault.problem],
        ['links', fault.links.map(([a, b]) => `n${a}→n${b}`).join(' ')],
        ['parameters', JSON.stringify(fault.parameters)],
        ['seen', fault.seen.join('; ')],
        ['seen after healing', fault.seen_healed.join('; ')],
        ['evidence', fault.evidence ? JSON.stringify(fault.evidence) : ''],
        ['evidence of healing', fault.heal_evidence ? JSON.stringify(fault.heal_evidence) : ''],
      ]),
    );
  };
})();
