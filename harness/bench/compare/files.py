"""The files of a comparison: JSON, CSV, and a page.

compare.json   everything: rows, figures, theory with sources
compare.csv    one line for each figure
compare.html   the table, the reasons, the details and curves
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from harness.bench.compare.table import Comparison
from harness.report.page import PARTS, STYLES, render

HEAD = ("section", "row", "unit", "protocol", "measured", "expected", "agrees", "source", "why")


def write_files(result: Comparison, out: Path) -> None:
    """All of them, into an existing folder."""
    document = result.to_json()
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    (out / "compare.json").write_text(text, encoding="utf-8")
    _write_csv(document, out / "compare.csv")
    (out / "compare.html").write_text(page(document), encoding="utf-8")


def page(document: dict[str, Any]) -> str:
    """The page of a comparison."""
    return render(
        "tradeoffs.html",
        title="Consensus protocols compared",
        scripts=(*PARTS, "js/tradeoffs_page.js"),
        styles=(*STYLES, "css/index.css"),
        data=document,
    )


def _write_csv(document: dict[str, Any], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(HEAD)
        for section in document["sections"]:
            for row in section["rows"]:
                for target, figure in row["figures"].items():
                    fields = [figure[name] for name in HEAD[4:]]
                    writer.writerow([section["id"], row["id"], row["unit"], target, *fields])
