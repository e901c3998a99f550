"""Which weaker consistency levels a history that is not linearizable still meets: a diagnosis.

Sequential consistency (Lamport 1979) asks for one order that keeps each client's own order but not
the order of time; session guarantees (`session_guarantees.py`) ask less still, of one client at a
time. A system that breaks only linearizability serves old values; one that breaks a client's own
reads or writes loses sessions. Where one object consists of several (registers, accounts), each by
itself may still be linearizable: then only the atomicity of operations on several of them is lost.

Everything here is bounded in steps, not in seconds, so that a report is the same on every machine.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Final

from histories.budget import UNLIMITED, Budget
from histories.checker.descriptions import left, saw, wrote
from histories.checker.evidence import relaxed
from histories.checker.reference_search import search
from histories.checker.session_guarantees import session_guarantees
from histories.checker.verdict import PartitionVerdict
from histories.models import ILLEGAL, Model
from histories.models.interface import Part
from histories.operations import Operation

SEQUENTIAL_STEPS = 4_000
"""The bound on the steps of the search for a sequentially consistent order."""
LOOK = 16
"""The budget is checked every LOOK steps."""
APART_CHECKS: Final = 200
"""The bound of the search for the order of a single part, in checks of its budget (one every 256
steps)."""
REGISTERS: Final = ("register", "cas-register", "kv")
PLACES_MAX: Final = 1_000_000
"""The bound on remembered client positions: each configuration has one for each client."""


def diagnose(
    model: Model,
    operations: Sequence[Operation],
    verdict: PartitionVerdict,
    budget: Budget = UNLIMITED,
) -> tuple[str, ...]:
    """Lines for a person about one invalid partition. Raises LimitReached."""
    if model.name == "counter-range":  # this model requires something other than an order
        return ()
    said = {
        True: "it is still sequentially consistent: each client could have seen one order of all",
        False: "it is not even sequentially consistent",
        None: "whether it is still sequentially consistent could not be decided quickly",
    }
    answer = _is_sequential(model, operations, verdict, budget)
    apart = _apart(model, operations, budget)
    return (said[answer], *apart, *session_guarantees(model, operations, budget))


def _is_sequential(
    model: Model, operations: Sequence[Operation], verdict: PartitionVerdict, budget: Budget
) -> bool | None:
    part = verdict.evidence.operations if verdict.evidence else ()
    closed = bool(part) and _is_closed(model, part, operations)
    if closed and is_sequential(model, relaxed(model, part, operations), budget) is False:
        return False
    return is_sequential(model, operations, budget)


def _is_closed(model: Model, part: Sequence[Operation], whole: Sequence[Operation]) -> bool:
    """Whether a part of a register's history is conclusive also without real time: it contains
    every operation that wrote, at any time, a value that it saw."""
    if model.name not in REGISTERS or any(op.f == "append" for op in whole):
        return False
    seen = {value for op in part for value in (*saw(op), *left(op))}
    there = {op.call for op in part}
    return all(op.call in there for op in whole if any(value in seen for value in wrote(op)))


def _apart(model: Model, operations: Sequence[Operation], budget: Budget) -> tuple[str, ...]:
    """Whether each part of an object that consists of several is linearizable by itself."""
    parts_of = getattr(model, "parts", None)
    if parts_of is None:
        return ()
    outcomes = set()
    parts: Iterator[Part] = parts_of(operations)
    for name, own, projected in parts:
        budget.check()
        steps = Budget(APART_CHECKS, clock=itertools.count().__next__)
        outcome = search(own, projected, steps).outcome
        if outcome == "invalid":
            return (f"{name} is not linearizable even by itself",)
        outcomes.add(outcome)
    if outcomes <= {"valid"}:
        return ("each of its parts is linearizable by itself, but not all of them together",)
    return ("whether each of its parts is linearizable by itself could not be decided quickly",)


def is_sequential(
    model: Model,
    operations: Sequence[Operation],
    budget: Budget = UNLIMITED,
    steps_max: int = SEQUENTIAL_STEPS,
) -> bool | None:
    """Whether one order keeps every client's own order; None where the step limit was reached.

    A depth-first search that takes the oldest operations first, and reads as soon as they fit.
    """
    clients = _by_client(model, operations)
    first: tuple[Any, Places] = (model.initial(), (0,) * len(clients))
    met, tried = {first}, set()
    stack = [first]
    while stack:
        state, places = _with_reads(model, clients, *stack.pop())
        if (state, places) in tried:
            continue
        tried.add((state, places))
        if len(tried) > steps_max or len(met) * len(clients) > PLACES_MAX:
            return None
        if len(tried) % LOOK == 0:
            budget.check()
        heads = [(i, step[0]) for i, own in enumerate(clients) if (step := own[places[i]])]
        if all(op.outcome == "info" for _, op in heads):
            return True
        for i, op in sorted(heads, key=lambda head: head[1].call, reverse=True):
            after = model.step(state, op)
            if after is not ILLEGAL:
                reached = (after, (*places[:i], places[i] + 1, *places[i + 1 :]))
                if reached not in met:
                    met.add(reached)
                    stack.append(reached)
    return False


Places = tuple[int, ...]
"""How many operations of each client have been done."""
_Client = list[tuple[Operation, bool] | None]
"""A client's operations in its order, with whether they read; None marks the end."""


def _by_client(model: Model, operations: Sequence[Operation]) -> list[_Client]:
    queues: dict[Any, list[Operation]] = {}
    for op in sorted(operations, key=lambda op: op.call):
        queues.setdefault(op.process, []).append(op)
    reads = model.reads
    return [
        [*((op, op.f in reads or op.outcome == "mismatch") for op in own), None]
        for own in queues.values()
    ]


def _with_reads(
    model: Model, clients: list[_Client], state: Any, places: Places
) -> tuple[Any, Places]:
    """The same state after every read that fits it and is its client's next operation."""
    moved = list(places)
    for i, own in enumerate(clients):
        place = places[i]
        while (head := own[place]) and head[1] and model.step(state, head[0]) is not ILLEGAL:
            place += 1
        moved[i] = place
    return state, tuple(moved)
