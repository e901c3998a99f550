"""The whole comparison: its cells in order, and the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from harness.bench.compare import collisions, cost, latency, livelock, quorums, regions, survival
from harness.bench.compare.result import Section
from harness.bench.compare.settings import Settings
from harness.errors import UnknownChoice, UsageError

CELLS: Final[Mapping[str, Callable[[Settings], Section]]] = {
    "latency": latency.measure,
    "cost": cost.measure,
    "quorums": quorums.measure,
    "livelock": livelock.measure,
    "collisions": collisions.measure,
    "regions": regions.measure,
    "survival": survival.measure,
}
"""By name, in the order of the table."""
SIMULATED_ONLY: Final[Mapping[str, str]] = {
    "livelock": "every trial needs a fresh cluster, and an adversary orders the messages",
}
"""The cells that are not measured in containers, and why."""


@dataclass(kw_only=True)
class Comparison:
    """What was measured so far."""

    settings: Settings
    sections: list[Section] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        settings = self.settings
        return {
            "format": 1,
            "on": settings.on,
            "nodes": settings.nodes,
            "delay_ms": settings.delay_us / 1000,
            "seed": settings.seed,
            "protocols": [
                {
                    "target": column.target,
                    "head": column.head,
                    "title": column.title,
                    "options": column.options(settings.nodes),
                }
                for column in settings.columns
            ],
            "disagreements": sum(len(s.disagreements()) for s in self.sections),
            "sections": [section.to_json() for section in self.sections],
        }


def cells_named(names: tuple[str, ...], on: str = "sim") -> tuple[str, ...]:
    """These cells, in the table's order; where none is named all that can be measured there. Raises
    UnknownChoice, or UsageError for one that only the simulator can measure."""
    for name in names:
        if name not in CELLS:
            raise UnknownChoice("cell", name, CELLS)
        if on != "sim" and name in SIMULATED_ONLY:
            raise UsageError(
                f"the cell {name} is measured in the simulator only: {SIMULATED_ONLY[name]}",
                remedy=f"leave --on {on} or the cell out",
            )
    return tuple(
        name
        for name in CELLS
        if name in names or (not names and (on == "sim" or name not in SIMULATED_ONLY))
    )


def compare(
    settings: Settings,
    cells: tuple[str, ...] = (),
    watch: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Measure the cells; `watch` is called with the name of each as it begins. Raises
    UnknownChoice."""
    result = Comparison(settings=settings)
    for name in cells_named(cells, settings.on):
        watch(name)
        result.sections.append(CELLS[name](settings))
    return result
