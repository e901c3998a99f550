"""What a part of a history proves by itself, and what its reads could have returned.

A part may contain a compare-and-set without the writer of the value that it expects. Such a
compare-and-set counts as a write: what cannot be ordered even so cannot be ordered at all. (In any
order of the whole, the operations on the missing value come just before it; without them, the order
still explains the part.) A compare-and-set of unknown outcome may have had any of several writers,
so it counts as a write as soon as one of them is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from histories.budget import UNLIMITED, Budget
from histories.checker.descriptions import READS, described, shown, wrote
from histories.checker.reference_search import search
from histories.models import Model
from histories.operations import NEVER, Operation

REGISTERS = ("register", "cas-register", "kv")
COULD_SECONDS = 0.3
COULD_OPERATIONS_MAX = 24
CANDIDATES_MAX = 8


def relaxed(model: Model, part: Sequence[Operation], whole: Iterable[Operation]) -> list[Operation]:
    """The part as a history of its own: a compare-and-set whose expected value had a writer in the
    whole that began before it returned, but has none in the part, becomes a write; a
    compare-and-set of unknown outcome does so as soon as a writer that was called before the part
    ended is left out."""
    if model.name not in REGISTERS or not any(op.f == "cas" for op in part):
        return list(part)
    calls = {op.call for op in part}
    end = max((op.ret for op in part if op.ret != NEVER), default=NEVER)
    there = {value for op in part for value in wrote(op)} | {model.initial()}
    others = [op for op in whole if op.call not in calls]
    elsewhere: dict[Any, int] = {}  # when each value began to be written first
    for op in others:
        for value in wrote(op):
            elsewhere[value] = min(op.call, elsewhere.get(value, op.call))
    left_out = {value for op in others if op.call < end for value in wrote(op)}
    return [
        op._replace(f="write", value=op.value[1])
        if _lost_source(op, there, elsewhere, left_out)
        else op
        for op in part
    ]


def _lost_source(
    op: Operation, there: set[Any], elsewhere: dict[Any, int], left_out: set[Any]
) -> bool:
    if op.f != "cas" or op.outcome == "mismatch":
        return False
    if op.outcome == "info":
        return op.value[0] in left_out
    return op.value[0] not in there and elsewhere.get(op.value[0], op.ret) < op.ret


def fails_alone(
    model: Model,
    part: Sequence[Operation],
    whole: Iterable[Operation],
    budget: Budget = UNLIMITED,
) -> bool:
    """Whether the part cannot be ordered by itself."""
    return search(model, relaxed(model, part, whole), budget).outcome == "invalid"


def possible_answers(
    model: Model,
    part: Sequence[Operation],
    whole: Sequence[Operation] | None,
    budget: Budget = UNLIMITED,
) -> tuple[str, ...]:
    """For each read of a register in a small part, in words, what else it could have returned.

    An answer is possible where its write had begun and was not certainly overwritten when the read
    began, considering all of the `whole`, and where the part could be ordered with it. Without the
    whole only the part is considered, and the text says so.
    """
    if len(part) > COULD_OPERATIONS_MAX or model.name not in REGISTERS:
        return ()
    known = part if whole is None else whole
    if any(op.f == "append" for op in known):
        return ()
    budget = budget.within(COULD_SECONDS)
    words = "it could" if whole is not None else "by these operations alone it could"
    lines = []
    for op in part:
        if op.f not in READS or not op.seen or op.ret == NEVER:
            continue
        answers = _answers(model, part, known, op, budget)
        if answers is None:
            break
        if answers:
            lines.append(f"{described(op)}; {words} have returned {' or '.join(answers)}")
    return tuple(lines)


def _answers(
    model: Model,
    part: Sequence[Operation],
    known: Sequence[Operation],
    read: Operation,
    budget: Budget,
) -> list[str] | None:
    """The other values that `read` could have returned; None where the time is up."""
    there = {op.call for op in part}
    answers: dict[str, None] = {}
    candidates = _not_overwritten(model, known, read)
    for value, writer in candidates[-CANDIDATES_MAX:]:
        if value == read.result:
            continue
        other = [op._replace(result=value) if op.call == read.call else op for op in part]
        if writer is not None and writer.call not in there:
            other.append(writer._replace(f="write", value=value, id=len(other)))
        outcome = search(model, relaxed(model, other, known), budget).outcome
        if outcome == "unknown":
            return None
        if outcome == "valid":
            answers[shown(value)] = None
    return list(answers)


def _not_overwritten(
    model: Model, known: Sequence[Operation], read: Operation
) -> list[tuple[Any, Operation | None]]:
    """Values that may have been there during the read, by real time alone, with their writers (none
    for the initial value): the oldest write first."""
    writes = [(op, value) for op in known for value in wrote(op) if op.call < read.ret]
    done = [op.call for op, _ in writes if op.outcome == "ok" and op.ret < read.call]
    floor = max(done, default=-1)
    found: list[tuple[Any, Operation | None]] = [] if done else [(model.initial(), None)]
    writes.sort(key=lambda written: written[0].call)
    return found + [(value, op) for op, value in writes if op.ret >= floor]
