"""A small, seeded part of `python -m benchmarks.fuzz`: what is broken at random is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fuzz.__main__ import fuzz


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("replies", 1500),
        ("agents", 800),
        ("grpc", 60),
        ("schedules", 500),
        ("histories", 100),
        ("folders", 40),
    ],
)
def test_nothing_crashes_hangs_or_passes_wrongly(name: str, count: int, tmp_path: Path) -> None:
    tally = fuzz(name, 2026, 0, count, tmp_path)
    assert tally["inputs"] == count == sum(tally["outcomes"].values())
    assert not tally["findings"], tally["findings"]
    assert len(tally["outcomes"]) > 1, "every input met the same end: nothing was tried"


def test_what_it_finds_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("histories.untrusted.too_deep", lambda _: 1 / 0)
    tally = fuzz("replies", 2026, 0, 400, tmp_path)
    assert tally["crashes"] and "ZeroDivisionError" in tally["findings"][0]["what"]
