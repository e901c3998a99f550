"""The page of the documentation, made from a real run: `antipaxos compare --markdown`."""

from __future__ import annotations

from textwrap import wrap
from typing import Any, Final

from harness.bench.compare.text import cell, shown
from harness.bench.compare.theory import PAPERS

WIDTH: Final = 100
INTRODUCTION: Final = """\
# The protocols compared

Made by `{command}`: every figure was measured on a running cluster of
{nodes} nodes with {delay_ms:g} ms on every link ({on}). Beside it is the value that
theory predicts: `4/4` is measured 4 and expected 4; **3≠1** is a measurement that differs from
theory, and the reason is below its table. A dash: the protocol cannot do that. The sources of all
expected values are at the end.

The simulator runs the same protocol code as the containers, under virtual time, and the same
command gives the same page. `--on docker` measures all but the duelling proposers in containers,
with the links between nodes and to clients delayed by the agents, and with fewer commands. There
the smallest of five latencies is used for each delay. Other load on the machine lengthens them, and
the figures are then not whole numbers. `--out` writes JSON, CSV and an HTML page with the curves;
`--protocols` and `--cells` measure a part; `--nodes` and `--delay` another cluster.

{cells}
Flexible Paxos is measured with a Phase 2 quorum of one acceptor fewer than a majority, and a
Phase 1 quorum to go with it (of five: two decide, four elect); all others have their defaults.
"""


def markdown(document: dict[str, Any], command: str) -> str:
    """The page for this result; `command` is what made it."""
    where = "in the simulator" if document["on"] == "sim" else "in containers"
    words = {"command": command, "on": where, "cells": _cells(document)}
    parts = [INTRODUCTION.format(**(document | words))]
    parts += [_section(s, shown(s, document["protocols"])) for s in document["sections"]]
    parts.append(_sources(document))
    return "\n".join(parts)


def _cells(document: dict[str, Any]) -> str:
    """What each name that `--cells` takes measures."""
    rows = [_line([f"`{s['id']}`", s["title"]]) for s in document["sections"]]
    return "\n".join(["| `--cells` | section |", "|---|---|", *rows, ""])


def _section(section: dict[str, Any], protocols: list[dict[str, Any]]) -> str:
    lines = [f"## {section['title']}", ""]
    for paragraph in section["text"]:
        lines += [*_folded(paragraph), ""]
    if section["rows"]:
        lines += [*_table(section, protocols), ""]
        lines += _reasons(section, protocols)
    for detail in section["details"]:
        lines += [*_detail(detail), ""]
    return "\n".join(lines)


def _table(section: dict[str, Any], protocols: list[dict[str, Any]]) -> list[str]:
    lines = [_line(["", *(p["title"] for p in protocols)])]
    lines.append("|---|" + "---:|" * len(protocols))
    for row in section["rows"]:
        cells = []
        for protocol in protocols:
            figure = row["figures"].get(protocol["target"])
            text = cell(figure, row["digits"])
            wrong = figure is not None and figure["agrees"] is False
            cells.append(f"**{text}**" if wrong else text)
        lines.append(_line([row["title"], *cells]))
    return lines


def _reasons(section: dict[str, Any], protocols: list[dict[str, Any]]) -> list[str]:
    found = [
        f"- ≠ {protocol['title']}, {row['title']}: {figure['why'] or 'not explained'}"
        for row in section["rows"]
        for protocol in protocols
        if (figure := row["figures"].get(protocol["target"])) and figure["agrees"] is False
    ]
    lines = [line for reason in found for line in _folded(reason, "  ")]
    return [*lines, ""] if lines else []


def _folded(text: str, indent: str = "") -> list[str]:
    return wrap(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _detail(detail: dict[str, Any]) -> list[str]:
    lines = [f"### {detail['title']}", "", _line(detail["head"])]
    lines.append("|" + "---|" * len(detail["head"]))
    return lines + [_line([_plain(value) for value in row]) for row in detail["rows"]]


def _sources(document: dict[str, Any]) -> str:
    """The source of every expected value, row by row, and the papers that they are from."""
    lines = ["## Where the expected values are from", ""]
    titles = {p["target"]: p["title"] for p in document["protocols"]}
    for section in document["sections"]:
        for row in section["rows"]:
            by_source: dict[str, list[str]] = {}
            for target, figure in row["figures"].items():
                if figure["source"]:
                    by_source.setdefault(figure["source"], []).append(titles[target])
            if by_source:
                lines.append(f"- **{row['title']}**")
            for source, names in by_source.items():
                lines += _folded(f"  - {', '.join(names)}: {source}.", "    ")
    lines += ["", "The papers:", ""]
    for name, paper in PAPERS.items():
        lines += _folded(f"- {name}: {paper}.", "  ")
    return "\n".join([*lines, ""])


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"


def _plain(value: str | float | None) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else f"{value:g}"
