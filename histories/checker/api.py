"""`check`: the entry point, for folders, files and histories in memory.

Which algorithm decides a part of the history is chosen elsewhere: in the compiled kernel by `judge`
in `histories/kernel/src/judge.rs`, in the Python reference by `judge_partition` in `reference.py`.
The table under "Algorithms" in docs/checker.md lists them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias, cast

from histories.budget import Budget, LimitReached
from histories.checker import compiled
from histories.checker.consistency_levels import diagnose
from histories.checker.descriptions import READS
from histories.checker.evidence import fails_alone, possible_answers
from histories.checker.notes import (
    NIL,
    NIL_READS,
    changed_arguments,
    looks_nil,
    notes_on,
    without_nil_reads,
)
from histories.checker.reference import judge, partitions
from histories.checker.verdict import PartitionVerdict, Verdict, joined
from histories.drains import DRAIN, QUEUES, drains_split
from histories.errors import BadHistory, UnknownOperation
from histories.events import Event, Json
from histories.folder import RunFolder
from histories.formats.native import History
from histories.models import Model, model_named, validate
from histories.operations import Operation, failed_write
from histories.reader import format_to_read, located, read_history
from histories.streams import as_file

NIL_OPERATIONS_MAX, NIL_SECONDS = 24, 0.2
"""The time limit for finding out whether a violation depends on reads of null."""
DIAGNOSED_MAX = 20_000
"""Larger histories are not read again to diagnose which weaker levels they meet."""

WORDS_SHARE = 0.05
"""The share of the time limit that evidence, sentences and diagnosis may take in addition."""

READING_S = 100e-6
"""About how long it takes to read one operation again and to pair its events."""

Source: TypeAlias = "Path | str | RunFolder | History | Sequence[Event] | Sequence[Operation]"


def check(
    source: Source,
    *,
    model: str | Model = "kv",
    initial: Json = None,
    time_limit_s: float | None = None,
    memory_limit_bytes: int | None = None,
    threads: int = 2,
    linearization: bool = False,
    kernel: bool = True,
    format: str = "auto",  # noqa: A002
    failed_cas: str | None = None,
    independent: bool | None = None,
    nil_reads: str = "null",
) -> Verdict:
    """Judge a history. `initial` is what an object of a named model holds at first.

    `format`, `failed_cas` and `independent` are for files, see `histories.reader`. `nil_reads` says
    what a read of null means: "null", or "unknown" (as in Knossos): the value is not known.

    With `linearization` valid partitions carry the order that was found. Without `kernel` the
    reference judges, also where the kernel is installed; it always gives the order.

    A folder or a file that cannot be a history raises HistoryError; a limit that is reached gives
    the verdict "unknown".
    """
    _require_positive(time_limit_s=time_limit_s, memory_limit_bytes=memory_limit_bytes)
    if nil_reads not in NIL_READS:
        raise ValueError(f"nil_reads must be one of {', '.join(NIL_READS)}, not {nil_reads!r}")
    started = time.monotonic()
    judge_by = model_named(model, initial) if isinstance(model, str) else model
    # What is said of the result, and giving the memory back, are within the limit as well.
    search_s = None if time_limit_s is None else (1 - WORDS_SHARE) * time_limit_s
    budget = Budget(search_s, memory_limit_bytes)
    how = _How(
        judge_by,
        initial,
        compiled.Limits(search_s, memory_limit_bytes, max(1, threads), linearization),
        budget,
        budget.beyond(WORDS_SHARE * (time_limit_s or 0.0)),
        (format, failed_cas, independent),
        nil_reads,
        kernel and isinstance(model, str) and compiled.holds(judge_by),
        started,
    )
    try:
        if isinstance(source, RunFolder):
            source, how = source.history, how._replace(reader=("native", None, None))
        if not isinstance(source, (str, Path)):
            return _judged(source, how)
        with as_file(located(Path(source)), budget) as path:
            return _judged(path, how)
    except LimitReached as limit:
        return compiled.unread(str(limit), limit.at, judge_by, time.monotonic() - started)


class _How(NamedTuple):
    """What `check` was asked for. `words` is the budget of evidence, sentences and diagnosis,
    `reader` the arguments of `read_history`, `kernel` whether the kernel judges."""

    model: Model
    initial: Json
    limits: compiled.Limits
    budget: Budget
    words: Budget
    reader: tuple[str, str | None, bool | None]
    nil_reads: str
    kernel: bool
    started: float


def _judged(source: Path | History | Sequence[Event] | Sequence[Operation], how: _How) -> Verdict:
    """The verdict with its diagnosis. Raises LimitReached if the history could not be read."""
    found: Verdict | None = None
    if how.kernel and how.nil_reads == "null" and isinstance(source, Path):
        found = _by_kernels_reader(source, how)
    if found is None:
        if isinstance(source, Path):
            source = read_history(source, *how.reader, how.budget)
        history = _as_history(source)
        if history is not None:
            source = history = _adapted(history, how.model, how.nil_reads)
        if how.kernel and history is not None:
            limits = how.limits._replace(time_s=how.budget.left_s)
            found = compiled.check_history(history, how.model, how.initial, limits, how.words)
    if found is None:
        found = _by_reference(source, how.model, how.budget, how.started)
    try:
        return _diagnosed(source, found, how.model, how.reader, how.words)
    except LimitReached:  # a violation that was found is always reported
        return found


def _require_positive(**limits: float | None) -> None:
    for name, limit in limits.items():
        if limit is not None and limit <= 0:
            raise ValueError(f"{name} must be above 0, not {limit}")


def judged_operations(
    source: Path | str | RunFolder | History,
    model: Model,
    *,
    format: str = "auto",  # noqa: A002
    failed_cas: str | None = None,
    independent: bool | None = None,
    nil_reads: str = "null",
) -> list[Operation]:
    """The operations that `check` judges with these arguments, at the positions that it uses: what
    `certificate.verify` replays an order on."""
    if isinstance(source, RunFolder):
        source = source.history
    if not isinstance(source, History):
        source = read_history(source, format, failed_cas, independent)
    return _adapted(source, model, nil_reads).operations()


def _by_kernels_reader(path: Path, how: _How) -> Verdict | None:
    """The verdict on a file that the kernel reads itself; None where it cannot."""
    kind = format_to_read(path, *how.reader)
    limits = how.limits._replace(time_s=how.budget.left_s)
    if kind == "native":
        return compiled.check_file(path, how.model, how.initial, limits, how.words)
    if kind == "jepsen":
        _, failed_cas, independent = how.reader
        meaning = failed_cas or "ignored"
        return compiled.check_edn(
            path, how.model, how.initial, limits, meaning, independent, how.words
        )
    return None


def _adapted(history: History, model: Model, nil_reads: str) -> History:
    """The history, with what the model cannot handle adapted: drains that overlap other takes;
    reads of null, where they mean an unknown value."""
    events, notes = history.events, history.notes
    if model.name in QUEUES and any(event.f == DRAIN for event in events):
        events, more = drains_split(events)
        notes = (*notes, *more)
    if nil_reads == "unknown":
        events = without_nil_reads(events)
    return history._replace(events=events, notes=notes)


def _diagnosed(
    source: Source,
    verdict: Verdict,
    model: Model,
    reader: tuple[str, str | None, bool | None],
    words: Budget,
) -> Verdict:
    """An invalid verdict with what the reads of its evidence could have returned, and with what
    still holds of the partitions that failed (see `consistency_levels`), as far as the budget for
    it goes."""
    if verdict.outcome != "invalid":
        return verdict
    own: dict[str | None, list[Operation]] | None = None
    undecided: str | None = None
    if verdict.operations <= DIAGNOSED_MAX:
        try:
            if words.left_s is not None and words.left_s < READING_S * verdict.operations:
                raise LimitReached("the time limit")
            own = _operations_of(source, reader, words)
        except LimitReached as limit:
            undecided = f"weaker consistency levels were not checked: {limit} was reached"
    parts = tuple(
        part
        if part.outcome != "invalid"
        else _explained(model, part, None if own is None else own[part.key], words, undecided)
        for part in verdict.partitions
    )
    notes = verdict.notes
    failed = [part for part in verdict.partitions if part.evidence is not None]
    if any(_nil(model, part, own, words) for part in failed):
        notes = (*notes, NIL)
    return dataclasses.replace(verdict, partitions=parts, notes=notes)


def _nil(
    model: Model,
    part: PartitionVerdict,
    own: dict[str | None, list[Operation]] | None,
    words: Budget,
) -> bool:
    """Whether the violation may be due only to reads of null that Knossos takes as unknown."""
    operations = part.evidence.operations if part.evidence else ()
    if not looks_nil(model, operations) or len(operations) > NIL_OPERATIONS_MAX:
        return False
    if own is not None and not looks_nil(model, own[part.key]):
        return False
    told = [op for op in operations if op.f not in READS or op.result is not None]
    return not fails_alone(model, told, operations, words.within(NIL_SECONDS))


def _operations_of(
    source: Source, reader: tuple[str, str | None, bool | None], words: Budget
) -> dict[str | None, list[Operation]]:
    """All operations of the history, by key. Raises LimitReached."""
    if isinstance(source, (str, Path)):
        history: History | None = read_history(source, *reader, words)
    else:
        history = _as_history(cast("History | Sequence[Event] | Sequence[Operation]", source))
    return partitions(history.operations() if history else cast(Sequence[Operation], source))


def _explained(
    model: Model,
    part: PartitionVerdict,
    operations: list[Operation] | None,
    words: Budget,
    undecided: str | None,
) -> PartitionVerdict:
    if part.evidence is not None and not words.is_over:
        could = possible_answers(model, part.evidence.operations, operations, words)
        part = dataclasses.replace(part, evidence=dataclasses.replace(part.evidence, could=could))
    weaker: tuple[str, ...] = () if undecided is None else (undecided,)
    if operations is not None:
        try:
            weaker = diagnose(model, operations, part, words)
        except LimitReached as limit:
            weaker = (f"weaker consistency levels were not checked: {limit} was reached",)
    return dataclasses.replace(part, weaker=weaker)


def _by_reference(source: Source, model: Model, budget: Budget, started: float) -> Verdict:
    history = _as_history(source)
    if history is not None:
        operations: Sequence[Operation] = history.operations()
    else:
        operations = cast(Sequence[Operation], source)
    path = history.path if history is not None else None
    try:
        validate(model, operations)
    except UnknownOperation as error:
        raise UnknownOperation(error.message, path=path, line=error.line) from None
    failed = _failed_writes(history.events) if history is not None else frozenset()
    changed = changed_arguments(history.events) if history is not None else 0
    answered = sum(op.outcome != "info" for op in operations)
    notes = (history.notes if history is not None else ()) + notes_on(answered, changed)
    loaded = time.monotonic()
    parts = judge(operations, model, budget, failed)
    ended = time.monotonic()
    return Verdict(
        outcome=joined(p.outcome for p in parts),
        model=model.name,
        operations=len(operations),
        partitions=parts,
        notes=notes,
        answered=answered,
        seconds=ended - started,
        check_seconds=ended - loaded,
    )


def which_kernel() -> str:
    """Which checker runs here, in a few words, for `antipaxos doctor`."""
    if compiled.available():
        return f"compiled kernel {compiled.version()}"
    return f"reference, in plain Python: no compiled kernel ({compiled.WHY_NOT})"


def _as_history(source: Source) -> History | None:
    """Events as a history; None for operations.

    Raises BadHistory for a sequence of anything else.
    """
    if isinstance(source, History):
        return source
    first = cast(Sequence[object], source)[0] if source else None
    if first is None or isinstance(first, Event):
        return History(cast(Sequence[Event], source))
    if not isinstance(first, Operation):
        raise BadHistory(f"holds {type(first).__name__}; give events or operations")
    return None


def _failed_writes(events: Iterable[Event]) -> frozenset[tuple[str | None, object]]:
    """(key, value) of every write that certainly did not happen."""
    return frozenset(found for event in events if (found := failed_write(event)) is not None)
