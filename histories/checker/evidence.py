"""What a part of a history proves by itself, and what its reads could have returned.

In a part, a compare-and-set may have lost the writer of the value that it expects. Such a one
counts as a write: what cannot be ordered even so cannot be ordered at all. (In any order of the
whole, the operations on the lost value stand just before it; without them it stands there still.)
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence

from histories.budget import Budget
from histories.checker.search import search
from histories.checker.words import READS, shown, telling, wrote
from histories.models import Model
from histories.operations import NEVER, Operation

REGISTERS = ("register", "cas-register", "kv")
COULD_SECONDS = 0.3
COULD_OPERATIONS_MAX = 24


def relaxed(model: Model, part: Sequence[Operation], whole: Iterable[Operation]) -> list[Operation]:
    """The part as a history of its own: a compare-and-set whose expected value had a writer in the
    whole, but has none in the part, becomes a write."""
    if not any(op.f == "cas" for op in part):
        return list(part)
    written = {value for op in part for value in wrote(op)} | {model.initial()}
    elsewhere = {value for op in whole for value in wrote(op)}
    return [
        op._replace(f="write", value=op.value[1])
        if op.f == "cas"
        and op.outcome != "mismatch"
        and op.value[0] not in written
        and op.value[0] in elsewhere
        else op
        for op in part
    ]


def fails_alone(
    model: Model,
    part: Sequence[Operation],
    whole: Iterable[Operation],
    deadline: float = float("inf"),
) -> bool:
    """Whether the part cannot be ordered, whatever else there was."""
    return search(model, relaxed(model, part, whole), Budget.until(deadline)).outcome == "invalid"


def possible_answers(
    model: Model, part: Sequence[Operation], whole: Sequence[Operation]
) -> tuple[str, ...]:
    """For each read of a register in a small part, in words, what else it could have returned."""
    if len(part) > COULD_OPERATIONS_MAX or model.name not in REGISTERS:
        return ()
    deadline = time.monotonic() + COULD_SECONDS
    lines = []
    for op in part:
        if op.f not in READS or not op.seen or op.ret == NEVER:
            continue
        answers = _answers(model, part, whole, op, deadline)
        if answers is None:
            break
        if answers:
            lines.append(f"{telling(op)}; it could have returned {' or '.join(answers)}")
    return tuple(lines)


def _answers(
    model: Model,
    part: Sequence[Operation],
    whole: Sequence[Operation],
    read: Operation,
    deadline: float,
) -> list[str] | None:
    """The values among those of the part that `read` could have returned; None out of time."""
    values = [model.initial()] + [value for op in part for value in wrote(op)]
    answers = []
    for value in dict.fromkeys(values):
        if value == read.result:
            continue
        other = [op._replace(result=value) if op is read else op for op in part]
        outcome = search(model, relaxed(model, other, whole), Budget.until(deadline)).outcome
        if outcome == "unknown":
            return None
        if outcome == "valid":
            answers.append(shown(value))
    return answers
