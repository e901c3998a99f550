"""Where an invalid history fails: the smallest failing part, the longest partial order of its
operations, and what each other operation would have needed.

For every key that failed there are two results:

    in the whole   the longest prefix of the key's events that still has a linearization, by
                   bisection (a failing prefix fails whatever follows), and the operation whose
                   completion ended it
    in the part    the longest order of some of the few operations of the evidence, with the
                   object's state after each, and why none of the others can follow
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from harness.report.operations import Operations
from histories.checker import Verdict, check
from histories.checker.evidence import relaxed
from histories.errors import HistoryError
from histories.events import Event, Json
from histories.models import ILLEGAL, Model, model_named, validate
from histories.operations import NEVER, Operation, pair, thaw

PART_MAX: Final = 14
"""Larger parts are drawn, but without a longest order."""
BISECTED_MAX: Final = 300_000
"""Events of one key; larger ones are not bisected."""
CHECK_LIMIT_S: Final = 5.0


@dataclass(frozen=True, kw_only=True)
class PartialOrder:
    """`order` are numbers of operations of the part, `states` the object's state after each, as
    JSON values; `stuck` explains why each remaining operation that was answered cannot follow."""

    order: tuple[int, ...]
    states: tuple[Json, ...]
    stuck: dict[int, str]


def failing_parts(
    verdict: dict[str, Any], events: Sequence[Event], operations: Operations, model: str
) -> list[dict[str, Json]]:
    """One JSON object per key whose verdict is invalid, ready for the page."""
    parsed = _verdict(verdict)
    if parsed is None:
        return []
    by_call = {call: number for number, call in enumerate(operations.calls)}
    found = []
    for part in parsed.partitions:
        if part.outcome != "invalid":
            continue
        evidence = part.evidence
        shown: dict[str, Json] = part.to_json()
        if evidence is not None:
            shown["numbers"] = [by_call.get(op.call, -1) for op in evidence.operations]
            order = longest_order(evidence.operations, _whole(events, part.key), model)
            if order is not None:
                shown["partial"] = {
                    "order": list(order.order),
                    "states": list(order.states),
                    "stuck": {str(number): why for number, why in order.stuck.items()},
                }
        shown["reach"] = _reach(events, part.key, operations, model)
        found.append(shown)
    return found


def _verdict(document: dict[str, Any]) -> Verdict | None:
    try:
        return Verdict.from_json(document)
    except (KeyError, TypeError, AttributeError):
        return None


def _whole(events: Sequence[Event], key: str | None) -> list[Operation]:
    try:
        return [op for op in pair(events) if op.key == key]
    except HistoryError:
        return []


def longest_order(
    part: Sequence[Operation], whole: Sequence[Operation], model_name: str
) -> PartialOrder | None:
    """The longest order of operations of the part that the model accepts and that respects real
    time; None if the part is too large, the model is unknown, or it has no such operations."""
    if not 0 < len(part) <= PART_MAX:
        return None
    try:
        model = model_named(model_name, None)
        validate(model, [*part, *whole])
        lenient = relaxed(model, part, whole)
    except (HistoryError, ValueError):
        return None
    best = _search(model, lenient)
    states, state = [], model.initial()
    for number in best:
        state = model.step(state, lenient[number])
        states.append(_shown(state))
    left = [n for n in range(len(part)) if n not in best and lenient[n].outcome != "info"]
    stuck = {n: _why(model, state, lenient, n, left) for n in left}
    return PartialOrder(order=tuple(best), states=tuple(states), stuck=stuck)


def _search(model: Model, part: Sequence[Operation]) -> list[int]:
    """Depth-first search, each set of operations and state once."""
    best: list[int] = []
    seen: set[tuple[frozenset[int], Any]] = set()
    waiting: list[tuple[list[int], Any]] = [([], model.initial())]
    while waiting:
        order, state = waiting.pop()
        if len(order) > len(best):
            best = order
        done = frozenset(order)
        if (done, state) in seen:
            continue
        seen.add((done, state))
        for number in _next(part, done):
            after = model.step(state, part[number])
            if after is not ILLEGAL:
                waiting.append(([*order, number], after))
    return best


def _next(part: Sequence[Operation], done: frozenset[int]) -> list[int]:
    """Operations that may come next: no remaining operation had returned before their call."""
    left = [n for n in range(len(part)) if n not in done]
    first_return = min((part[n].ret for n in left), default=NEVER)
    return [n for n in left if part[n].call <= first_return]


def _why(
    model: Model, state: Any, part: Sequence[Operation], number: int, left: Sequence[int]
) -> str:
    before = [n for n in left if part[n].ret < part[number].call]
    if before:
        return "it was called after an operation that cannot be placed had returned"
    if model.step(state, part[number]) is ILLEGAL:
        return f"the state is {_text(state)}, with which it could not have been answered so"
    return "placing it would leave another operation without a place"


def _shown(state: Any) -> Json:
    try:
        return thaw(state)
    except (TypeError, ValueError):
        return str(state)


def _text(state: Any) -> str:
    shown = _shown(state)
    return "empty" if shown is None else str(shown)


def _reach(
    events: Sequence[Event], key: str | None, operations: Operations, model: str
) -> dict[str, Json] | None:
    """How far a linearization of the key's operations gets: {completions, of, number, order}.

    `number` is the operation whose completion no order explains any more, `order` the operations
    before it in an order that explains them, `completions` how many completions that covers.
    """
    named = operations.keys.list()
    numbers = [n for n, k in enumerate(operations.key) if (named[k] if k else None) == key]
    positions = sorted(
        [operations.calls[n] for n in numbers]
        + [operations.returns[n] for n in numbers if operations.returns[n]]
    )
    if not positions or len(positions) > BISECTED_MAX:
        return None
    own = [events[position] for position in positions]
    ends = [i for i, event in enumerate(own) if event.type != "invoke"]
    try:
        reached = _longest_prefix(own, ends, model)
        if reached is None:
            return None
        good, failing = reached
        order = _order(own[:good], model)
    except HistoryError:
        return None
    by_return = {operations.returns[n]: n for n in numbers if operations.returns[n]}
    by_call = {operations.calls[n]: n for n in numbers}
    return {
        "completions": ends.index(failing),
        "of": len(ends),
        "number": by_return.get(positions[failing]),
        "order": [by_call[positions[i]] for i in order][-2_000:],
    }


def _longest_prefix(
    own: Sequence[Event], ends: Sequence[int], model: str
) -> tuple[int, int] | None:
    """(how many events have a linearization, the position of the completion that has none)."""
    low, high = -1, len(ends) - 1
    if _outcome(own[: ends[high] + 1], model) != "invalid":
        return None
    while high - low > 1:
        middle = (low + high) // 2
        outcome = _outcome(own[: ends[middle] + 1], model)
        if outcome == "unknown":
            return None
        low, high = (low, middle) if outcome == "invalid" else (middle, high)
    return ends[high], ends[high]


def _outcome(own: Sequence[Event], model: str) -> str:
    return check(own, model=model, time_limit_s=CHECK_LIMIT_S).outcome


def _order(own: Sequence[Event], model: str) -> tuple[int, ...]:
    if not own:
        return ()
    verdict = check(own, model=model, time_limit_s=CHECK_LIMIT_S, linearization=True)
    return next((p.linearization for p in verdict.partitions if p.linearization), ())


def linearization_points(
    events: Sequence[Event], operations: Operations, model: str, time_limit_s: float
) -> list[int] | None:
    """For every operation, microseconds from its call to its linearization point, plus one; 0 where
    it has none (it failed, or never took effect). None where no order was found in time."""
    try:
        verdict = check(events, model=model, time_limit_s=time_limit_s, linearization=True)
    except HistoryError:
        return None
    if verdict.outcome != "valid":
        return None
    points = [0] * len(operations)
    by_call = {call: number for number, call in enumerate(operations.calls)}
    for part in verdict.partitions:
        now_us = 0
        for call in part.linearization or ():
            number = by_call[call]
            now_us = max(now_us, operations.start_us[number])
            points[number] = now_us - operations.start_us[number] + 1
    return points
