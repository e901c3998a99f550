"""The table as text of 80 columns: measured and expected values.

4/4    measured 4, theory expects 4
3≠1    they disagree; the reason is below the table
6      no expected value
-      not supported by this protocol
"""

from __future__ import annotations

import itertools
from textwrap import wrap
from typing import Any, Final

WIDTH: Final = 80
CELL: Final = 8
COLUMNS_MAX: Final = 7
NONE: Final = "-"


def number(value: float | None, digits: int) -> str:
    """With this many digits, or fewer if possible."""
    if value is None:
        return "∞"
    return f"{value:.{digits}f}".rstrip("0").rstrip(".") if digits else f"{value:.0f}"


def cell(figure: dict[str, Any] | None, digits: int) -> str:
    """One figure: measured, and expected where theory says something."""
    if figure is None:
        return NONE
    measured = number(figure["measured"], digits)
    if figure["agrees"] is None:
        return measured
    sign = "/" if figure["agrees"] else "≠"
    bound = "≤" if figure["at_most"] else ""
    return f"{measured}{sign}{bound}{number(figure['expected'], digits)}"


def lines_of(document: dict[str, Any]) -> list[str]:
    """The document of a comparison (`table.Comparison.to_json`) as lines."""
    found = [
        f"{document['nodes']} nodes, {document['delay_ms']:g} ms per link, measured on "
        f"{document['on']}; measured/theory, ≠ where they disagree"
    ]
    for section in document["sections"]:
        found += ["", *section_lines(section, shown(section, document["protocols"]))]
    return found


def shown(section: dict[str, Any], protocols: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The protocols of which this section says something."""
    return [p for p in protocols if any(p["target"] in r["figures"] for r in section["rows"])]


def section_lines(section: dict[str, Any], protocols: list[dict[str, Any]]) -> list[str]:
    """The rows of one section, then why some disagree, then its details."""
    found = []
    if section["rows"]:
        label = WIDTH - CELL * COLUMNS_MAX
        heads = "".join(f"{p['head']:>{CELL}}" for p in protocols)
        found += [section["title"], f"{'':<{label}}{heads}"]
        for row in section["rows"]:
            cells = [cell(row["figures"].get(p["target"]), row["digits"]) for p in protocols]
            found.append(f"{row['label'][:label]:<{label}}{''.join(f'{c:>{CELL}}' for c in cells)}")
        found += _reasons(section, protocols)
    for detail in section["details"]:
        found += ["", *detail_lines(detail)]
    return found if section["rows"] else found[1:]


def detail_lines(detail: dict[str, Any]) -> list[str]:
    """A separate table. Heads are folded to the width of their columns, the last column to what
    is left."""
    rows = [[_plain(value) for value in row] for row in detail["rows"]]
    widths = [
        max(_longest_word(head), *(len(row[i]) for row in rows), 1)
        for i, head in enumerate(detail["head"])
    ]
    natural = [max(w, len(h)) for w, h in zip(widths, detail["head"], strict=True)]
    if sum(width + 2 for width in natural) < WIDTH:
        widths = natural
    widths[-1] = WIDTH - 2 - sum(width + 2 for width in widths[:-1])
    found = [detail["title"]]
    for row in [detail["head"], *rows]:
        cells = [wrap(text, width) or [""] for text, width in zip(row, widths, strict=True)]
        for line in itertools.zip_longest(*cells, fillvalue=""):
            padded = (f"{text:<{width}}" for text, width in zip(line, widths, strict=True))
            found.append(f"  {'  '.join(padded)}".rstrip())
    return found


def _longest_word(text: str) -> int:
    return max(map(len, text.split()), default=0)


def _reasons(section: dict[str, Any], protocols: list[dict[str, Any]]) -> list[str]:
    found: list[str] = []
    for row in section["rows"]:
        for protocol in protocols:
            figure = row["figures"].get(protocol["target"])
            if figure is not None and figure["agrees"] is False:
                why = figure["why"] or "not explained"
                text = f"  ≠ {protocol['title']}, {row['label']}: {why}"
                found += wrap(text, WIDTH, subsequent_indent="    ", drop_whitespace=True)
    return found


def _plain(value: str | float | None) -> str:
    if value is None:
        return NONE
    return value if isinstance(value, str) else f"{value:g}"
