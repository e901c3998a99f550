"""The name of an anomaly and one sentence that describes it, for an unorderable part of a history.

A rule claims only what it has checked: that nobody wrote a value again, for instance, is claimed
only where every operation that could have is known and had ended. A part that no rule recognises
is still evidence; its sentence then says only that no order explains it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from histories.budget import UNLIMITED, Budget, LimitReached
from histories.checker import container_anomalies
from histories.checker.descriptions import described, left, name_of, saw, seconds, shown, wrote
from histories.checker.string_anomalies import recognise_strings, with_empty_strings
from histories.checker.verdict import Evidence
from histories.models import Model
from histories.operations import NEVER, Operation

Finding = tuple[str, str]


PAIRS_MAX = 1_000
"""In a part of more operations, rules that compare pairs of operations are skipped."""
LOOK = 256


@dataclass(frozen=True)
class Case:
    """The input of a rule: the part, and all writes of the partition to what it is about."""

    model: Model
    part: Sequence[Operation]
    whole: Sequence[Operation]
    failed_writes: frozenset[tuple[str | None, object]]
    budget: Budget = UNLIMITED
    ticks: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @property
    def initial(self) -> Any:
        """What it holds at first; a string that is missing reads as the empty one."""
        held = self.model.initial()
        return "" if held is None and self.model.name == "string-map" else held

    @cached_property
    def _writers(self) -> dict[Any, list[Operation]]:
        found: dict[Any, list[Operation]] = {}
        for op in self.whole:
            for value in wrote(op):
                found.setdefault(value, []).append(op)
        return found

    @cached_property
    def shows(self) -> list[tuple[Operation, Any]]:
        """The operations of the part that show what the register held after them, ordered by their
        returns."""
        shows = [(op, value) for op in self.part for value in left(op)]
        return sorted(shows, key=lambda item: item[0].ret)

    @cached_property
    def steps(self) -> dict[Any, list[Any]]:
        """The values that compare-and-sets of the part wrote, by the value that they expected."""
        found: dict[Any, list[Any]] = {}
        for op in self.part:
            if op.f == "cas" and wrote(op):
                for value in saw(op):
                    found.setdefault(value, []).append(op.value[1])
        return found

    def tick(self) -> None:
        """One step of a rule. Raises LimitReached."""
        if next(self.ticks) % LOOK == 0:
            self.budget.check()

    def writers(self, value: Any) -> list[Operation]:
        return self._writers.get(value, [])

    def written_once(self, value: Any) -> bool:
        return len(self.writers(value)) + int(value == self.initial) == 1


def describe(
    model: Model,
    part: Sequence[Operation],
    whole: Sequence[Operation],
    failed_writes: frozenset[tuple[str | None, object]],
    budget: Budget = UNLIMITED,
    minimal: bool = False,
    left_out: int = 0,
) -> Evidence:
    """Name what is wrong with `part`, which cannot be ordered. `whole` is the partition, or all in
    it that writes what the part is about. `left_out` elements are not shown of the part's lists.
    Where the budget is used up, the sentence says only that no order explains the part."""
    try:
        anomaly, sentence = _recognised(Case(model, part, whole, failed_writes, budget))
    except LimitReached:
        anomaly, sentence = _nameless(part)
    if left_out:
        others = "one other element is" if left_out == 1 else f"{left_out} other elements are"
        sentence = f"{sentence} ({others} left out of the lists)"
    return Evidence(
        anomaly=anomaly,
        sentence=sentence,
        operations=tuple(op._replace(id=i) for i, op in enumerate(part)),
        minimal=minimal,
    )


def _recognised(case: Case) -> Finding:
    grows = any(op.f == "append" for op in case.whole)
    if case.model.name == "string-map":
        if (
            grows
            and len(case.part) <= PAIRS_MAX
            and (found := recognise_strings(case.model, case.part))
        ):
            return found
        part, whole = with_empty_strings(case.part), with_empty_strings(case.whole)
        case = replace(case, part=part, whole=whole)
    if case.model.name in ("register", "cas-register", "kv", "string-map"):
        if not grows:
            for rule in REGISTER_RULES:
                case.budget.check()
                if found := rule(case):
                    return found
    elif len(case.part) > PAIRS_MAX:
        return _nameless(case.part)
    elif found := container_anomalies.recognise(case.model, case.part, case.whole):
        return found
    if found := container_anomalies.recognise_lists(case.part, case.whole):
        return found
    return _nameless(case.part)


def _nameless(part: Sequence[Operation]) -> Finding:
    last = max(part, key=lambda op: op.ret if op.ret != NEVER else -1)
    others = "this operation" if len(part) == 1 else f"these {len(part)} operations"
    return (
        "not-linearizable",
        f"no order of {others} explains what was answered; the last of them: {described(last)}",
    )


def _contradiction(case: Case) -> Finding | None:
    """A compare-and-set that failed and says that it found what it expected."""
    for op in case.part:
        if op.outcome == "mismatch" and op.seen and op.result == op.value[0]:
            return "contradiction", f"{described(op)}, which is the value that it expected"
    return None


def _unwritten(case: Case) -> Finding | None:
    """A value that nobody wrote, or only a write that failed, or that nobody had begun to write."""
    for op in case.part:
        for value in saw(op):
            if value == case.initial:
                continue
            writers = case.writers(value)
            if not writers and (op.key, value) in case.failed_writes:
                return "dirty-read", f"{described(op)}, although the only write of it had failed"
            if not writers:
                return "unwritten-value", f"{described(op)}, which nobody had ever written"
            if all(w.call > op.ret for w in writers):
                first = min(writers, key=lambda w: w.call)
                return (
                    "future-read",
                    f"{described(op)}, before anybody had begun to write it (client "
                    f"{first.process} did at {seconds(first.call_ns)})",
                )
    return None


def _double_cas(case: Case) -> Finding | None:
    """Two compare-and-sets succeeded from a value that was there only once."""
    won = [op for op in case.part if op.f == "cas" and op.outcome == "ok"]
    for i, a in enumerate(won):
        for b in won[i + 1 :]:
            case.tick()
            value = a.value[0]
            if (
                b.value[0] == value
                and case.written_once(value)
                and value not in (a.value[1], b.value[1])
            ):
                return (
                    "lost-update",
                    f"clients {a.process} and {b.process} were both told that they had set "
                    f"{name_of(a)} from {shown(value)} (to {shown(a.value[1])} at "
                    f"{seconds(a.ret_ns)}, to {shown(b.value[1])} at {seconds(b.ret_ns)}), but "
                    f"{shown(value)} was written only once",
                )
    return None


def _stale(case: Case) -> Finding | None:
    """A value was seen after another one had overwritten it, and it was not written again."""
    for late in sorted(case.part, key=lambda op: op.call, reverse=True):
        for value in saw(late):
            for between, other in _replacements(case, late, value):
                return _stale_words(case, late, value, between, other)
    return None


def _stale_words(
    case: Case, late: Operation, value: Any, between: Operation, other: Any
) -> Finding:
    is_write = bool(wrote(between))
    how = "acknowledged to" if is_write else "seen by"
    anomaly = "stale-read" if is_write else "backward-read"
    if late.f == "cas" and late.outcome == "ok":
        anomaly = "lost-update"
    again = "" if case.writers(value) else f", and nobody wrote {shown(value)}"
    again = again or f" and nobody wrote {shown(value)} again"
    return (
        anomaly,
        f"{described(late)}, although {name_of(late)}={shown(other)} had been {how} client "
        f"{between.process} at {seconds(between.ret_ns)}{again}",
    )


def _replacements(case: Case, late: Operation, value: Any) -> Iterator[tuple[Operation, Any]]:
    """Operations that ended before `late` began and show another value, when `value` had been
    there and could not come back."""
    writers = case.writers(value)
    settled = [-1 if not writers else max(w.ret for w in writers)]
    if case.written_once(value):
        # A value that was seen had been written by then, whenever its write returned.
        settled += [op.ret for op in case.part if value in (*saw(op), *left(op))]
    since = min(settled)
    for op, other in case.shows:
        case.tick()
        if op.ret > late.call:
            break
        if other == value:
            continue
        if op.call > since or _follows(case, value, other):
            yield op, other


def _follows(case: Case, value: Any, other: Any) -> bool:
    """Whether a chain of compare-and-sets that happened leads from `value` to `other`."""
    passed = set()
    while case.written_once(value) and value not in passed:
        passed.add(value)
        case.tick()
        steps = case.steps.get(value, [])
        if other in steps:
            return case.written_once(other)
        if len(steps) != 1:
            return False
        value = steps[0]
    return False


def _crossed(case: Case) -> Finding | None:
    """Two values that were each seen after the other, though both were written once."""
    ends: dict[Any, Operation] = {}  # by value: the first return and the last call
    begins: dict[Any, Operation] = {}
    for op, value in case.shows:
        if case.written_once(value):
            ends.setdefault(value, op)
            if value not in begins or begins[value].call < op.call:
                begins[value] = op
    for a, b in itertools.combinations(ends, 2):
        case.tick()
        if ends[a].ret < begins[b].call and ends[b].ret < begins[a].call:
            return (
                "backward-read",
                f"{described(ends[a])} before {described(begins[b])}, but {described(ends[b])} "
                f"before {described(begins[a])}, and both values were written only once",
            )
    return None


REGISTER_RULES: tuple[Callable[[Case], Finding | None], ...] = (
    _contradiction,
    _unwritten,
    _double_cas,
    _stale,
    _crossed,
)
