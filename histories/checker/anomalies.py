"""The name of an anomaly and one sentence in plain words, for an unorderable part of a history.

A rule claims only what it has looked up: that nobody wrote a value again, for instance, is said
only where every operation that could have is known and had ended. A part that no rule recognises
is still evidence; its sentence then says no more than that no order explains it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from histories.checker import container_anomalies
from histories.checker.descriptions import described, left, name_of, saw, seconds, shown, wrote
from histories.checker.string_anomalies import recognise_strings, with_empty_strings
from histories.checker.verdict import Evidence
from histories.models import Model
from histories.operations import NEVER, Operation

Finding = tuple[str, str]


class Case(NamedTuple):
    """What a rule looks at: the part, and all of the partition that writes what it is about."""

    model: Model
    part: Sequence[Operation]
    whole: Sequence[Operation]
    failed_writes: frozenset[tuple[str | None, object]]

    @property
    def initial(self) -> Any:
        """What it holds at first; a string that is missing reads as the empty one."""
        held = self.model.initial()
        return "" if held is None and self.model.name == "string-map" else held

    def writers(self, value: Any) -> list[Operation]:
        return [op for op in self.whole if wrote(op) == (value,)]

    def written_once(self, value: Any) -> bool:
        return len(self.writers(value)) + int(value == self.initial) == 1


def describe(
    model: Model,
    part: Sequence[Operation],
    whole: Sequence[Operation],
    failed_writes: frozenset[tuple[str | None, object]],
    minimal: bool = False,
    left_out: int = 0,
) -> Evidence:
    """Name what is wrong with `part`, which cannot be ordered. `whole` is the partition, or all in
    it that writes what the part is about. `left_out` elements are not shown of the part's lists."""
    anomaly, sentence = _recognised(Case(model, part, whole, failed_writes))
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
        if grows and (found := recognise_strings(case.model, case.part)):
            return found
        part, whole = with_empty_strings(case.part), with_empty_strings(case.whole)
        case = case._replace(part=part, whole=whole)
    if case.model.name in ("register", "cas-register", "kv", "string-map"):
        if not grows:
            for rule in REGISTER_RULES:
                if found := rule(case):
                    return found
    elif found := container_anomalies.recognise(case.model, case.part, case.whole):
        return found
    if found := container_anomalies.recognise_lists(case.part, case.whole):
        return found
    last = max(case.part, key=lambda op: op.ret if op.ret != NEVER else -1)
    others = "this operation" if len(case.part) == 1 else f"these {len(case.part)} operations"
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
    """A value was seen after one that had replaced it for good."""
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
        # Seen once, it was written already, however long its writer took.
        settled += [op.ret for op in case.part if value in (*saw(op), *left(op))]
    since = min(settled)
    shows = [(op, value_left) for op in case.part for value_left in left(op)]
    for op, other in sorted(shows, key=lambda item: item[0].ret):
        if other == value or op.ret > late.call:
            continue
        if op.call > since or _follows(case, value, other):
            yield op, other


def _follows(case: Case, value: Any, other: Any) -> bool:
    """Whether a chain of compare-and-sets that happened leads from `value` to `other`."""
    passed = set()
    while case.written_once(value) and value not in passed:
        passed.add(value)
        steps = [
            op.value[1] for op in case.part if op.f == "cas" and saw(op) == (value,) and wrote(op)
        ]
        if other in steps:
            return case.written_once(other)
        if len(steps) != 1:
            return False
        value = steps[0]
    return False


def _crossed(case: Case) -> Finding | None:
    """Two values that were each seen after the other, though both were written once."""
    shows = [(op, v) for op in case.part for v in left(op) if case.written_once(v)]
    for a1, a in shows:
        for b1, b in shows:
            if a == b or not a1.ret < b1.call:
                continue
            for b2, other in shows:
                if other != b:
                    continue
                for a2, again in shows:
                    if again == a and b2.ret < a2.call:
                        return (
                            "backward-read",
                            f"{described(a1)} before {described(b1)}, but {described(b2)} before "
                            f"{described(a2)}, and both values were written only once",
                        )
    return None


REGISTER_RULES: tuple[Callable[[Case], Finding | None], ...] = (
    _contradiction,
    _unwritten,
    _double_cas,
    _stale,
    _crossed,
)
