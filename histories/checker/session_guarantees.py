"""Which session guarantees a history breaks, for which client, and how often.

Terry and others ("Session guarantees for weakly consistent replicated data", 1994): a client reads
its own writes, its reads do not go back, its writes are seen in their order, and what it wrote
after reading something is not seen without that.

Versions of a register are ordered by what is certain: a value is older than another one if its
write had returned before the other's was called; the initial value is older than all. Only values
that were written once are considered. Of sets, logs and queues, only elements are considered that
were put in once and never taken out, or whose taker is known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from histories.budget import UNLIMITED, Budget
from histories.checker.descriptions import READS, described, name_of, seconds, shown, wrote
from histories.models import Model
from histories.operations import NEVER, Bool, Operation, elements_of

GUARANTEES: Final = (
    "read your writes",
    "monotonic reads",
    "monotonic writes",
    "writes follow reads",
)
LOOK: Final = 16
"""The budget is checked every LOOK operations."""
STEPS_MAX: Final = 2_000_000
"""How many elements of reads are examined in all; later ones are skipped."""
Broken = dict[str, list[str]]


class _Version(NamedTuple):
    """The write of a value: its client, and its positions in the history."""

    process: int | str
    call: int
    ret: int


def session_guarantees(
    model: Model, operations: Sequence[Operation], budget: Budget = UNLIMITED
) -> tuple[str, ...]:
    """One line for each guarantee that was broken: the first time, for which client, how often."""
    look = _LOOKS.get(model.name)
    if look is None:
        return ()
    broken = look(model, operations, budget)
    lines = []
    for guarantee in GUARANTEES:
        found = broken[guarantee]
        if found:
            more = f" ({len(found)} times)" if len(found) > 1 else ""
            lines.append(f"{guarantee} broken{more}: {found[0]}")
    return tuple(lines)


def _of_register(model: Model, operations: Sequence[Operation], budget: Budget) -> Broken:
    if any(op.f == "append" for op in operations):
        return _of_elements(model, operations, budget)
    return _Sessions(model, operations, budget).broken


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


class _Members:
    """Sets and lists of elements that are put in once and stay: what each client must see."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        puts = [op for op in operations if op.f in ("add", "append")]
        times = Counter(op.value for op in puts)
        gone = {op.value for op in operations if op.f == "remove"}
        self.puts = {op.value: op for op in puts if times[op.value] == 1 and op.value not in gone}
        self.broken: Broken = {guarantee: [] for guarantee in GUARANTEES}
        self.own: dict[Any, dict[Any, None]] = {}  # what each client put in
        self.seen: dict[Any, dict[Any, None]] = {}  # what each client saw
        self.before: dict[Any, tuple[int, int]] = {}  # how much of both there was before each put
        self.steps = 0

    def put(self, op: Operation) -> None:
        own, seen = self.own.setdefault(op.process, {}), self.seen.get(op.process, {})
        if op.value in self.puts:
            self.before[op.value] = (len(own), len(seen))
            if op.outcome == "ok":
                own[op.value] = None

    def read(self, op: Operation, elements: frozenset[Any]) -> None:
        """A read of all the elements."""
        own, seen = self.own.get(op.process, {}), self.seen.setdefault(op.process, {})
        self.steps += len(elements) + len(own) + len(seen)
        self._without("read your writes", op, own, elements, "it had put in itself")
        self._without("monotonic reads", op, seen, elements, "it had seen")
        for value in elements:
            put = self.puts.get(value)
            if put is None or value not in self.before or self.steps > STEPS_MAX:
                continue
            wrote_before, saw_before = self.before[value]
            writer = put.process
            earlier = list(self.own.get(writer, {}))[:wrote_before]
            known = list(self.seen.get(writer, {}))[:saw_before]
            self.steps += len(earlier) + len(known)
            how = f"client {writer} had put in before {shown(value)}, which it saw"
            self._without("monotonic writes", op, earlier, elements, how)
            how = f"client {writer} had seen before it put in {shown(value)}, which it saw"
            self._without("writes follow reads", op, known, elements, how)
        seen.update(dict.fromkeys(value for value in elements if value in self.puts))

    def _without(
        self, guarantee: str, op: Operation, needed: Any, elements: frozenset[Any], how: str
    ) -> None:
        missing = next((value for value in needed if value not in elements), None)
        if missing is not None:
            self.broken[guarantee].append(f"{described(op)}, without {shown(missing)}, which {how}")


def _of_elements(model: Model, operations: Sequence[Operation], budget: Budget) -> Broken:
    members = _Members(operations)
    for number, op in enumerate(sorted(operations, key=lambda op: op.ret), 1):
        if number % LOOK == 0:
            budget.check()
        if members.steps > STEPS_MAX:
            break
        if op.f in ("add", "append"):
            members.put(op)
        elif op.f in READS and op.seen:
            held = op.result if isinstance(op.result, frozenset) else elements_of(op.result)
            if held is not None:
                members.read(op, frozenset(held))
        elif op.f == "contains" and op.seen and op.ret != NEVER:
            own, seen = members.own.get(op.process, {}), members.seen.setdefault(op.process, {})
            if op.result is Bool.TRUE and op.value in members.puts:
                seen[op.value] = None
            for guarantee, known in (("read your writes", own), ("monotonic reads", seen)):
                if op.result is Bool.FALSE and op.value in known:
                    how = "had put it in" if guarantee == "read your writes" else "had seen it"
                    members.broken[guarantee].append(f"{described(op)}, after it {how}")
    return members.broken


def _of_queue(model: Model, operations: Sequence[Operation], budget: Budget) -> Broken:
    """A queue was empty for a client that had put in an element that was never taken; or one taker
    got the elements of one client in another order than they were put in."""
    broken: Broken = {guarantee: [] for guarantee in GUARANTEES}
    puts = [op for op in operations if op.f == "enqueue"]
    times = Counter(op.value for op in puts)
    put_by = {op.value: op for op in puts if times[op.value] == 1}
    unsure = any(op.f in ("dequeue", "drain") and not op.seen for op in operations)
    taken = {op.result: op for op in operations if op.f == "dequeue" and op.seen}
    drained = any(op.f == "drain" for op in operations)
    latest: dict[tuple[Any, Any], Operation] = {}  # by taker and by producer
    left: dict[Any, dict[Any, None]] = {}  # what each client put in that was never taken
    for number, op in enumerate(sorted(operations, key=lambda op: op.ret), 1):
        if number % LOOK == 0:
            budget.check()
        if op.f == "enqueue" and op.outcome == "ok" and op.value not in taken:
            left.setdefault(op.process, {})[op.value] = None
        if op.f != "dequeue" or not op.seen:
            continue
        mine = next(iter(left.get(op.process, {})), None)
        if op.result is None and mine is not None and not (unsure or drained):
            broken["read your writes"].append(
                f"{described(op)}, after it had put in {shown(mine)}, which nobody ever took"
            )
        put = put_by.get(op.result)
        if put is None or model.name != "queue":
            continue
        before = latest.get((op.process, put.process))
        if before is not None and put.ret < before.call:
            broken["monotonic writes"].append(
                f"{described(op)}, after {shown(before.value)}, which client {put.process} had put "
                f"in later"
            )
        latest[op.process, put.process] = put
    return broken


_LOOKS: Final[dict[str, Callable[[Model, Sequence[Operation], Budget], Broken]]] = {
    "register": _of_register,
    "cas-register": _of_register,
    "kv": _of_register,
    "set": _of_elements,
    "log": _of_elements,
    "queue": _of_queue,
    "unordered-queue": _of_queue,
}
