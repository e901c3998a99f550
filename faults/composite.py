"""Composite faults: those that consist of simple ones, one after another.

A composite is planned, recorded and shrunk as one fault; when it begins, its nodes are resolved
once, and its steps are what the runtime injects and the history shows. So every runtime that
supports the steps supports the composite.
"""

from __future__ import annotations

from typing import Any, Final

from faults.description import BadFault, Fault

CYCLES_MAX: Final = 1_000


def step(composite: Fault, number: int, kind: type[Fault], **fields: Any) -> Fault:
    """Step `number` (from 1) of a composite fault, on its nodes unless `fields` name others."""
    common: dict[str, Any] = {"id": f"{composite.id}.{number}", "nodes": composite.nodes}
    return kind(**(common | fields))


def cycles(start_us: int, end_us: int, on_us: int, off_us: int) -> list[tuple[int, int]]:
    """(start, duration) of each active period, from `start_us` on until `end_us`."""
    found: list[tuple[int, int]] = []
    at_us = start_us
    while at_us < end_us or not found:
        found.append((at_us, min(on_us, end_us - at_us)))
        at_us += on_us + off_us
    return found


def require_positive(fault: Fault, *names: str) -> None:
    """Raises BadFault where a field is not above 0."""
    for name in names:
        value = getattr(fault, name)
        if value <= 0:
            raise BadFault(f"{fault.id}: {name} must be above 0, not {value}")


def require_few_cycles(fault: Fault, period_us: int) -> None:
    """Raises BadFault for a composite of too many steps."""
    if fault.duration_us > CYCLES_MAX * period_us:
        raise BadFault(
            f"{fault.id}: {fault.duration_us} us in periods of {period_us} us are more than "
            f"{CYCLES_MAX} steps; make the periods longer"
        )
