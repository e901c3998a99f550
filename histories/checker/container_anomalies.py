"""Names and descriptions of the anomalies of queues, stacks, sets, logs, counters and locks."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from histories.checker.descriptions import described, seconds, shown
from histories.checker.lock_anomalies import LOCKS, recognise_lock
from histories.models import Model
from histories.models.set import answered
from histories.operations import Bool, Operation, elements_of

Finding = tuple[str, str]
Operations = Sequence[Operation]


def recognise(model: Model, part: Operations, whole: Operations) -> Finding | None:
    """The anomaly in an unorderable part of such an object's history, where one is recognised."""
    if model.name in ("queue", "stack", "unordered-queue", "priority-queue"):
        return _taken(part, whole)
    if model.name == "set":
        return _members(part, whole)
    if model.name == "counter":
        return _count(part) if model.initial() == 0 else None
    if model.name in LOCKS:
        return recognise_lock(model, part)
    if model.name == "unique-ids":
        return _same_id(part)
    return None


def _same_id(part: Operations) -> Finding | None:
    given: dict[Any, Operation] = {}
    for op in part:
        first = given.setdefault(op.result, op) if op.seen else op
        if first is not op:
            return (
                "same-id",
                f"client {op.process} was given the id {shown(op.result)} at "
                f"{seconds(op.ret_ns)}, which client {first.process} had been given at "
                f"{seconds(first.ret_ns)}",
            )
    return None


def _taken(part: Operations, whole: Operations) -> Finding | None:
    puts = ("enqueue", "push", "insert", "add")
    takers: dict[Any, Operation] = {}
    for op in part:
        if op.f in puts or op.f == "drain" or not op.seen or op.result is None:
            continue
        put = [w for w in whole if w.f in puts and w.value == op.result]
        if not put:
            return "unwritten-value", f"{described(op)}, which nobody had ever put in"
        if all(w.call > op.ret for w in put):
            return "future-read", f"{described(op)}, before anybody had begun to put it in"
        if op.result in takers and len(put) == 1:
            first = takers[op.result]
            return (
                "taken-twice",
                f"{shown(op.result)} was put in once and taken twice: {described(first)}, and "
                f"{described(op)}",
            )
        takers[op.result] = op
    for op in part:
        if op.f in puts or not op.seen or op.result is not None:
            continue
        there = [w for w in part if w.f in puts and w.ret < op.call]
        left = [w for w in there if w.value not in takers or takers[w.value].call > op.ret]
        lost = any(w.f not in puts and not w.seen for w in whole)
        if left and not lost:
            return (
                "lost-element",
                f"{described(op)}: it found nothing, although {shown(left[0].value)} had been put "
                f"in by client {left[0].process} at {seconds(left[0].ret_ns)} and not been taken",
            )
    return None


def _members(part: Operations, whole: Operations) -> Finding | None:
    if found := _untrue_answer(part, whole):
        return found
    removed = {op.value for op in whole if op.f == "remove"}
    added = {op.value for op in whole if op.f == "add"}
    for op in part:
        if not op.seen or op.f not in ("read", "contains"):
            continue
        has: Any = elements_of(op.result) if op.f == "read" else ()
        if has is None:
            continue
        if op.f == "contains" and op.result is Bool.TRUE:
            has = (op.value,)
        for value in has:
            if value not in added:
                return (
                    "unwritten-value",
                    f"{described(op)}, though nobody ever added {shown(value)}",
                )
        for add in part:
            asked = op.f == "read" or op.value == add.value
            sure = add.f == "add" and add.outcome == "ok" and add.ret < op.call
            if asked and sure and add.value not in removed and add.value not in has:
                return (
                    "lost-element",
                    f"{described(op)}, without {shown(add.value)}, which had been acknowledged to "
                    f"client {add.process} at {seconds(add.ret_ns)} and which nobody removed",
                )
    return None


