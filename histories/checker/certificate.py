"""The verifier of certificates, as simple as possible and independent of the code that makes them.

It executes the operations in the order that a checker gave, and checks that the model gives the
same answers, that the order respects real time, and that every operation that happened is in it.
"""

from __future__ import annotations

from collections.abc import Sequence

from histories.checker.verdict import Verdict
from histories.models import ILLEGAL, Model
from histories.operations import Operation


class BadCertificate(Exception):
    """An order that is not a linearization: the checker that gave it is wrong."""


def verify(model: Model, operations: Sequence[Operation], verdict: Verdict) -> int:
    """Replay the order of every valid partition; how many operations that were.

    Raises BadCertificate for an order that does not hold.
    """
    replayed = 0
    for part in verdict.partitions:
        if part.outcome == "valid":
            own = [op for op in operations if op.key == part.key]
            order = part.linearization
            if order is None and all(op.outcome == "info" for op in own):
                order = ()  # nothing has to be in it
            if order is None:
                raise BadCertificate(f"key {part.key}: there is no order to verify")
            if decide := getattr(model, "decide", None):  # its rule may require more than its steps
                decided = decide(own)
                if decided is not None and decided.order is None:
                    raise BadCertificate(f"key {part.key}: the rule of {model.name} objects")
            replay(model, own, order)
            replayed += len(order)
    return replayed


def replay(model: Model, operations: Sequence[Operation], order: Sequence[int]) -> None:
    """Replay one partition's order: the positions of the operations' invocations."""
    by_call = {op.call: op for op in operations}
    state, latest_call = model.initial(), -1
    for call in order:
        op = by_call.pop(call, None)
        if op is None:
            raise BadCertificate(f"the operation called at {call} does not exist, or stands twice")
        if op.ret < latest_call:
            raise BadCertificate(f"{op} had ended before one that stands before it began")
        latest_call = max(latest_call, op.call)
        state = model.step(state, op)
        if state is ILLEGAL:
            raise BadCertificate(f"{op} could not have been answered so")
    for op in by_call.values():
        if op.outcome != "info":
            raise BadCertificate(f"{op} is missing")
