// What every page needs: elements made without markup, formatting, colours, copying.
//
// Values of a history are data. They reach the page through `textContent` and canvas text only;
// nothing here, or in any other file of this folder, assigns markup.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  // el('td', {class: 'x', onclick: f}, 'text', child, …)
  A.el = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
  A.svg = (name, attributes = {}, ...children) =>
    fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);

  function fill(node, attributes, children) {
    for (const [key, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (key.startsWith('on')) node.addEventListener(key.slice(2), value);
      else if (key === 'class') node.setAttribute('class', value);
      else if (key === 'style') Object.assign(node.style, value);
      else node.setAttribute(key, value === true ? '' : value);
    }
    for (const child of children.flat(Infinity)) {
      if (child === undefined || child === null) continue;
      node.append(child.nodeType ? child : document.createTextNode(visible(String(child))));
    }
    return node;
  }

  // Control and direction characters are shown, not interpreted.
  const UNSAFE = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;
  function visible(text) {
    return text.replace(UNSAFE, (c) => {
      const code = c.charCodeAt(0);
      return code < 256 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16).padStart(4, '0')}`;
    });
  }
  A.visible = visible;

  A.clear = (node) => node.replaceChildren();
  A.byId = (id) => document.getElementById(id);

  // ---------------------------------------------------------------- numbers and times

  A.count = (n) => Math.round(n).toLocaleString('en-US');

  // A duration in the unit that reads best.
  A.duration = (us) => {
    const size = Math.abs(us);
    if (size < 1000) return `${trimmed(us, size < 10 ? 1 : 0)} µs`;
    if (size < 1e6) return `${trimmed(us / 1e3, size < 1e5 ? 2 : 1)} ms`;
    if (size < 6e8) return `${trimmed(us / 1e6, size < 1e7 ? 3 : 2)} s`;
    return `${trimmed(us / 6e7, 1)} min`;
  };
  const trimmed = (x, digits) => String(Number(x.toFixed(digits)));

  // A time in seconds, with as many digits as a step of `stepUs` needs.
  A.moment = (us, stepUs = 1) => {
    const digits = Math.max(0, Math.min(6, Math.ceil(6 - Math.log10(Math.max(1, stepUs)) - 1e-9)));
    return `${(us / 1e6).toFixed(digits)} s`;
  };

  // Round steps for an axis: the smallest of 1, 2, 5 times a power of ten that is at least `least`.
  A.niceStep = (least) => {
    const power = 10 ** Math.floor(Math.log10(Math.max(least, 1e-9)));
    return [1, 2, 5, 10].map((m) => m * power).find((step) => step >= least * 0.999);
  };

  // ---------------------------------------------------------------- searching

  // The first position in [low, high) whose value is at least `wanted` (above it, if `after`).
  A.lowerBound = (values, wanted, low, high, after = false) => {
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (values[middle] < wanted || (after && values[middle] === wanted)) low = middle + 1;
      else high = middle;
    }
    return low;
  };

  // ---------------------------------------------------------------- colours and canvases

  const probe = () => getComputedStyle(document.documentElement);
  A.colours = () => {
    const style = probe();
    return new Proxy({}, {
      get: (known, name) => (known[name] ??= style.getPropertyValue(`--${String(name)}`).trim() || '#888'),
    });
  };
  A.onColourChange = (act) => {
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', act);
    held.push(() => scheme.removeEventListener('change', act));
  };
  A.onResize = (node, act) => {
    const observer = new ResizeObserver(act);
    observer.observe(node);
    held.push(() => observer.disconnect());
  };
  // A page that is built again drops the listeners of the old one.
  let held = [];
  A.letGo = () => {
    held.forEach((act) => act());
    held = [];
  };

  // Fit a canvas to its box at the screen's resolution; returns its 2d context and CSS size.
  A.fitCanvas = (canvas, width, height) => {
    const ratio = Math.min(2, globalThis.devicePixelRatio || 1);
    const w = Math.max(1, Math.round(width * ratio));
    const h = Math.max(1, Math.round(height * ratio));
    if (canvas.width !== w || canvas.height !== h) {
      canvas.width = w;
      canvas.height = h;
      canvas.style.height = `${height}px`;
    }
    const context = canvas.getContext('2d');
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    return context;
  };

  // Call `act` at most once per frame.
  A.perFrame = (act) => {
    let asked = false;
    return () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        act();
      });
    };
  };
  A.debounced = (act, ms) => {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(act, ms);
    };
  };

  A.copyButton = (text) => {
    const button = A.el('button', { class: 'copy', type: 'button', 'aria-label': `copy: ${text}` }, 'copy');
    button.addEventListener('click', async () => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = 'copied';
      } catch {
        button.textContent = 'select it';
      }
      setTimeout(() => (button.textContent = 'copy'), 1500);
    });
    return button;
  };
})();
