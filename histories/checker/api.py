"""`check`: one way in, whatever the history is held in."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TypeAlias, cast

from histories.budget import Budget, LimitReached
from histories.checker import compiled
from histories.checker.consistency_levels import diagnose
from histories.checker.evidence import possible_answers
from histories.checker.reference import judge, partitions
from histories.checker.verdict import PartitionVerdict, Verdict, joined
from histories.errors import BadHistory, UnknownOperation
from histories.events import Event, Json
from histories.folder import RunFolder
from histories.formats.native import History, read
from histories.models import Model, model_named, validate
from histories.operations import Operation, freeze, key_text
from histories.reader import format_of, read_history

DIAGNOSED_MAX = 20_000
"""Larger histories are not read again for what still holds of them."""

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
) -> Verdict:
    """Judge a history. `initial` is what an object of a named model holds at first.

    `format`, `failed_cas` and `independent` are for files, see `histories.reader`.

    With `linearization` valid partitions come with the order that was found. Without `kernel` the
    reference judges, also where the kernel is installed; it always gives the order.

    A folder or a file that cannot be a history raises HistoryError; a limit that is reached gives
    the verdict "unknown".
    """
    started = time.monotonic()
    for name, limit in (("time_limit_s", time_limit_s), ("memory_limit_bytes", memory_limit_bytes)):
        if limit is not None and limit <= 0:
            raise ValueError(f"{name} must be above 0, not {limit}")
    judge_by = model_named(model, initial) if isinstance(model, str) else model
    limits = compiled.Limits(time_limit_s, memory_limit_bytes, max(1, threads), linearization)
    budget = Budget(time_limit_s, memory_limit_bytes)
    kernel = kernel and isinstance(model, str) and compiled.holds(judge_by)
    found: Verdict | None = None
    edn = kernel and not independent and isinstance(source, (str, Path))
    if edn and _format(Path(cast("str | Path", source)), format) == "jepsen":
        path, meaning = Path(cast("str | Path", source)), failed_cas or "ignored"
        found = compiled.check_edn(path, judge_by, initial, limits, meaning)
        if found is not None:
            return found
    try:
        source = _located(source, format, failed_cas, independent, budget)
        if kernel:
            if isinstance(source, Path):
                found = compiled.check_file(source, judge_by, initial, limits)
            elif (history := _as_history(source)) is not None:
                found = compiled.check_history(history, judge_by, initial, limits)
        if found is None:
            found = _by_reference(source, judge_by, budget, started)
    except LimitReached as limit:
        return compiled.unread(str(limit), limit.at, judge_by, time.monotonic() - started)
    return _diagnosed(source, found, judge_by)


def _diagnosed(source: Source, verdict: Verdict, model: Model) -> Verdict:
    """An invalid verdict with what the reads of its evidence could have returned, and with what
    still holds of the partitions that failed; see `consistency_levels`."""
    if verdict.outcome != "invalid":
        return verdict
    own: dict[str | None, list[Operation]] | None = None
    if verdict.operations <= DIAGNOSED_MAX:
        history = read(source) if isinstance(source, Path) else _as_history(source)
        own = partitions(history.operations() if history else cast(Sequence[Operation], source))
    parts = tuple(
        part
        if part.outcome != "invalid"
        else _explained(model, part, None if own is None else own[part.key])
        for part in verdict.partitions
    )
    return dataclasses.replace(verdict, partitions=parts)


def _explained(
    model: Model, part: PartitionVerdict, operations: list[Operation] | None
) -> PartitionVerdict:
    if part.evidence is not None:
        could = possible_answers(model, part.evidence.operations, operations)
        part = dataclasses.replace(part, evidence=dataclasses.replace(part.evidence, could=could))
    if operations is not None:
        part = dataclasses.replace(part, weaker=diagnose(model, operations, part))
    return part


def _by_reference(source: Source, model: Model, budget: Budget, started: float) -> Verdict:
    history = read(source, budget) if isinstance(source, Path) else _as_history(source)
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
    loaded = time.monotonic()
    parts = judge(operations, model, budget, failed)
    ended = time.monotonic()
    return Verdict(
        outcome=joined(p.outcome for p in parts),
        model=model.name,
        operations=len(operations),
        partitions=parts,
        notes=history.notes if history is not None else (),
        seconds=ended - started,
        check_seconds=ended - loaded,
    )


def which_kernel() -> str:
    """Which checker runs here, in a few words, for `antipaxos doctor`."""
    if compiled.available():
        return f"compiled kernel {compiled.version()}"
    return f"reference, in plain Python: no compiled kernel ({compiled.WHY_NOT})"


def _located(
    source: Source,
    format: str,  # noqa: A002
    failed_cas: str | None,
    independent: bool | None,
    budget: Budget,
) -> Source:
    """A native file by its path, so that the kernel can read it; anything else that is in a file,
    read; what was given in memory, as it is."""
    if isinstance(source, RunFolder):
        return source.history
    if not isinstance(source, (str, Path)):
        return source
    path = Path(source)
    if path.is_dir():
        return RunFolder.open(path).history
    found = _format(path, format)
    return path if found == "native" else read_history(path, found, failed_cas, independent, budget)


def _format(path: Path, format: str) -> str:  # noqa: A002
    if format != "auto":
        return format
    return "native" if path.is_dir() else format_of(path)


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
    return frozenset(
        (key_text(e.key), freeze(e.value[1] if e.f == "cas" else e.value))
        for e in events
        if e.type == "fail"
        and e.error != "mismatch"
        and (e.f != "cas" or (isinstance(e.value, (list, tuple)) and len(e.value) == 2))
    )
