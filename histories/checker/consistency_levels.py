"""Which weaker consistency levels a history that is not linearizable still meets: a diagnosis.

Sequential consistency (Lamport 1979) asks for one order that keeps each client's own order but not
the order of time; the session guarantees (Terry and others, "Session guarantees for weakly
consistent replicated data", 1994) ask less still, of one client at a time. A system that breaks
only linearizability serves old values; one that breaks a client's own reads or writes loses
sessions.

Versions are ordered by what is certain: a value is older than another one if its write had returned
before the other's was called, or a chain of compare-and-sets leads from it to the other; the
initial value is older than all. Only values that were written once are spoken of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from histories.budget import UNLIMITED, Budget
from histories.checker.descriptions import READS, name_of, seconds, shown, wrote
from histories.checker.evidence import relaxed
from histories.checker.verdict import PartitionVerdict
from histories.models import ILLEGAL, Model
from histories.operations import NEVER, Operation

SEQUENTIAL_STEPS = 4_000
"""How long the search for such an order may get: a diagnosis, not a verdict. Steps, not seconds, so
that a report says the same on every machine."""
LOOK = 16
"""The budget is looked at every so many steps."""
GUARANTEES = (
    "read your writes",
    "monotonic reads",
    "monotonic writes",
    "writes follow reads",
)


class _Version(NamedTuple):
    """The write of a value: who, from when to when, of positions."""

    process: int | str
    call: int
    ret: int


def diagnose(
    model: Model,
    operations: Sequence[Operation],
    verdict: PartitionVerdict,
    budget: Budget = UNLIMITED,
) -> tuple[str, ...]:
    """Lines for a person about one invalid partition of a register; nothing for other models.
    Raises LimitReached."""
    if model.name not in ("register", "cas-register", "kv"):
        return ()
    if any(op.f == "append" for op in operations):
        return ()
    part = verdict.evidence.operations if verdict.evidence else ()
    answer = is_sequential(model, relaxed(model, part, operations), budget) if part else None
    if answer is not False:
        answer = is_sequential(model, operations, budget)
    said = {
        True: "it is still sequentially consistent: each client could have seen one order of all",
        False: "it is not even sequentially consistent",
        None: "whether it is still sequentially consistent could not be decided quickly",
    }
    return (said[answer], *session_guarantees(model, operations, budget))


def session_guarantees(
    model: Model, operations: Sequence[Operation], budget: Budget = UNLIMITED
) -> tuple[str, ...]:
    """One line for each guarantee that was broken: the first time, by whom, and how often."""
    found = _Sessions(model, operations, budget)
    lines = []
    for guarantee in GUARANTEES:
        broken = found.broken[guarantee]
        if broken:
            more = f" ({len(broken)} times)" if len(broken) > 1 else ""
            lines.append(f"{guarantee} broken{more}: {broken[0]}")
    return tuple(lines)


class _Sessions:
    """One pass over the operations, in the order of their returns."""

    def __init__(self, model: Model, operations: Sequence[Operation], budget: Budget) -> None:
        self.initial = model.initial()
        self.broken: dict[str, list[str]] = {guarantee: [] for guarantee in GUARANTEES}
        counts = Counter(value for op in operations for value in wrote(op))
        counts[self.initial] += 1
        self.versions = {
            value: _Version(op.process, op.call, op.ret)
            for op in operations
            for value in wrote(op)
            if counts[value] == 1
        }
        self.once = {value for value, n in counts.items() if n == 1}
        # The newest version that each client wrote, or saw, or saw of each other client's.
        self.own: dict[Any, tuple[int, Any]] = {}
        self.seen: dict[Any, tuple[int, Any]] = {}
        self.seen_of: dict[Any, dict[Any, tuple[int, Any]]] = {}
        self.first_read: dict[tuple[Any, Any], int] = {}
        for number, op in enumerate(sorted(operations, key=lambda o: o.ret), 1):
            if number % LOOK == 0:
                budget.check()
            if op.ret == NEVER:
                continue
            if op.f in READS and op.seen and op.result in self.once:
                self._read(op)
            elif op.outcome == "ok" and op.f not in READS:
                for value in wrote(op):
                    self._newest(self.own, op.process, value)

    def _newest(self, table: dict[Any, tuple[int, Any]], who: Any, value: Any) -> None:
        version = self.versions.get(value)
        if version is not None and (who not in table or table[who][0] < version.call):
            table[who] = (version.call, value)

    def _is_older(self, value: Any, than_call: int) -> bool:
        if value == self.initial:
            return value not in self.versions
        version = self.versions.get(value)
        return version is not None and version.ret < than_call

    def _read(self, op: Operation) -> None:
        who, value = op.process, op.result
        self._compare("read your writes", op, self.own.get(who), "it had itself written")
        self._compare("monotonic reads", op, self.seen.get(who), "it had read")
        for writer, newest in self.seen_of.get(who, {}).items():
            version = self.versions.get(value)
            if version is not None and version.process == writer and version.call < newest[0]:
                how = f"it had read what the same client {writer} wrote later,"
                self._note("monotonic writes", op, newest[1], how)
            read_at = self.first_read.get((writer, value))
            if read_at is not None and read_at < newest[0] and newest[1] != value:
                how = f"it had read what client {writer} wrote after reading that,"
                self._note("writes follow reads", op, newest[1], how)
        self.first_read.setdefault((who, value), op.ret)
        self._newest(self.seen, who, value)
        writer_version = self.versions.get(value)
        if writer_version is not None:
            self._newest(self.seen_of.setdefault(who, {}), writer_version.process, value)

    def _compare(
        self, guarantee: str, op: Operation, newest: tuple[int, Any] | None, how: str
    ) -> None:
        if newest is not None and newest[1] != op.result and self._is_older(op.result, newest[0]):
            self._note(guarantee, op, newest[1], how)

    def _note(self, guarantee: str, op: Operation, newer: Any, how: str) -> None:
        self.broken[guarantee].append(
            f"client {op.process} read {name_of(op)}={shown(op.result)} at {seconds(op.ret_ns)} "
            f"after {how} {shown(newer)}"
        )


def is_sequential(
    model: Model,
    operations: Sequence[Operation],
    budget: Budget = UNLIMITED,
    steps_max: int = SEQUENTIAL_STEPS,
) -> bool | None:
    """Whether one order keeps every client's own order; None where so many steps do not tell.

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
        if len(tried) > steps_max:
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
"""A client's operations in its order, with whether they read; None stands at the end."""


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
    """The same state with every read done that fits it and stands next for its client."""
    moved = list(places)
    for i, own in enumerate(clients):
        place = places[i]
        while (head := own[place]) and head[1] and model.step(state, head[0]) is not ILLEGAL:
            place += 1
        moved[i] = place
    return state, tuple(moved)
