// Mouse, touch and keyboard of a timeline.
(() => {
  'use strict';
  const A = (globalThis.antipaxos ??= {});

  A.timelineInput = (timeline) => {
    wheel(timeline);
    pointers(timeline);
    keys(timeline);
    minimap(timeline);
  };

  const factorOf = (event) => Math.exp(Math.max(-60, Math.min(60, event.deltaY)) * 0.008);

  function wheel(t) {
    t.canvas.addEventListener('wheel', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) {
        event.preventDefault();
        t.view.zoom(factorOf(event), t.timeAt(event.offsetX));
        return;
      }
      const across = event.shiftKey ? event.deltaY : event.deltaX;
      if (Math.abs(across) > Math.abs(event.shiftKey ? 0 : event.deltaY)) {
        event.preventDefault();
        t.view.pan((across / t.box.width) * t.view.width);
        return;
      }
      const wanted = Math.max(0, Math.min(t.scrollMax, t.scroll + event.deltaY));
      if (wanted === t.scroll) return; // the page scrolls
      event.preventDefault();
      t.scroll = wanted;
      t.draw();
    }, { passive: false });
  }

  // One pointer drags, two pinch; a press without a move selects.
  function pointers(t) {
    const down = new Map();
    let moved = 0;
    t.canvas.addEventListener('pointerdown', (event) => {
      down.set(event.pointerId, { x: event.offsetX, y: event.offsetY });
      moved = 0;
      t.canvas.setPointerCapture(event.pointerId);
      t.canvas.focus({ preventScroll: true });
    });
    t.canvas.addEventListener('pointermove', (event) => {
      const before = down.get(event.pointerId);
      const now = { x: event.offsetX, y: event.offsetY };
      if (!before) {
        hover(t, now, event.pointerType);
        return;
      }
      moved += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
      const other = [...down.entries()].find(([id]) => id !== event.pointerId)?.[1];
      if (other) {
        const factor = Math.max(8, Math.abs(before.x - other.x)) / Math.max(8, Math.abs(now.x - other.x));
        t.view.zoom(factor, t.timeAt((now.x + other.x) / 2));
      } else if (moved > 4) {
        t.view.pan(((before.x - now.x) / t.box.width) * t.view.width);
        t.scroll = Math.max(0, Math.min(t.scrollMax, t.scroll + before.y - now.y));
        t.draw();
      }
      down.set(event.pointerId, now);
    });
    const up = (event) => {
      if (down.delete(event.pointerId) && moved <= 4 && event.type === 'pointerup') press(t, event.offsetX, event.offsetY);
    };
    t.canvas.addEventListener('pointerup', up);
    t.canvas.addEventListener('pointercancel', up);
    t.canvas.addEventListener('pointerleave', () => {
      t.tip.style.display = 'none';
      t.view.setHover(null);
    });
    t.canvas.addEventListener('dblclick', (event) => t.view.zoom(0.25, t.timeAt(event.offsetX)));
  }

  function press(t, x, y) {
    if (x < t.gutter) return;
    t.view.setCursor(t.timeAt(x));
    const fault = t.faultAt(x, y);
    if (fault) {
      t.onfault?.(fault);
      return;
    }
    t.view.select(t.operationAt(x, y));
  }

  function hover(t, { x, y }, pointerType) {
    if (!t.box || pointerType === 'touch') return;
    t.view.setHover(x < t.gutter ? null : t.timeAt(x));
    const n = t.operationAt(x, y);
    const fault = n < 0 ? t.faultAt(x, y) : null;
    const words = n >= 0
      ? `${t.operations.label(n)}  ${A.duration(t.operations.span_us[n])}`
      : fault ? fault.what : '';
    t.tip.textContent = A.visible(words);
    t.tip.style.display = words ? 'block' : 'none';
    t.tip.style.left = `${Math.min(x + 14, t.width - 220)}px`;
    t.tip.style.top = `${t.canvas.offsetTop + y + 16}px`;
    t.canvas.style.cursor = words ? 'pointer' : 'default';
  }

  // The operation before or after the selected one, in its lane.
  function step(t, by) {
    const { selected } = t.view;
    let n;
    if (selected < 0) n = A.lowerBound(t.operations.start_us, t.view.from, 0, t.operations.count - 1);
    else {
      const { order } = t.lanes[t.laneOf[selected]];
      n = order[Math.max(0, Math.min(order.length - 1, A.lowerBound(order, selected, 0, order.length) + by))];
    }
    if (n === undefined || !t.operations.count) return;
    t.goTo(n);
  }

  function fault(t, by) {
    const all = t.faults.all;
    const now = t.view.moment;
    const next = by > 0 ? all.find((f) => f.from > now + 1) : all.filter((f) => f.from < now - 1).at(-1);
    if (!next) return;
    t.view.setCursor(next.from);
    t.view.reveal(next.from, next.to);
    t.onfault?.(next);
  }

  function keys(t) {
    const actions = {
      ArrowLeft: () => t.view.pan(-t.view.width / 8),
      ArrowRight: () => t.view.pan(t.view.width / 8),
      ArrowUp: () => scrollBy(-40),
      ArrowDown: () => scrollBy(40),
      '+': () => t.view.zoom(0.5, t.view.moment),
      '=': () => t.view.zoom(0.5, t.view.moment),
      '-': () => t.view.zoom(2, t.view.moment),
      0: () => t.view.all(),
      Home: () => t.view.all(),
      n: () => step(t, 1),
      p: () => step(t, -1),
      ']': () => fault(t, 1),
      '[': () => fault(t, -1),
      f: () => t.onfailing?.(),
      Escape: () => t.view.select(-1),
    };
    const scrollBy = (pixels) => {
      t.scroll = Math.max(0, Math.min(t.scrollMax, t.scroll + pixels));
      t.draw();
    };
    t.canvas.addEventListener('keydown', (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const act = actions[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });
  }

  function minimap(t) {
    const go = (event) => {
      const share = (event.offsetX - t.gutter) / t.box.width;
      const at = t.view.min + share * (t.view.max - t.view.min);
      t.view.show(at - t.view.width / 2, at + t.view.width / 2);
    };
    t.minimap.addEventListener('pointerdown', (event) => {
      t.minimap.setPointerCapture(event.pointerId);
      go(event);
    });
    t.minimap.addEventListener('pointermove', (event) => event.buttons && go(event));
  }
})();
