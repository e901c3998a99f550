"""The result of a comparison: sections of rows with one figure for each protocol, and further
tables.

A figure has the measured and the expected value. They disagree if they differ by more than the
row's tolerance; `why` then explains the difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from harness.bench.compare.theory import Expectation


@dataclass(frozen=True, kw_only=True)
class Figure:
    """`measured` is None if nothing was answered."""

    measured: float | None
    expected: Expectation | None = None
    tolerance: float = 0.0

    @property
    def agrees(self) -> bool | None:
        """None without an expected value."""
        if self.expected is None:
            return None
        wanted = self.expected.value
        if self.measured is None or wanted is None:
            return self.measured is wanted
        beyond = self.measured - wanted
        if self.expected.at_most:
            return beyond <= self.tolerance + 1e-9
        return abs(beyond) <= self.tolerance + 1e-9

    def to_json(self) -> dict[str, Any]:
        expected = self.expected
        return {
            "measured": self.measured,
            "expected": None if expected is None else expected.value,
            "at_most": expected is not None and expected.at_most,
            "source": None if expected is None else expected.source,
            "agrees": self.agrees,
            "why": "" if expected is None or self.agrees else expected.why,
        }


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table. `figures`: by target; a protocol that cannot do this has none.
    `title`: the label in full, for pages, where it does not fit into the text table."""

    id: str
    label: str
    unit: str
    figures: Mapping[str, Figure]
    digits: int = 1
    title: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "label": self.label,
            "title": self.title or self.label,
            "unit": self.unit,
            "digits": self.digits,
            "figures": {name: figure.to_json() for name, figure in self.figures.items()},
        }


@dataclass(frozen=True, kw_only=True)
class Detail:
    """A table beside the rows: a breakdown, or a curve as numbers. `curve`, "linear" or
    "log": the first column is the horizontal axis, the others are lines."""

    id: str
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    curve: str = ""

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "head": list(self.head),
            "rows": [list(row) for row in self.rows],
            "curve": self.curve,
        }


@dataclass(frozen=True, kw_only=True)
class Section:
    """One cell of the comparison. `text`: its explanation for a reader who learns these protocols,
    in paragraphs."""

    id: str
    title: str
    text: Sequence[str]
    rows: Sequence[Row] = ()
    details: Sequence[Detail] = field(default_factory=tuple)

    def disagreements(self) -> list[tuple[Row, str, Figure]]:
        """(row, target, figure) for all measurements that disagree with theory."""
        return [
            (row, name, figure)
            for row in self.rows
            for name, figure in row.figures.items()
            if figure.agrees is False
        ]

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "text": list(self.text),
            "rows": [row.to_json() for row in self.rows],
            "details": [detail.to_json() for detail in self.details],
        }