def _untrue_answer(part: Operations, whole: Operations) -> Finding | None:
    """An add that answers that its element was present, or a remove that it was not."""
    for op in part:
        if op.f not in ("add", "remove") or not answered(op):
            continue
        others = [o for o in whole if o.value == op.value and o.call != op.call]
        if (op.f == "add" and op.result is Bool.FALSE) or (
            op.f == "remove" and op.result is Bool.TRUE
        ):
            if not any(o.f == "add" and o.call < op.ret for o in others):
                return "untrue-answer", f"{described(op)}, though nobody had begun to add it"
        elif op.f == "add" and op.result is Bool.TRUE:
            first = [o for o in others if o.f == "add" and o.outcome == "ok" and o.ret < op.call]
            if first and not any(o.f == "remove" for o in others):
                return (
                    "untrue-answer",
                    f"{described(op)}, though it had been added for client {first[0].process} at "
                    f"{seconds(first[0].ret_ns)}, and nobody removed it",
                )
    return None


def _count(part: Operations) -> Finding | None:
    """Only called with a part that has all additions: counters are not cut down."""
    for op in part:
        if op.f != "read" or not op.seen:
            continue
        changes = [(w, _amount(w)) for w in part if w.f != "read"]
        begun = sum(n for w, n in changes if n > 0 and w.call < op.ret)
        if all(n > 0 for _, n in changes) and isinstance(op.result, int) and op.result > begun:
            twice = ", as if one had been applied twice" if begun else ""
            return (
                "double-apply" if begun else "unwritten-value",
                f"{described(op)}, more than the {begun} that all additions begun until then add "
                f"up to{twice}",
            )
        done = sum(n for w, n in changes if w.outcome == "ok" and w.ret < op.call)
        if all(n > 0 for _, n in changes) and isinstance(op.result, int) and op.result < done:
            return (
                "lost-update",
                f"{described(op)}, less than the {done} that were acknowledged before it began",
            )
    return None


def _amount(op: Operation) -> int:
    amount = 1 if op.value is None else int(op.value)
    return -amount if op.f == "dec" else amount


def recognise_lists(part: Operations, whole: Operations) -> Finding | None:
    """Logs and lists that are appended to: an element twice, missing, or in two orders."""
    appends = [op for op in whole if op.f == "append"]
    if not appends or any(op.f in ("write", "put", "cas") for op in whole):
        return None
    reads = [
        op._replace(result=held)
        for op in part
        if op.f in ("read", "get") and op.seen and (held := elements_of(op.result)) is not None
    ]
    for op in reads:
        if found := _holds_too_much(op, appends) or _lacks(op, part) or _reordered(op, part):
            return found
    for a, b in itertools.combinations(reads, 2):
        short, long = sorted((a, b), key=lambda op: len(op.result))
        if long.result[: len(short.result)] != short.result:
            return "different-orders", f"{described(a)}, {described(b)}: neither begins the other"
        if a.ret < b.call and len(b.result) < len(a.result):
            return "backward-read", f"{described(b)}, although {described(a)}"
    return None


def _holds_too_much(op: Operation, appends: Operations) -> Finding | None:
    begun = Counter(a.value for a in appends if a.call < op.ret)
    for value, times in Counter(op.result).items():
        if not begun[value]:
            return "unwritten-value", f"{described(op)}, but {shown(value)} was not appended yet"
        if times > begun[value]:
            return (
                "double-apply",
                f"{described(op)}: it holds {shown(value)} more often than it was appended",
            )
    return None


def _lacks(op: Operation, part: Operations) -> Finding | None:
    for add in part:
        sure = add.f == "append" and add.outcome == "ok" and add.ret < op.call
        if sure and add.value not in op.result:
            return (
                "lost-element",
                f"{described(op)}, without {shown(add.value)}, whose append had been "
                f"acknowledged to client {add.process} at {seconds(add.ret_ns)}",
            )
    return None


def _reordered(op: Operation, part: Operations) -> Finding | None:
    """Elements in another order than their appends, where each occurs once."""
    place = {value: i for i, value in enumerate(op.result)}
    adds = sorted((a for a in part if a.f == "append" and a.value in place), key=lambda a: a.call)
    if len({a.value for a in adds}) < len(adds):
        return None
    for first, then in itertools.combinations(adds, 2):
        if first.ret < then.call and place[first.value] > place[then.value]:
            return (
                "different-orders",
                f"{described(op)}: {shown(then.value)} before {shown(first.value)}, whose append "
                f"had been acknowledged to client {first.process} at {seconds(first.ret_ns)}, "
                f"before that of {shown(then.value)} began",
            )
    return None
