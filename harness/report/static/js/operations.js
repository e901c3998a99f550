// The operations of a run over decoded columns, with descriptions for readers.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  A.OK = 0;
  A.MISMATCH = 1;
  A.FAIL = 2;
  A.INFO = 3;
  A.OPEN = 4;
  A.OUTCOME_WORDS = ['ok', 'did not match', 'failed: did not happen', 'unknown outcome', 'never returned'];
  A.OUTCOME_COLOURS = ['ok', 'mismatch', 'fail', 'info', 'open'];

  A.Operations = class {
    constructor(document, columns, text) {
      Object.assign(this, columns);
      this.count = document.count;
      this.functions = document.functions;
      this.keys = document.keys;
      this.errors = document.errors;
      this.text = text;
      this.end_us = new Float64Array(this.count);
      for (let n = 0; n < this.count; n++) this.end_us[n] = this.start_us[n] + this.span_us[n];
    }

    answered(n) {
      return this.outcome[n] <= A.MISMATCH;
    }
    openEnded(n) {
      return this.outcome[n] >= A.INFO;
    }
    key_name(n) {
      return this.keys[this.key[n]];
    }
    function_name(n) {
      return this.functions[this.function[n]];
    }
    value_text(n) {
      return this.text(this.value[n]);
    }
    result_text(n) {
      return this.text(this.result[n]);
    }

    // "write k0 5", "read k0 → 7", "cas k0 [1,2]"
    label(n, withKey = true) {
      const parts = [this.function_name(n)];
      if (withKey && this.key[n]) parts.push(this.key_name(n));
      if (this.value[n]) parts.push(this.value_text(n));
      let words = parts.join(' ');
      if (this.result[n]) words += ` → ${this.result_text(n)}`;
      else if (this.outcome[n] === A.OK && !this.value[n]) words += ' → null';
      return words + ['', ' ≠', ' ✗', ' ?', ' ?'][this.outcome[n]];
    }

    // The operation of a client's command, by its number; -1 where there is none.
    find(process, seq) {
      this.bySession ??= this.#sessions();
      return this.bySession.get(`${process}:${seq}`) ?? -1;
    }
    #sessions() {
      const found = new Map();
      for (let n = 0; n < this.count; n++) if (this.seq[n]) found.set(`${this.process[n]}:${this.seq[n]}`, n);
      return found;
    }

    // Up to `most` operations on the same key that overlap this one.
    concurrent(n, most = 12) {
      const found = [];
      const end = this.openEnded(n) ? Infinity : this.end_us[n];
      for (let i = Math.max(0, n - 5000); i < this.count && found.length < most; i++) {
        if (i > n && this.start_us[i] > end) break;
        const overlaps = this.start_us[i] <= end && (this.openEnded(i) || this.end_us[i] >= this.start_us[n]);
        if (i !== n && this.key[i] === this.key[n] && overlaps) found.push(i);
      }
      return found;
    }
  };
})();
