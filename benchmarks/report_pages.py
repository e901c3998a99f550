"""How fast a run's page is made and opens, and how long its frames take, by number of operations.

    python -m benchmarks.report_pages [--operations 100000,1000000] [--keep DIR]

The history is made here: 32 clients on 20 keys, latencies from 0.3 ms to 4 ms, one operation in a
thousand with an unknown outcome, a fault every five seconds. The page is opened in a headless
Chromium from disk. Printed are: the time to make it, its size, the time from the start of the
navigation to the first complete picture of the timeline, to the last section, and the times from
frame to frame while the timeline is zoomed from the whole run to a millisecond and back and panned.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from harness.report.page import write_report
from histories.events import NEMESIS, Event
from histories.folder import RunFolder
from histories.recorder import event_line

CLIENTS = 32
KEYS = 20
ZOOM = """async () => {
  const { view } = antipaxos.page.model;
  const deltas = [];
  const renders = [];
  const timeline = antipaxos.page.timeline;
  const middle = (view.min + view.max) / 2 + 12345;
  view.all();
  let last = await new Promise(requestAnimationFrame);
  const step = async (act) => {
    act();
    const now = await new Promise(requestAnimationFrame);
    deltas.push(now - last);
    last = now;
  };
  const render = timeline.render.bind(timeline);
  timeline.render = () => {
    const before = performance.now();
    render();
    renders.push(performance.now() - before);
  };
  while (view.width > 1000) await step(() => view.zoom(0.85, middle));
  while (view.width < (view.max - view.min) * 0.5) await step(() => view.zoom(1.2, middle));
  for (let i = 0; i < 60; i++) await step(() => view.pan(view.width / 100));
  return { deltas, renders };
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", default="10000,100000,1000000")
    parser.add_argument("--keep", type=Path, help="leave the folders here")
    arguments = parser.parse_args()
    print(describe())
    for count in (int(text) for text in arguments.operations.split(",")):
        store = arguments.keep or Path(tempfile.mkdtemp(prefix="antipaxos-pages-"))
        try:
            measure(count, store)
        finally:
            if arguments.keep is None:
                shutil.rmtree(store, ignore_errors=True)


def measure(count: int, store: Path) -> None:
    """Print one line for a run of `count` operations."""
    folder = made_folder(count, store)
    started = time.perf_counter()
    path = write_report(folder)
    made_s = time.perf_counter() - started
    opened = open_page(path)
    frames = sorted(opened["deltas"])
    renders = sorted(opened["renders"])
    print(
        f"{count:>9,} operations: made in {made_s:.2f} s, {path.stat().st_size / 1e6:.1f} MB, "
        f"first picture after {opened['first_ms'] / 1000:.2f} s, all after "
        f"{opened['all_ms'] / 1000:.2f} s; {len(frames)} frames: median "
        f"{statistics.median(frames):.1f} ms, p99 {frames[int(len(frames) * 0.99)]:.1f} ms, worst "
        f"{frames[-1]:.1f} ms; drawing one: median {statistics.median(renders):.1f} ms, worst "
        f"{renders[-1]:.1f} ms"
    )


def open_page(path: Path) -> dict[str, Any]:
    """Open a page in Chromium; times in milliseconds."""
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(120_000)
        page.add_init_script(
            """new MutationObserver(() => {
                 const ready = document.documentElement?.dataset.ready;
                 const times = (globalThis.readyTimes ??= {});
                 if (ready && !(ready in times))
                   requestAnimationFrame(() => { times[ready] ??= performance.now(); });
               }).observe(document, { attributes: true, subtree: true });"""
        )
        page.goto(path.absolute().as_uri(), wait_until="commit")
        page.wait_for_selector("html[data-ready=all]")
        page.wait_for_timeout(500)
        times = page.evaluate("globalThis.readyTimes")
        found: dict[str, Any] = page.evaluate(ZOOM)
        browser.close()
    return found | {"first_ms": times["first"], "all_ms": times["all"]}


# ------------------------------------------------------------------------------- the history


def made_folder(count: int, store: Path) -> RunFolder:
    """A valid run of `count` operations, as the harness would have recorded it."""
    folder = RunFolder.create(store, f"made-{count}")
    config = {"target": "made", "seed": 1, "on": "sim", "cluster": {"nodes": 5}}
    folder.write_run({"model": "kv", "seed": 1, "config": config})
    with folder.history.open("w", encoding="ascii") as file:
        for event in events(count):
            file.write(event_line(event) + "\n")
    verdict = {
        "verdict": "valid",
        "detectors": {"linearizability": "valid"},
        "linearizability": {"sentence": f"all {count} operations can be put into one order"},
    }
    (folder.path / "verdict.json").write_text(json.dumps(verdict))
    return folder


def events(count: int) -> Iterator[Event]:
    """The history, in order: every operation takes effect when it is called."""
    draw = random.Random(1)
    values: dict[str, int | None] = {}
    ready = [(client * 50_000, client) for client in range(CLIENTS)]
    found: list[tuple[int, int, Event]] = []
    processes = CLIENTS
    for number in range(count):
        ready.sort()
        at_ns, process = ready.pop(0)
        key, f = f"k{draw.randrange(KEYS)}", draw.choice(("read", "read", "write"))
        value = number if f == "write" else None
        lost = draw.randrange(1000) == 0
        if f == "write":
            values[key] = number
        end_ns = at_ns + draw.randrange(300_000, 4_000_000) + (50_000_000 if lost else 0)
        found.append((at_ns, number * 2, Event(0, at_ns, process, "invoke", f, key, value)))
        told = values.get(key) if f == "read" else value
        done = Event(0, end_ns, process, "ok", f, key, told, 1 + number % 5)
        if lost:
            done = Event(0, end_ns, process, "info", f, key, value, None, "timeout")
            process, processes = processes, processes + 1
        found.append((end_ns, number * 2 + 1, done))
        ready.append((end_ns + draw.randrange(20_000, 400_000), process))
    last_ns = max(at for at, _, _ in found)
    found += list(_faults(last_ns))
    found.sort(key=lambda entry: entry[:2])
    yield from (event._replace(index=i) for i, (_, _, event) in enumerate(found))


def _faults(last_ns: int) -> Iterator[tuple[int, int, Event]]:
    for number, at_ns in enumerate(range(1_000_000_000, last_ns, 5_000_000_000)):
        kind = ("kill", "pause")[number % 2]
        value = {"kind": kind, "id": f"f{number}", "nodes": [1 + number % 5]}
        value |= {"start_us": 0, "duration_us": 1_000_000}
        report = {"moments": {}, "verified": True, "evidence": {}}
        for what, delay_ns in (("inject", 0), ("heal", 1_000_000_000)):
            asked = Event(0, at_ns + delay_ns, NEMESIS, "invoke", what, value=value)
            done_ns = at_ns + delay_ns + 2_000_000
            done = Event(0, done_ns, NEMESIS, "info", what, value=value, extra=report)
            yield asked.time, -1, asked
            yield done.time, -1, done


if __name__ == "__main__":
    main()
