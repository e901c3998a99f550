"""Names and descriptions of the anomalies of locks and semaphores."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

from histories.checker.descriptions import described, seconds, shown
from histories.models import Model
from histories.models._owners import owner_of, token_of
from histories.models.mutex import refused
from histories.operations import Operation

Finding = tuple[str, str]
LOCKS: Final = frozenset(
    (
        "mutex",
        "fenced-lock",
        "owned-mutex",
        "owned-fenced-lock",
        "reentrant-mutex",
        "reentrant-fenced-lock",
        "semaphore",
    )
)


def recognise_lock(model: Model, part: Sequence[Operation]) -> Finding | None:
    """The anomaly in an unorderable part of a lock's history, where one is recognised."""
    if model.name == "semaphore":
        return _too_many(int(model.initial()), part)  # type: ignore[call-overload]
    reentrant, owned = "reentrant" in model.name, model.name not in ("mutex", "fenced-lock")
    got = sorted(
        (op for op in part if op.f == "acquire" and op.outcome == "ok" and not refused(op)),
        key=lambda op: op.ret,
    )
    if owned and (found := _foreign_release(part, got)):
        return found
    for a, b in itertools.pairwise(got):
        same = owned and owner_of(a) == owner_of(b)
        if not (reentrant and same) and not _released_between(part, a, b):
            return "two-holders", f"{described(a)}, and {described(b)}, and nobody had released it"
        tokens = (token_of(a.result), token_of(b.result))
        if a.ret < b.call and _goes_back(tokens, reentrant and same):
            return (
                "token-goes-back",
                f"{described(b)}, although client {a.process} had got {tokens[0]} at "
                f"{seconds(a.ret_ns)}",
            )
    return None


def _released_between(part: Sequence[Operation], a: Operation, b: Operation) -> bool:
    return any(
        op.f == "release" and op.call < b.ret and op.ret > a.call and not refused(op) for op in part
    )


def _goes_back(tokens: tuple[int | None, int | None], may_stay: bool) -> bool:
    before, after = tokens
    if before is None or after is None:
        return False
    return after < before if may_stay else after <= before


def _foreign_release(part: Sequence[Operation], got: Sequence[Operation]) -> Finding | None:
    """A release by a client that had never begun to acquire it."""
    for op in part:
        if op.f != "release" or op.outcome != "ok" or refused(op):
            continue
        mine = any(
            o.f == "acquire" and owner_of(o) == owner_of(op) and o.call < op.ret for o in part
        )
        held = [o for o in got if o.ret < op.call]
        if not mine:
            who = f"; client {held[-1].process} had acquired it" if held else ""
            return "foreign-release", f"{described(op)}, which it had not acquired{who}"
    return None


def _too_many(permits: int, part: Sequence[Operation]) -> Finding | None:
    """More permits certainly held than there are, or more released than can have been acquired."""
    done = [op for op in part if op.outcome == "ok" and not refused(op)]
    for op in sorted(done, key=lambda op: op.ret):
        before = [o for o in done if o.f == "acquire" and (o.ret < op.call or o is op)]
        maybe_back = [o for o in part if o.f == "release" and o.call < op.ret and not refused(o)]
        held = sum(map(_permits, before)) - sum(map(_permits, maybe_back))
        if op.f == "acquire" and held > permits:
            return (
                "too-many-permits",
                f"{described(op)}: then {held} permits were held, of {shown(permits)}",
            )
        taken = [o for o in part if o.f == "acquire" and o.call < op.ret and not refused(o)]
        back = sum(_permits(o) for o in done if o.f == "release" and (o.ret < op.call or o is op))
        if op.f == "release" and back > sum(map(_permits, taken)):
            return "foreign-release", f"{described(op)}, more than anybody had acquired"
    return None


def _permits(op: Operation) -> Any:
    return 1 if op.value is None else op.value
