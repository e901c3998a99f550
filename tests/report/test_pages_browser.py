"""The pages in a real Chromium: every kind of run, the failing part in view, zoom, click, keys,
phones, printing, and hostile texts. The console must stay empty, and nothing is fetched."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from harness.report.index import write_index
from harness.report.page import write_report
from harness.run.expected import seal_verdict, write_digests
from histories.folder import RunFolder
from tests.report.conftest import Watched
from tests.report.folders import recorded, simulated
from tests.report.hostile import hostile_folder

pytestmark = pytest.mark.browser

VIEW = "(() => { const v = antipaxos.page.model.view; return [v.from, v.to, v.min, v.max]; })()"


def opened(watched: Watched, folder: RunFolder) -> Any:
    return watched.open(write_report(folder).absolute().as_uri())


def painted(page: Any, selector: str) -> int:
    """How many different colours a canvas shows."""
    script = """(selector) => {
      const canvas = document.querySelector(selector);
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
      const found = new Set();
      for (let i = 0; i < data.length; i += 4)
        found.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
      return found.size;
    }"""
    return int(page.evaluate(script, selector))


def test_a_valid_run(watched: Watched, tmp_path: Path) -> None:
    page = opened(watched, simulated(tmp_path))
    assert page.inner_text("#verdict-host .word").strip().endswith("valid")
    assert page.is_hidden("#failure")
    assert painted(page, "canvas.timeline") > 10
    assert painted(page, "canvas.spacetime") > 5
    assert page.locator(".plot canvas").count() >= 4
    assert page.locator("#coverage-host .untested").count() > 0
    assert page.locator("#logs-host .line").count() > 0
    assert [
        address for address in watched.asked if not address.startswith(("file:", "data:"))
    ] == []


def test_an_invalid_run_opens_at_its_failing_part(watched: Watched, tmp_path: Path) -> None:
    page = opened(watched, recorded("multi-paxos-M2", tmp_path))
    assert page.inner_text("#verdict-host .word").strip().endswith("invalid")
    picture = page.locator("svg.evidence")
    box = picture.bounding_box()
    assert box is not None and box["y"] + box["height"] < 1000  # in view at once
    assert page.locator("svg.evidence .stuck").count() == 1
    assert "cannot follow" in page.inner_text("#failure-host")
    numbers = page.evaluate("[...antipaxos.page.model.failing]")
    [start, end] = page.evaluate(VIEW)[:2]
    for number in numbers:
        at = page.evaluate("(n) => antipaxos.page.model.operations.start_us[n]", number)
        assert start <= at <= end
    assert page.evaluate("antipaxos.page.model.view.selected") in numbers
    assert "contradict one another" in page.inner_text("#details-host")


def test_disagreements_of_replicas_link_to_their_commands(watched: Watched, tmp_path: Path) -> None:
    page = opened(watched, recorded("multi-paxos-M9", tmp_path))
    page.click("#failure-host .link >> nth=0")
    assert "cas k0" in page.inner_text("#details-host h3")
    assert page.locator("#story-host .now").count() > 0


def test_unknown_cut_off_and_empty_runs(watched: Watched, tmp_path: Path) -> None:
    unknown = simulated(tmp_path)
    unknown.verdict.write_text('{"verdict": "unknown", "reasons": ["out of time"]}')
    write_digests(unknown)  # else the run is judged again
    seal_verdict(unknown)
    page = opened(watched, unknown)
    assert "unknown" in page.inner_text("#verdict-host .word")
    assert "out of time" in page.inner_text("#verdict-host")
    cut = simulated(tmp_path)
    lines = cut.history.read_bytes().splitlines(keepends=True)
    cut.history.write_bytes(b"".join(lines[: len(lines) // 3]) + lines[-1][:20])
    cut.verdict.unlink()
    page = opened(watched, cut)
    assert "cut off" in page.inner_text("#notes-host")
    assert painted(page, "canvas.timeline") > 5
    empty = RunFolder.create(tmp_path, "empty")
    empty.history.write_bytes(b"")
    page = opened(watched, empty)
    assert "nothing to judge" in page.inner_text("#verdict-host .word")


def test_zooming_by_wheel_buttons_keys_and_drag(watched: Watched, tmp_path: Path) -> None:
    page = opened(watched, simulated(tmp_path))
    canvas = page.locator("canvas.timeline")
    canvas.scroll_into_view_if_needed()
    start = page.evaluate(VIEW)
    assert start[0] == start[2] and start[1] == start[3]
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 20)
    page.keyboard.down("Control")
    for _ in range(200):
        page.mouse.wheel(0, -120)
    page.keyboard.up("Control")
    page.wait_for_timeout(100)
    zoomed = page.evaluate(VIEW)
    assert zoomed[1] - zoomed[0] < 100  # microseconds
    page.get_by_title("the whole run").click()
    assert page.evaluate(VIEW) == start
    page.get_by_title("zoom in").click()
    half = page.evaluate(VIEW)
    assert half[1] - half[0] == pytest.approx((start[1] - start[0]) / 2)
    canvas.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(VIEW)[0] > half[0]
    page.keyboard.press("0")
    assert page.evaluate(VIEW) == start
    page.keyboard.press("+")
    before = page.evaluate(VIEW)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    low = box["y"] + box["height"] - 20
    page.mouse.move(box["x"] + 800, low)
    page.mouse.down()
    page.mouse.move(box["x"] + 600, low, steps=5)
    page.mouse.up()
    after = page.evaluate(VIEW)
    assert after[0] > before[0] and after[1] - after[0] == pytest.approx(before[1] - before[0])


def test_a_click_shows_everything_of_an_operation(watched: Watched, tmp_path: Path) -> None:
    page = opened(watched, simulated(tmp_path))
    canvas = page.locator("canvas.timeline")
    canvas.scroll_into_view_if_needed()
    place = page.evaluate(
        """(() => {
          const t = antipaxos.page.timeline, n = 5, ops = t.operations;
          t.view.show(ops.start_us[n] - 5000, ops.end_us[n] + 5000);
          t.revealLane(n); t.render();
          return [t.box.x((ops.start_us[n] + ops.end_us[n]) / 2),
                  t.lanesTop + t.laneOf[n] * 20 - t.scroll + 9];
        })()"""
    )
    canvas.click(position={"x": place[0], "y": place[1]})
    assert page.evaluate("antipaxos.page.model.view.selected") == 5
    details = page.inner_text("#details-host")
    for word in ("process", "called", "latency", "answered by", "linearization point"):
        assert word in details
    canvas.focus()
    page.keyboard.press("n")
    assert page.evaluate("antipaxos.page.model.view.selected") != 5
    page.keyboard.press("]")
    assert "parameters" in page.inner_text("#details-host")
    page.keyboard.press("Escape")
    assert "Click an operation" in page.inner_text("#details-host")


@pytest.mark.parametrize("mode", ["process", "key", "node"])
def test_every_grouping_draws_every_operation_once(
    watched: Watched, tmp_path: Path, mode: str
) -> None:
    page = opened(watched, simulated(tmp_path))
    page.select_option("#timeline-controls select", mode)
    count, lanes, apart = page.evaluate(
        """(() => {
          const { lanes, operations } = antipaxos.page.timeline;
          const seen = new Set();
          let apart = true;
          for (const lane of lanes) {
            lane.order.forEach((n, i) => {
              seen.add(n);
              apart &&= !i || operations.end_us[lane.order[i - 1]] <= operations.start_us[n];
            });
          }
          return [seen.size, lanes.length, apart];
        })()"""
    )
    assert count == page.evaluate("antipaxos.page.model.operations.count")
    assert lanes > 0 and apart


def test_a_pyramid_loses_no_outcome(watched: Watched, tmp_path: Path) -> None:
    page = opened(watched, simulated(tmp_path, rate=400.0, concurrency=2))
    checked = page.evaluate(
        """(() => {
          const results = [];
          for (const lane of antipaxos.page.timeline.lanes) {
            const { level } = lane.levelFor(-Infinity, Infinity, 10);
            const union = (k) => lane.levels[k].mask.reduce((a, b) => a | b, 0);
            const sum = (k) => lane.levels[k].busy.reduce((a, b) => a + b, 0);
            results.push([level, union(level) === union(0),
                          Math.abs(sum(level) - sum(0)) < 1 + sum(0) * 1e-5]);
          }
          return results;
        })()"""
    )
    assert all(mask and busy for _, mask, busy in checked)
    assert max(level for level, _, _ in checked) >= 1


def test_the_cluster_follows_the_cursor(watched: Watched, tmp_path: Path) -> None:
    page = opened(watched, simulated(tmp_path))
    found = page.evaluate(
        """(() => {
          const { faults, view } = antipaxos.page.model;
          const down = faults.all.find((f) => f.effect === 'down');
          if (!down) return null;
          view.setCursor((down.sure + down.waning) / 2);
          return down.nodes[0];
        })()"""
    )
    if found is None:
        pytest.skip("this seed has no kill")
    page.wait_for_selector("#cluster-host .node.down")
    assert f"n{found}: down" in page.inner_text("#cluster-host .words")


def test_log_lines_are_filtered_and_link_to_the_timeline(watched: Watched, tmp_path: Path) -> None:
    page = opened(watched, simulated(tmp_path))
    lines = page.locator("#logs-host .line")
    assert lines.count() > 1
    page.fill("#logs-host input[type=search]", "leading")
    page.wait_for_timeout(50)
    assert lines.count() >= 1
    assert all("leading" in lines.nth(i).inner_text() for i in range(lines.count()))
    lines.first.click()
    at = page.evaluate("antipaxos.page.model.view.cursor")
    assert f"{at / 1e6:.6f}" in lines.first.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_a_phone(chromium: Any, tmp_path: Path, scheme: str) -> None:
    phone = Watched(
        chromium,
        viewport={"width": 390, "height": 800},
        has_touch=True,
        is_mobile=True,
        color_scheme=scheme,
    )
    page = opened(phone, recorded("multi-paxos-M2", tmp_path))
    assert page.evaluate("document.documentElement.scrollWidth") <= 391
    assert painted(page, "canvas.timeline") > 5
    assert phone.said == []
    phone.close()


def test_it_prints(watched: Watched, tmp_path: Path) -> None:
    page = opened(watched, recorded("multi-paxos-M2", tmp_path))
    assert page.pdf()[:5] == b"%PDF-"
    page.emulate_media(media="print")
    assert page.is_hidden("nav")
    assert page.is_visible("#verdict-host")


def test_hostile_texts_are_shown_as_text(watched: Watched, tmp_path: Path) -> None:
    folder = hostile_folder(tmp_path)
    page = opened(watched, folder)
    assert page.evaluate("globalThis.planted") is None
    assert page.locator("img, iframe, object, link[rel=stylesheet]").count() == 0
    assert "PLANTED</script><script>" in page.inner_text("#verdict-host")
    assert "PLANTED" in page.inner_text("#failure-host")
    assert "\\x1b]0;title\\x07" in page.inner_text("#failure-host")
    assert "PLANTED" in page.inner_text("#logs-host")
    assert "PLANTED" in page.inner_text("#story-host")
    page.click("svg.evidence .op >> nth=0")
    assert "PLANTED" in page.inner_text("#details-host")
    page.click("#faults-host tbody tr")
    assert "PLANTED" in page.inner_text("#details-host")
    page = watched.open(write_index(tmp_path).absolute().as_uri())
    assert page.evaluate("globalThis.planted") is None
    assert "PLANTED" in page.inner_text("#runs-host")


def test_injected_scripts_are_blocked(watched: Watched, tmp_path: Path) -> None:
    page = opened(watched, simulated(tmp_path, faults=()))
    page.evaluate(
        """(() => {
          const script = document.createElement('script');
          script.textContent = 'globalThis.planted = 1';
          document.body.append(script);
        })()"""
    )
    assert page.evaluate("globalThis.planted") is None
    assert watched.said and all("Content Security Policy" in line for line in watched.said)
    watched.said.clear()


def test_the_index_sorts_and_filters(watched: Watched, tmp_path: Path) -> None:
    for name in ("multi-paxos-M2", "multi-paxos-M9"):
        write_report(recorded(name, tmp_path))
    simulated(tmp_path)
    page = watched.open(write_index(tmp_path).absolute().as_uri())
    rows = page.locator("tbody tr")
    assert rows.count() == 3
    page.fill("#filter", "multi-paxos-M9")
    assert rows.count() == 1
    page.fill("#filter", "")
    page.click("text=operations")
    counts = [int(rows.nth(i).locator("td").nth(8).inner_text().replace(",", "")) for i in range(3)]
    assert counts == sorted(counts, reverse=True)
    page.click("text=multi-paxos-M2")
    page.wait_for_selector("html[data-ready=all] #verdict-host.invalid")


def test_the_page_of_a_run_in_progress_is_updated(watched: Watched, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    from tests.report.test_server import RunServer  # noqa: PLC0415  # needs the extra

    source = simulated(tmp_path / "other")
    lines = source.history.read_bytes().splitlines(keepends=True)
    folder = tmp_path / "runs" / "now"
    folder.mkdir(parents=True)
    (folder / "run.json").write_bytes(source.run.read_bytes())
    history = folder / "history.jsonl"
    history.write_bytes(b"".join(lines[: len(lines) // 2]))
    place = RunServer(tmp_path / "runs")
    try:
        page = watched.open(f"http://127.0.0.1:{place.port}/run/now")
        assert "running" in page.inner_text("#verdict-host .word")
        counted = "antipaxos.page.model.operations.count"
        before = page.evaluate(counted)
        history.write_bytes(b"".join(lines))
        shutil.copytree(source.nodes, folder / "nodes")
        for name in ("schedule.json", "digests.json"):
            shutil.copyfile(source.path / name, folder / name)
        (folder / "verdict.json").write_bytes(source.verdict.read_bytes())
        page.wait_for_selector("#verdict-host.valid", timeout=20_000)
        assert page.evaluate(counted) > before
        assert page.locator("canvas.timeline").count() == 1
        assert page.locator("#plots-host select").count() == 1
    finally:
        watched.close()
        place.stop()
    assert {address.split("/")[2] for address in watched.asked} <= {f"127.0.0.1:{place.port}", ""}


def test_two_runs_are_compared(watched: Watched, tmp_path: Path) -> None:
    pytest.importorskip("uvicorn")
    from tests.report.test_server import RunServer  # noqa: PLC0415  # needs the extra

    recorded("multi-paxos-M2", tmp_path)
    recorded("multi-paxos-M9", tmp_path)
    place = RunServer(tmp_path)
    try:
        page = watched.open(f"http://127.0.0.1:{place.port}/")
        boxes = page.locator("tbody input[type=checkbox]")
        boxes.nth(0).check()
        assert page.is_disabled("#compare")
        boxes.nth(1).check()
        page.click("#compare")
        page.wait_for_selector("html[data-ready=all] #figures-host tbody tr")
        assert page.locator(".plot canvas").count() == 4
        assert page.locator("#settings-host tr.differs").count() > 0
    finally:
        watched.close()
        place.stop()
