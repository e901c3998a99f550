// The page of a run: decodes the document, and puts the parts together.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  const AREAS = { faults: 'Faults', protocol: 'Protocol', operations: 'Operations', detectors: 'Detectors' };

  A.openRun = async (document_) => {
    const [columns, text] = await Promise.all([A.decodeColumns(document_.operations.columns), A.decodeTexts(document_.texts)]);
    const operations = new A.Operations(document_.operations, columns, text);
    const { first_us: first, last_us: last } = document_.time;
    const view = new A.View(first, Math.max(first + 1000, last));
    const failing = new Set(document_.failing.flatMap((part) => part.numbers ?? []).filter((n) => n >= 0));
    const model = {
      document: document_, operations, view, failing, faults: new A.Faults(document_, view.max),
      points: points(document_, operations), reasons: reasons(document_),
    };
    A.letGo();
    ['cluster-host', 'plots-host'].forEach((id) => A.clear(A.byId(id)));
    header(document_);
    const page = timelineSection(model);
    evidenceSection(model, page.goTo);
    coverageSection(document_);
    faultsSection(model, page);
    page.openAtFailure();
    // What is below the fold is built after the first picture is drawn.
    requestAnimationFrame(() => setTimeout(async () => {
      if (A.page.model !== model) return; // a newer page has taken its place
      new A.Cluster(A.byId('cluster-host'), model);
      if (operations.count) A.latencyPlots(A.byId('plots-host'), model);
      await messagesSection(model, text);
      await logsSection(model, text);
      globalThis.document.documentElement.dataset.ready = 'all';
    }, 0));
    globalThis.document.documentElement.dataset.ready = 'first';
    A.page = { model, ...page };
    return A.page;
  };

  // ---------------------------------------------------------------- header

  function header({ header: head, name, is_running: running }) {
    const host = A.byId('verdict-host');
    const sign = { valid: '✓', invalid: '✗', unknown: '?' }[head.verdict] ?? '–';
    const word = running ? 'running' : head.verdict === 'none' ? 'nothing to judge' : head.verdict;
    host.className = `verdict ${running ? 'running' : head.verdict}`;
    host.replaceChildren(
      A.el('p', { class: 'word' }, A.el('span', { class: 'sign', 'aria-hidden': 'true' }, running ? '…' : sign), word),
      A.el('div', {}, A.el('p', { class: 'sentence' }, head.sentence),
        head.reasons.map((reason) => A.el('p', { class: 'reason' }, reason)),
        A.el('p', { class: 'detectors' }, Object.entries(head.detectors).map(([detector, outcome]) => A.el('span', {}, `${detector} `, A.verdictBadge(outcome))))));
    A.byId('name-host').textContent = A.visible(name);
    A.byId('facts-host').replaceChildren(...head.facts.map(([fact, value]) => A.el('div', {}, A.el('dt', {}, fact), A.el('dd', {}, value))));
    A.byId('commands-host').replaceChildren(...head.commands.map(([purpose, command]) =>
      A.el('div', { class: 'command' }, A.el('span', {}, purpose), A.el('code', {}, command), A.copyButton(command))));
    A.byId('notes-host').replaceChildren(...head.notes.map((note) => A.el('li', {}, note)));
    A.byId('configuration-host').textContent = A.visible(JSON.stringify(head.configuration, null, 1));
  }

  // ---------------------------------------------------------------- timeline

  function timelineSection(model) {
    const host = A.byId('timeline-host');
    const details = A.byId('details-host');
    A.clear(host);
    const { view, operations, failing, document } = model;
    const timeline = new A.Timeline(host, model);
    const goTo = (n) => {
      view.reveal(operations.start_us[n], operations.end_us[n]);
      view.setCursor(operations.start_us[n]);
      view.select(n);
      timeline.revealLane(n);
    };
    view.on('selection', () => A.operationDetails(details, model, view.selected, goTo));
    timeline.onfault = (fault) => A.faultDetails(details, fault);
    const openAtFailure = () => {
      const place = failurePlace(document, operations, failing);
      if (!place) {
        const fault = model.faults.all[0];
        if (fault) view.setCursor((fault.sure + Math.min(fault.waning, view.max)) / 2);
        return;
      }
      const room = Math.max(500, (place.to - place.from) * 0.3);
      view.show(place.from - room, place.to + room);
      view.setCursor(place.at);
      if (place.number === undefined) return;
      view.select(place.number);
      timeline.revealLane(place.number);
    };
    timeline.onfailing = openAtFailure;
    timeline.goTo = goTo;
    A.operationDetails(details, model, -1, goTo);
    controls(model, timeline, openAtFailure);
    return { timeline, goTo, openAtFailure };
  }

  // Where an invalid run is to be opened; null where there is no such place.
  function failurePlace(document, operations, failing) {
    if (failing.size) {
      const part = document.failing.find((p) => p.numbers?.some((n) => n >= 0));
      const numbers = part.numbers.filter((n) => n >= 0);
      const stuck = Number(Object.keys(part.partial?.stuck ?? {})[0] ?? -1);
      const number = part.numbers[stuck] >= 0 ? part.numbers[stuck] : numbers.at(-1);
      const from = Math.min(...numbers.map((n) => operations.start_us[n]));
      const to = Math.max(...numbers.map((n) => (operations.openEnded(n) ? operations.start_us[n] : operations.end_us[n])));
      return { from, to, at: operations.start_us[number], number };
    }
    const records = (document.disagreements ?? []).flatMap((finding) => finding.records);
    if (records.length) {
      const times = records.map((r) => r.at_us);
      return { from: Math.min(...times) - 2000, to: Math.max(...times) + 2000, at: Math.max(...times) };
    }
    if (document.header.detectors.liveness === 'invalid') {
      const since = document.phases.find((p) => p.phase === 'finale')?.at_us ?? document.time.first_us;
      return { from: since, to: document.time.last_us, at: document.time.last_us };
    }
    return null;
  }

  function controls(model, timeline, openAtFailure) {
    const { view, failing, document, operations } = model;
    const bar = A.byId('timeline-controls');
    const mode = A.el('select', { 'aria-label': 'lanes' }, [['process', 'by process'], ['key', 'by key'], ['node', 'by node that answered']].map(([value, words]) => A.el('option', { value }, words)));
    mode.addEventListener('change', () => {
      timeline.regroup(mode.value);
      if (view.selected >= 0) timeline.revealLane(view.selected);
      timeline.draw();
    });
    const button = (words, act, label) => A.el('button', { type: 'button', onclick: act, 'aria-label': label, title: label }, words);
    const points = A.el('input', { type: 'checkbox', checked: timeline.showPoints, id: 'points' });
    points.addEventListener('change', () => {
      timeline.showPoints = points.checked;
      timeline.draw();
    });
    const range = A.el('span', { class: 'range', role: 'status' });
    const tell = () => (range.textContent = `${A.moment(view.from, view.width / 100)} to ${A.moment(view.to, view.width / 100)} (${A.duration(view.width)})`);
    view.on('range', tell);
    tell();
    bar.replaceChildren(mode, button('+', () => view.zoom(0.5, view.moment), 'zoom in'), button('−', () => view.zoom(2, view.moment), 'zoom out'),
      button('all', () => view.all(), 'the whole run'),
      ...(failurePlace(document, operations, failing) ? [button('failing part', openAtFailure, 'go to the failing part')] : []),
      ...(model.points?.size ? [A.el('label', {}, points, ' linearization points')] : []), range);
  }

  // The time of every operation's linearization point, as far as an order is known.
  function points(document, operations) {
    const found = new Map();
    const { point } = operations;
    if (point) for (let n = 0; n < operations.count; n++) if (point[n]) found.set(n, operations.start_us[n] + point[n] - 1);
    for (const part of document.failing) {
      let now = 0;
      for (const n of part.reach?.order ?? []) {
        now = Math.max(now, operations.start_us[n]);
        found.set(n, now);
      }
    }
    return found;
  }

  // Why an operation of a failing part matters, by its number.
  function reasons(document) {
    const found = new Map();
    const add = (n, words) => n >= 0 && found.set(n, [...(found.get(n) ?? []), words]);
    for (const part of document.failing) {
      (part.numbers ?? []).forEach((n, i) => {
        add(n, `It is one of the ${part.numbers.length} operations that contradict one another.`);
        if (part.partial?.stuck[i]) add(n, `No order has a place for it: ${part.partial.stuck[i]}.`);
      });
      if (part.reach) add(part.reach.number ?? -1, 'Up to its completion the history of its key has an order; with it, none.');
    }
    return found;
  }

  // ---------------------------------------------------------------- the other sections

  const section = (id, there) => (A.byId(id).hidden = !there);

  function evidenceSection(model, goTo) {
    const { document } = model;
    const there = document.failing.length > 0 || (document.disagreements ?? []).length > 0;
    section('failure', there);
    A.clear(A.byId('failure-host'));
    if (there) A.evidence(A.byId('failure-host'), document, model, goTo);
  }

  function coverageSection({ coverage }) {
    const host = A.byId('coverage-host');
    A.clear(host);
    for (const [area, title] of Object.entries(AREAS)) {
      const lines = coverage.filter((line) => line.area === area).sort((a, b) => a.tested - b.tested);
      if (!lines.length) continue;
      host.append(A.el('div', { class: 'card' }, A.el('h3', {}, title), A.el('ul', { class: 'coverage' }, lines.map((line) =>
        A.el('li', { class: line.tested ? 'tested' : 'untested' }, A.el('span', { class: 'sign' }, line.tested ? '✓' : '○'), A.el('span', { class: 'sr' }, line.tested ? 'tested: ' : 'not tested: '), line.text)))));
    }
  }

  function faultsSection({ faults, view, document }, page) {
    const host = A.byId('faults-host');
    A.clear(host);
    section('faults', faults.all.length > 0);
    const moment = (us) => (us === null ? 'never' : A.moment(us, 1000));
    A.table(host, [
      { name: 'asked at', text: (f) => moment(f.asked_us), sort: (f) => f.asked_us, numeric: true },
      { name: 'proven after', text: (f) => (f.proven_us === null ? 'never' : A.duration(f.proven_us - f.asked_us)), sort: (f) => (f.proven_us ?? Infinity) - f.asked_us, numeric: true },
      { name: 'lasted', text: (f) => (f.healed_us === null ? 'to the end' : A.duration(f.healed_us - f.sure)), sort: (f) => (f.healed_us ?? Infinity) - f.sure, numeric: true },
      { name: 'what', text: (f) => f.what },
      { name: 'injection', text: (f) => proof(f.verified, f.strikes) },
      { name: 'healing', text: (f) => proof(f.heal_verified, true) },
    ], { rows: faults.all.slice(), onrow: (fault) => {
      view.setCursor(fault.sure);
      view.reveal(fault.from, fault.to);
      page.timeline.onfault(fault);
      A.byId('timeline').scrollIntoView({ block: 'start' });
    } });
    void document;
  }
  const proof = (verified, strikes) => (verified === null ? '– not reported' : !verified ? '✗ not proven' : strikes ? '✓ proven' : '○ did not fire');

  async function messagesSection(model, text) {
    const { document } = model;
    section('messages', document.messages || document.story.length);
    const [diagram, story, counts, final] = ['diagram-host', 'story-host', 'message-counts-host', 'final-host'].map(A.byId);
    [diagram, story, counts, final].forEach(A.clear);
    counts.hidden = !document.messages;
    const { processes } = document;
    if (document.messages) {
      const messages = { ...document.messages, columns: await A.decodeColumns(document.messages.columns), text };
      const writes = processes && { ...processes, columns: await A.decodeColumns(processes.columns), text };
      A.page.spacetime = new A.SpaceTime(diagram, model, messages, writes);
      messageCounts(counts, model, messages, writes);
    } else diagram.append(A.el('p', { class: 'hint' }, 'This folder holds no messages: simulated runs record them in nodes/messages.jsonl.'));
    story.hidden = !document.story.length;
    if (document.story.length) A.story(story, model);
    final.hidden = !processes?.final.length;
    if (processes?.final.length) finalStates(final, processes.final);
  }

  // The replicas' state when the run ended.
  function finalStates(host, states) {
    A.table(host, [
      { name: 'node', text: (s) => `n${s.node}` },
      ...['process', 'role', 'leader', 'ballot'].map((name) => ({ name, text: (s) => s[name] })),
      { name: 'applied', text: (s) => s.applied, numeric: true },
      { name: 'the store', text: (s) => s.values, node: (s) => A.el('code', { class: 'store' }, s.values) },
    ], { rows: states.slice(), caption: 'Final states of the replicas' });
  }

  function messageCounts(host, { operations }, { columns, kinds, count }, writes) {
    let answered = 0;
    for (let n = 0; n < operations.count; n++) answered += operations.answered(n);
    const rows = kinds.map((kind, i) => ({ kind, i, sent: 0, lost: 0, waited: 0 })).slice(1);
    for (let m = 0; m < count; m++) {
      const row = rows[columns.kind[m] - 1];
      row.sent++;
      row.lost += !columns.transit_us[m];
      row.waited += columns.wait_us[m] > 0;
    }
    const per = (n) => (answered ? (n / answered).toFixed(2) : '–');
    A.table(host, [
      { name: 'message', text: (r) => r.kind },
      { name: 'sent', text: (r) => A.count(r.sent), sort: (r) => r.sent, numeric: true },
      { name: 'per answered operation', text: (r) => per(r.sent), sort: (r) => r.sent, numeric: true },
      { name: 'lost', text: (r) => A.count(r.lost), sort: (r) => r.lost, numeric: true },
      { name: 'waited for an fsync', text: (r) => A.count(r.waited), sort: (r) => r.waited, numeric: true },
    ], { rows, sorted: [1, true], caption: `Messages between nodes: ${A.count(count)}, ${per(count)} per answered operation` });
    if (writes) host.append(A.el('p', {}, `Fsyncs: ${A.count(writes.fsyncs)}, ${per(writes.fsyncs)} per answered operation, for ${A.count(writes.count)} records written.`));
  }

  async function logsSection(model, text) {
    const { document } = model;
    const columns = await A.decodeColumns(document.logs.columns);
    section('logs', columns.at_us.length > 0);
    A.clear(A.byId('logs-host'));
    if (columns.at_us.length) A.nodeLogs(A.byId('logs-host'), model, { ...document.logs, columns, text });
  }

  // ---------------------------------------------------------------- start

  const bundle = globalThis.document.getElementById('bundle');
  if (bundle) {
    A.openRun(JSON.parse(bundle.textContent)).catch((error) => {
      const host = A.byId('verdict-host');
      host.append(A.el('p', { class: 'reason' }, `The page could not be drawn: ${error.message}. It needs a browser of 2023 or later.`));
      throw error;
    });
    bundle.remove();
  }
})();
