"""The pictures of docs/report.md, from real runs: `python -m benchmarks.screenshots`.

Two simulated runs are made (Multi-Paxos correct, and with the planted bug M2), the second is
shrunk, and their pages are photographed in a headless Chromium. Run it again whenever the pages
change.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import Any

from harness.cli import main as antipaxos
from harness.report.index import write_index
from harness.report.page import write_report
from histories.folder import RunFolder

IMAGES = Path(__file__).parent.parent / "docs" / "images"
WIDTH = 1180


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=IMAGES)
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    out = out.absolute()
    with tempfile.TemporaryDirectory() as directory, contextlib.chdir(directory):
        store = Path("runs")
        for bug in ([], ["--mutant", "M2"]):
            _command("run", "multi-paxos", "--on", "sim", "--seed", "7", *bug, store=store)
        invalid = next(path for path in _runs(store) if '"M2"' in (path / "run.json").read_text())
        valid = next(path for path in _runs(store) if path != invalid)
        _command("shrink", str(invalid), "--limit", "90", store=store)
        shrunk = next(path for path in _runs(store) if path.name.startswith("shrunk"))
        for path in (invalid, valid, shrunk):
            write_report(RunFolder.open(path))
        write_index(store)
        _photograph(store, invalid, valid, shrunk, out)


def _command(*words: str, store: Path) -> None:
    try:
        antipaxos([*words, "--store", str(store)])
    except SystemExit as ended:
        if ended.code not in (0, 1, 2):
            raise


def _runs(store: Path) -> list[Path]:
    return sorted(path for path in store.iterdir() if path.is_dir())


def _photograph(store: Path, invalid: Path, valid: Path, shrunk: Path, out: Path) -> None:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )

        def page(path: Path, **options: Any) -> Any:
            size = {"width": WIDTH, "height": 820}
            found = browser.new_page(**{"viewport": size} | options)
            found.goto((path / "report.html").absolute().as_uri())
            found.wait_for_selector("html[data-ready=all]")
            found.evaluate("document.querySelector('header.top').style.position = 'static'")
            found.wait_for_timeout(400)
            return found

        page(invalid).screenshot(path=out / "verdict.png")
        _part(page(invalid), ".workbench", out / "timeline.png")
        _part(page(valid, color_scheme="dark"), ".plots", out / "plots.png")
        story = page(shrunk)
        story.evaluate(STORY_VIEW)
        story.wait_for_timeout(400)
        _part(story, ".messages-grid", out / "messages.png", height=480)
        _part(page(valid), "#coverage", out / "coverage.png")
        phone = page(invalid, viewport={"width": 390, "height": 780}, is_mobile=True)
        phone.evaluate("document.querySelector('#timeline').scrollIntoView()")
        phone.screenshot(path=out / "phone.png")
        index = browser.new_page(viewport={"width": WIDTH, "height": 320})
        index.goto((store / "index.html").absolute().as_uri())
        index.wait_for_selector("html[data-ready=all]")
        index.screenshot(path=out / "index.png")
        browser.close()


STORY_VIEW = """(() => {
  const { document: run, view } = antipaxos.page.model;
  const at = run.disagreements[0]?.records[0]?.at_us ?? view.selected;
  view.show(at - 6000, at + 18000);
  view.setCursor(at);
})()"""


def _part(page: Any, selector: str, path: Path, height: int | None = None) -> None:
    box = page.locator(selector).bounding_box()
    box = {name: box[name] for name in ("x", "y", "width", "height")}
    if height is not None:
        box["height"] = min(height, box["height"])
    page.screenshot(path=path, clip=box, full_page=True)


if __name__ == "__main__":
    main()
