"""A shortcut for the simulator: the replicas' own log is often a proof of linearizability.

A history is linearizable when *some* order of its operations explains it and respects real time.
Where a replicated log decided the writes, the log gives the order in which they took effect; and as
every written value is unique, the result of a read determines between which two writes it comes. So
there is one candidate, and this file tries it, in one pass: it applies the log to an empty store,
compares every result with the client's answer, inserts the reads, and compares the order with real
time, key by key (linearizability is local). If everything agrees, that order is a proof, and no
search is needed. Otherwise the checker decides.

So the log is never trusted: it only suggests an order, which is verified completely. The same pass
compares the replicas' logs with one another and looks for acknowledged writes, as the agreement
detector would; that detector runs, too, whenever something does not agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from histories.events import NEMESIS, Event

NEVER: Final = 1 << 62
Name = tuple[int, int]
Log = Sequence[tuple[Any, ...]]
"""What one node decided, in its order: (slot, ballot, commands)."""


def log_explains(
    decided: Mapping[int, Log], lives: Mapping[int, Sequence[int]], events: Sequence[Event]
) -> bool:
    """Whether the nodes' logs agree, and their common order explains what the clients saw.

    `lives` gives, for each node, where in its log each of its lives began. False means that this
    proof failed, not that anything is wrong.
    """
    order = common_log(decided, lives)
    return order is not None and _explained(order, events)


def common_log(
    decided: Mapping[int, Log], lives: Mapping[int, Sequence[int]]
) -> list[tuple[Any, ...]] | None:
    """The log that all nodes agree on, slots 1, 2, 3, … without a hole; else None."""
    chosen: dict[Any, Any] = {}
    for node, log in decided.items():
        starts = set(lives[node])
        last: Any = None
        for i, (slot, _, commands) in enumerate(log):
            known = chosen.get(slot)
            if known is None:
                chosen[slot] = commands
            elif known is not commands and known != commands:
                return None
            if slot.__class__ is not int:
                return None
            if last is not None and slot <= last and i not in starts:
                return None
            last = slot
    if not chosen or len(chosen) != max(chosen):
        return None
    return [chosen[slot] for slot in range(1, len(chosen) + 1)]


OPERATIONS: Final = frozenset(("read", "write", "cas"))
WRITE, READ = 0, 1


class _Operation:
    """One command in the history: the positions of its call and return, and its arguments.
    `returned` is NEVER without an answer, and -1 for a command that certainly did not happen."""

    __slots__ = ("asked", "call", "placed", "returned")

    def __init__(self, call: int, asked: tuple[str, str | None, Any]) -> None:
        self.call = call
        self.asked = asked
        self.returned = NEVER
        self.placed = False


Placed = tuple[int, int, int, int]
"""(number of the write, WRITE or READ, call, return): sorts into the candidate order of a key."""


class _Key:
    """One key while the log is applied: its value, and the values of its writes."""

    __slots__ = ("order", "value", "writes")

    def __init__(self) -> None:
        self.value: Any = None
        self.writes: dict[Any, int] = {None: 0}
        self.order: list[Placed] = []


def _explained(order: Sequence[tuple[Any, ...]], events: Sequence[Event]) -> bool:
    history = _History()
    if not history.read(events) or not history.apply(order):
        return False
    return history.place_reads() and all(_in_real_time(key.order) for key in history.keys.values())


class _History:
    """The operations of a history, as far as this proof can handle them."""

    def __init__(self) -> None:
        self.commands: dict[Name, _Operation] = {}
        self.reads: list[tuple[str | None, Any, int, int]] = []
        self.keys: dict[str | None, _Key] = {}

    def read(self, events: Sequence[Event]) -> bool:
        """Pair invocations with completions; False where the history has something else."""
        under_way: dict[int | str, _Operation] = {}
        for position, event in enumerate(events):
            _, _, process, kind, f, key, value, _, error, observed, has_observed, extra = event
            if process == NEMESIS:
                continue
            if kind == "invoke":
                if not extra or f not in OPERATIONS:
                    return False
                operation = _Operation(position, (f, key, value))
                under_way[process] = self.commands[extra["client"], extra["seq"]] = operation
                continue
            operation = under_way.pop(process)
            if kind == "ok":
                operation.returned = position
                if f == "read":
                    self.reads.append((key, value, operation.call, position))
            elif error == "mismatch":
                if not has_observed or observed == operation.asked[2][0]:
                    return False
                operation.returned = position
                operation.placed = True  # it wrote nothing: it is a read of what it saw
                self.reads.append((key, observed, operation.call, position))
            elif kind == "fail":
                operation.returned = -1
        return True

    def apply(self, order: Sequence[tuple[Any, ...]]) -> bool:
        """Apply the log's writes, each command once; False where a client got another answer."""
        commands, keys = self.commands, self.keys
        for decided in order:
            for client, seq, f, key, value in decided:
                if client == 0 or f == "read":
                    continue
                operation = commands.get((client, seq))
                if operation is None or operation.asked != (f, key, value):
                    return False
                if operation.placed:
                    continue  # a retry, or a compare-and-set that was answered as a mismatch
                if operation.returned == -1:
                    return False  # it should not have happened
                state = keys.get(key)
                if state is None:
                    state = keys[key] = _Key()
                if f == "cas" and state.value != value[0]:
                    if operation.returned != NEVER:
                        return False
                    operation.placed = True
                    continue
                written = value[1] if f == "cas" else value
                if written.__class__ is not int or written in state.writes:
                    return False  # a value written twice: the position of reads is ambiguous
                operation.placed = True
                state.value = written
                number = state.writes[written] = len(state.writes)
                state.order.append((number, WRITE, operation.call, operation.returned))
        return all(
            o.placed or o.returned in (NEVER, -1) or o.asked[0] == "read" for o in commands.values()
        )

    def place_reads(self) -> bool:
        """Insert every read after the write that it saw; False if there is none."""
        for key, value, call, returned in self.reads:
            state = self.keys.get(key)
            if state is None:
                state = self.keys[key] = _Key()
            if value is not None and value.__class__ is not int:
                return False
            number = state.writes.get(value)
            if number is None:
                return False
            state.order.append((number, READ, call, returned))
        return True


def _in_real_time(order: list[Placed]) -> bool:
    """Whether in sorted order no operation comes after one that was called after its return."""
    order.sort()
    latest_call = -1
    for _, _, call, returned in order:
        if returned < latest_call:
            return False
        latest_call = max(latest_call, call)
    return True
