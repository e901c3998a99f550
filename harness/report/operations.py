"""The operations of a history as columns, including failed and unanswered ones.

This reader refuses nothing: a completion without an invocation is skipped, and histories that a
checker would reject can still be viewed. Times are microseconds from the run's start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from harness.report.columns import Encoded, Names, Texts, encode_numbers
from histories.events import NEMESIS, Event

OK, MISMATCH, FAIL, INFO, OPEN = range(5)
OUTCOMES: Final = ("ok", "mismatch", "fail", "info", "open")
"""How an operation ended; `mismatch` is a compare-and-set that found another value, `open` one
that had not ended when the history did."""


@dataclass
class Operations:
    """One entry per invocation, in the order of the history.

    `calls` and `returns` are positions of events in the history, from 0; an operation without a
    completion has the position 0 as its return. `start_us` and `end_us` are times; the end of an
    operation without a completion is that of the history.
    """

    texts: Texts
    functions: Names = field(default_factory=Names)
    keys: Names = field(default_factory=Names)
    errors: Names = field(default_factory=Names)
    start_us: list[int] = field(default_factory=list)
    end_us: list[int] = field(default_factory=list)
    outcome: list[int] = field(default_factory=list)
    process: list[int] = field(default_factory=list)
    function: list[int] = field(default_factory=list)
    key: list[int] = field(default_factory=list)
    node: list[int] = field(default_factory=list)
    value: list[int] = field(default_factory=list)
    result: list[int] = field(default_factory=list)
    error: list[int] = field(default_factory=list)
    seq: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    returns: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.start_us)

    def latency_us(self, number: int) -> int:
        return self.end_us[number] - self.start_us[number]

    def encode(self) -> dict[str, Encoded]:
        """Every column, for the page."""
        spans = [end - start for start, end in zip(self.start_us, self.end_us, strict=True)]
        columns = {
            name: encode_numbers(getattr(self, name))
            for name in (
                "outcome",
                "process",
                "function",
                "key",
                "node",
                "value",
                "result",
                "error",
                "seq",
                "returns",
            )
        }
        columns["start_us"] = encode_numbers(self.start_us, rising=True)
        columns["calls"] = encode_numbers(self.calls, rising=True)
        columns["span_us"] = encode_numbers(spans)
        return columns


def operations_of(events: Iterable[Event], texts: Texts) -> Operations:
    """Pair invocations with completions."""
    found = Operations(texts)
    under_way: dict[int | str, int] = {}
    last_us = 0
    for position, event in enumerate(events):
        at_us = event.time // 1000
        last_us = at_us
        if event.process == NEMESIS:
            continue
        if event.type == "invoke":
            under_way[event.process] = len(found)
            _begin(found, event, position, at_us)
            continue
        number = under_way.pop(event.process, None)
        if number is not None:
            _end(found, number, event, position, at_us)
    for number in under_way.values():
        found.end_us[number] = last_us
    return found


def _begin(found: Operations, event: Event, position: int, at_us: int) -> None:
    extra = event.extra
    found.start_us.append(at_us)
    found.end_us.append(at_us)
    found.outcome.append(OPEN)
    found.process.append(_count(event.process))
    found.function.append(found.functions.number(event.f))
    found.key.append(0 if event.key is None else found.keys.number(str(event.key)))
    found.node.append(_count(event.node))
    found.value.append(0 if event.value is None else found.texts.of_json(event.value))
    found.result.append(0)
    found.error.append(0)
    found.seq.append(_count(extra.get("seq")) if extra else 0)
    found.calls.append(position)
    found.returns.append(0)


def _end(found: Operations, number: int, event: Event, position: int, at_us: int) -> None:
    mismatch = event.type == "fail" and event.error == "mismatch"
    found.end_us[number] = at_us
    found.returns[number] = position
    found.node[number] = _count(event.node) or found.node[number]
    if event.type == "ok":
        found.outcome[number] = OK
        seen: Any = event.observed if event.has_observed else event.value
        told = found.texts.of_json(seen)
        # A write's completion repeats its argument, which is not a result.
        found.result[number] = 0 if told == found.value[number] else told
        return
    found.outcome[number] = MISMATCH if mismatch else FAIL if event.type == "fail" else INFO
    if event.has_observed:
        found.result[number] = found.texts.of_json(event.observed)
    if event.error is not None and not mismatch:
        found.error[number] = found.errors.number(str(event.error))


def _count(value: Any) -> int:
    """A number that a column can hold; anything else counts as "not known"."""
    return value if value.__class__ is int and 0 <= value < 1 << 53 else 0
