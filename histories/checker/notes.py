"""Notes beside a verdict that qualify it, for the reader."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Final

from histories.checker.descriptions import READS, WRITES
from histories.checker.verdict import Verdict, counted
from histories.events import NEMESIS, Event
from histories.models import Model
from histories.operations import Operation, between

VACUOUS: Final = "no operation was acknowledged, so this verdict means nothing"
UNANSWERED: Final = "no operation was answered: this history proves nothing"
VALID_UNANSWERED: Final = (
    "no operation was answered, and the outcome of some is unknown: valid as for other checkers of "
    "Jepsen's histories, but it proves nothing"
)
NIL: Final = (
    "reads returned null, although nobody wrote null: where that means that the value is not known "
    "(as in Knossos), --nil-reads unknown leaves such reads out"
)
REGISTERS: Final = frozenset(("register", "cas-register", "kv"))
NIL_READS: Final = ("null", "unknown")


def unproven(verdict: Verdict, *, jepsen: bool) -> Verdict:
    """The verdict on a recorded history: unknown instead of valid if no operation was answered.

    One of Jepsen's formats (`jepsen`) whose operations all have an unknown outcome stays valid, as
    Knossos judges it, and a note says so.
    """
    if verdict.outcome != "valid" or verdict.answered != 0:
        return verdict
    notes = tuple(note for note in verdict.notes if note != VACUOUS)
    if jepsen and verdict.operations:
        return dataclasses.replace(verdict, notes=(VALID_UNANSWERED, *notes))
    return dataclasses.replace(verdict, outcome="unknown", reason=UNANSWERED, notes=notes)


def notes_on(answered: int, changed: int) -> tuple[str, ...]:
    """Notes on a history, from how many operations were answered at all, and how many completed
    with another value than they were invoked with."""
    notes = []
    if not answered:
        notes.append(VACUOUS)
    if changed:
        notes.append(
            f"{counted(changed)} completed with another value than at the invocation: the "
            f"completion's counts"
        )
    return tuple(notes)


def changed_arguments(events: Sequence[Event]) -> int:
    """How many operations completed with another value than they were invoked with."""
    begun: dict[int | str, Event] = {}
    changed = 0
    for event in events:
        if event.process == NEMESIS:
            continue
        if event.type == "invoke":
            begun[event.process] = event
            continue
        call = begun.pop(event.process, None)
        if call is None or event.type != "ok" or event.value is None or event.value is call.value:
            continue
        if call.f != event.f:
            continue
        told, given = between(0, 0, call, 1, event), between(0, 0, call, 1, None)
        changed += told is not None and given is not None and told.value != given.value
    return changed


def looks_nil(model: Model, operations: Iterable[Operation]) -> bool:
    """Whether reads of a register returned null although null was never written."""
    if model.name not in REGISTERS:
        return False
    nil = False
    for op in operations:
        if op.f in READS and op.seen and op.result is None:
            nil = True
        wrote = op.value if op.f in WRITES else None
        if op.f == "delete" or (op.f in WRITES and wrote is None):
            return False
        if op.f == "cas" and isinstance(op.value, tuple) and op.value[1] is None:
            return False
    return nil


def without_nil_reads(events: Sequence[Event]) -> list[Event]:
    """The events with reads that returned null treated as reads of an unknown value."""
    return [
        event._replace(type="fail")
        if event.type == "ok" and event.f in READS and event.value is None
        else event
        for event in events
    ]
