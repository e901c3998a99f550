"""The page of a night, and the page over all nights, with the templates of the report."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from harness.report.page import PARTS, STYLES, render
from harness.suite.index import Index
from harness.suite.night import Night

FAILED_MAX: Final = 5_000
"""The maximum number of failed runs listed on a page; the findings count all."""


def write_night_page(night: Night, summary: dict[str, Any], path: Path) -> None:
    """Write `night.html`: what ran, what failed, whether it is new, and how to reproduce it."""
    linked = [_linked(finding, path.parent) for finding in summary["findings"]]
    results = [
        {
            "cell": result.cell,
            "seed": result.seed,
            "outcome": result.outcome,
            "seconds": result.seconds,
            "sentence": result.sentence,
            "page": _page_of(result.folder, path.parent),
        }
        for _, result in night.pairs()
        if result.outcome != "valid"
    ]
    failovers = [
        row | {"page": os.path.relpath(row["page"], path.parent)} for row in summary["failovers"]
    ]
    data = summary | {"findings": linked, "failed": results[:FAILED_MAX], "failovers": failovers}
    text = render(
        "night.html",
        title=f"{summary['outcome']}: {summary['suite']} {summary['night']}",
        scripts=(*PARTS, "js/coverage.js", "js/night_page.js"),
        styles=(*STYLES, "css/index.css"),
        data=data,
    )
    path.write_text(text, encoding="utf-8")


def write_nights_page(index: Index, path: Path) -> None:
    """Write `nights.html`: one row per night, failover measurement, target and finding."""
    text = render(
        "nights.html",
        title="Nights",
        scripts=(*PARTS, "js/coverage.js", "js/nights_page.js"),
        styles=(*STYLES, "css/index.css"),
        data={
            "nights": index.nights(),
            "findings": index.findings(),
            "failovers": index.failovers(),
            "coverage": index.coverage(),
        },
    )
    path.write_text(text, encoding="utf-8")


def _linked(finding: dict[str, Any], base: Path) -> dict[str, Any]:
    folder = finding.get("shrunk") or finding.get("folder")
    return finding | {"page": _page_of(folder, base)}


def _page_of(folder: str | None, base: Path) -> str | None:
    """The address of a run's page, relative to the night's folder; None if there is none."""
    if folder is None or not (Path(folder) / "report.html").exists():
        return None
    return os.path.relpath(Path(folder) / "report.html", base)
