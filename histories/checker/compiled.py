"""The compiled kernel, where it is installed: its raw verdicts, made readable.

The kernel reads and judges by itself and answers in positions: event number 7 of the history.
Only the few events that the evidence is made of are turned into Python's operations here. What the
kernel does not decide (an operation that its models cannot represent) is left to the reference,
which defines the verdict.
"""

from __future__ import annotations

import importlib
import os
from array import array
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from histories.budget import UNLIMITED, Budget, LimitReached
from histories.checker.anomalies import describe
from histories.checker.explain import fewer_elements, own_elements
from histories.checker.notes import notes_on
from histories.checker.verdict import Evidence, PartitionVerdict, Verdict, joined
from histories.errors import BadHistory
from histories.events import Event, Json
from histories.formats.independent import INDEPENDENT, unwrapped
from histories.formats.jepsen import event_of_edn
from histories.formats.native import History, parse_line
from histories.models import Model
from histories.operations import NEVER, Operation, between, failed_write
from histories.untrusted import require_regular

_kernel: Any = None
WHY_NOT = "switched off by ANTIPAXOS_KERNEL=off"
if os.environ.get("ANTIPAXOS_KERNEL") != "off":
    try:
        _kernel = importlib.import_module("histories._kernel")
    except ImportError as error:
        WHY_NOT = f"not built, no Rust toolchain when it was installed? {error}"

MODELS: frozenset[str] = frozenset(getattr(_kernel, "MODELS", ()))
"""The models that the kernel has."""
ELEMENTS_SECONDS = 0.5
"""The time limit for leaving elements out of a failing part's lists; see `projection.py`."""
LINES_LOOK = 1 << 16
"""While a file's lines are skipped, the budget is checked every LINES_LOOK lines."""
WIDE = 1 << 61
"""Counters and tokens that begin below this stay below 2^63, whatever the history adds."""
OPEN = (1 << 32) - 1
"""The kernel's position for "never returned"."""


class Limits(NamedTuple):
    """What one check may cost. None: no limit; `threads` share the partitions."""

    time_s: float | None = None
    memory_bytes: int | None = None
    threads: int = 2
    linearization: bool = False
    plain: bool = False


def available() -> bool:
    return _kernel is not None


def holds(model: Model) -> bool:
    """Whether the kernel is installed and its integers can hold the model's initial value."""
    if not available() or model.name not in MODELS:
        return False
    state = model.initial()
    numbers = state if isinstance(state, tuple) else (state,)
    wide = model.name in ("counter", "fenced-lock")
    return not wide or all(not isinstance(n, int) or abs(n) < WIDE for n in numbers)


def version() -> str:
    return str(_kernel.VERSION)


def check_file(
    path: Path, model: Model, initial: Json, limits: Limits, words: Budget = UNLIMITED
) -> Verdict | None:
    """Judge a native file; None where the reference has to. `words`: the budget of the evidence."""
    try:
        require_regular(path)
        raw = _kernel.check_file(path, model.name, initial, **_arguments(limits))
    except _kernel.BadLine as error:
        line, message, operation = error.args
        if operation:
            return None
        raise BadHistory(message, path=path, line=line) from None
    except OSError as error:
        raise BadHistory(f"cannot be read: {error.strerror or error}", path=path) from None
    if "stopped" in raw:
        return unread(raw["stopped"], raw["events"], model, raw["read_seconds"])
    notes: tuple[str, ...] = ()
    if raw["torn_line"] is not None:
        notes = (f"line {raw['torn_line']} is cut off in the middle: the run was cut off there",)
    return _verdict(raw, model, notes, lambda wanted: _events_of_file(path, wanted, words), words)


def check_edn(
    path: Path,
    model: Model,
    initial: Json,
    limits: Limits,
    failed_cas: str,
    independent: bool | None = None,
    words: Budget = UNLIMITED,
) -> Verdict | None:
    """Judge Jepsen's history.edn; None where Python has to read it, since it is not plain."""
    arguments = _arguments(limits) | {
        "mismatched": failed_cas == "mismatch",
        "independent": independent,
    }
    raw = _kernel.check_edn(path, model.name, initial, **arguments)
    if raw is not None and "stopped" in raw:
        return unread(raw["stopped"], raw["events"], model, raw["read_seconds"])
    if raw is None:
        return None
    notes = (INDEPENDENT,) if raw["lifted"] and independent is None else ()

    def lookup(wanted: Iterable[int]) -> dict[int, Event]:
        events = _events_of_edn(path, wanted, raw["places"], failed_cas)
        return (
            dict(zip(events, unwrapped(list(events.values())), strict=True))
            if raw["lifted"]
            else events
        )

    return _verdict(raw, model, notes, lookup, words)


def check_history(
    history: History, model: Model, initial: Json, limits: Limits, words: Budget = UNLIMITED
) -> Verdict | None:
    """Judge events in memory; None where the reference has to."""
    events = history.events
    arguments = _arguments(limits) | {"jepsen": history.jepsen}
    try:
        raw = _kernel.check_events(events, model.name, initial, **arguments)
    except _kernel.BadLine as error:
        line, message, operation = error.args
        if operation:
            return None
        raise BadHistory(message, path=history.path, line=line) from None
    except (TypeError, OverflowError, UnicodeEncodeError):  # the last: half of a surrogate pair
        return None
    if "stopped" in raw:
        return unread(raw["stopped"], raw["events"], model, raw["read_seconds"])
    lookup: Lookup = lambda wanted: {i: events[i] for i in wanted}  # noqa: E731
    return _verdict(raw, model, history.notes, lookup, words)


def unread(reason: str, events: int, model: Model, seconds: float) -> Verdict:
    """The verdict where a limit was reached before the whole history was read."""
    why = f"{reason}, reached when {events} events had been read"
    part = PartitionVerdict(
        key=None, outcome="unknown", operations=0, method="reading", judged=0, reason=why
    )
    return Verdict(
        outcome="unknown", model=model.name, operations=0, partitions=(part,), seconds=seconds
    )


def _arguments(limits: Limits) -> dict[str, Any]:
    return {
        "time_limit": limits.time_s,
        "memory_limit": limits.memory_bytes,
        "threads": limits.threads,
        "keep_order": limits.linearization,
        "plain": limits.plain,
    }


Lookup = Callable[[Iterable[int]], dict[int, Event]]


def _verdict(
    raw: dict[str, Any], model: Model, notes: Sequence[str], lookup: Lookup, words: Budget
) -> Verdict:
    parts = tuple(partition_verdict(part, model, lookup, words) for part in raw["partitions"])
    return Verdict(
        outcome=joined(part.outcome for part in parts),
        model=model.name,
        operations=raw["operations"],
        partitions=parts,
        notes=(*notes, *notes_on(raw["answered"], raw["changed"])),
        checker="kernel",
        answered=raw["answered"],
        seconds=raw["read_seconds"] + raw["check_seconds"],
        check_seconds=raw["check_seconds"],
    )


def partition_verdict(
    raw: tuple[Any, ...], model: Model, lookup: Lookup, words: Budget = UNLIMITED
) -> PartitionVerdict:
    """One partition's verdict from the kernel, with its evidence in words as far as the budget
    allows. Without any budget left, an invalid partition is still reported as invalid."""
    key, outcome, method, operations, judged, reason, found, order = raw
    evidence = None
    if found is not None:
        try:
            words.check_time()
            evidence = _evidence(found, model, lookup, words, is_list=method == "log")
        except LimitReached as limit:
            evidence = Evidence(
                anomaly="not-linearizable",
                sentence=f"no order explains what was answered ({limit} left no time for evidence)",
            )
    return PartitionVerdict(
        key=key,
        outcome=outcome,
        operations=operations,
        method=method,
        judged=judged,
        evidence=evidence,
        linearization=tuple(array("I", order)) if order else None,
        reason=reason,
    )


def _evidence(
    found: tuple[Any, ...], model: Model, lookup: Lookup, words: Budget, *, is_list: bool
) -> Evidence:
    spans, context, until, minimal = found
    wanted = {position for span in (*spans, *context) for position in span if position != OPEN}
    events = lookup(sorted(wanted))

    def operation(number: int, span: tuple[int, int]) -> Operation | None:
        call, ret = span
        if ret == OPEN:
            return between(number, call, events[call], NEVER, None)
        return between(number, call, events[call], ret, events[ret])

    part = [op for i, span in enumerate(spans) if (op := operation(i, span)) is not None]
    cut = [
        op if op.ret <= until or op.ret == NEVER else op._replace(outcome="info", ret=NEVER)
        for op in part
    ]
    part = [op if op.outcome != "info" else op._replace(seen=False, ret_ns=-1) for op in cut]
    whole: list[Operation] = list(part)
    failed: set[tuple[str | None, object] | None] = set()
    for i, span in enumerate(context):
        op = operation(len(part) + i, span)
        if op is not None:
            whole.append(op)
        else:
            # A completion may leave the value out.
            call = events[span[0]]
            failed.add(failed_write(events[span[1]]._replace(key=call.key, value=call.value)))
    if is_list:
        part, left_out = own_elements(model, part, whole, words)
    else:
        brief = words.within(ELEMENTS_SECONDS)
        part, left_out = fewer_elements(model, part, whole, brief)
        minimal = minimal or (bool(left_out) and not brief.is_over)
    unhappened = frozenset(write for write in failed if write is not None)
    return describe(model, part, whole, unhappened, words, minimal=minimal, left_out=left_out)


def _events_of_file(path: Path, wanted: Iterable[int], words: Budget) -> dict[int, Event]:
    """The events at these positions (their lines, from 0) of a file that was read before."""
    found: dict[int, Event] = {}
    waiting = sorted(set(wanted), reverse=True)
    with path.open("rb") as lines:
        for number, line in enumerate(lines):
            if not waiting:
                break
            if number % LINES_LOOK == 0:
                words.check_time()
            if number == waiting[-1]:
                waiting.pop()
                found[number] = parse_line(line, number + 1)
    return found


def _events_of_edn(
    path: Path, wanted: Iterable[int], places: dict[int, tuple[int, int]], failed_cas: str
) -> dict[int, Event]:
    """The events at these positions, read from their byte ranges in the file."""
    found: dict[int, Event] = {}
    with path.open("rb") as file:
        for position in wanted:
            start, end = places[position]
            file.seek(start)
            text = file.read(end - start).decode("utf-8")
            found[position] = event_of_edn(text, position, failed_cas)
    return found


class Live:
    """The kernel's own copy of a growing history."""

    def __init__(self, model: str, initial: Json) -> None:
        self._live = _kernel.Live(model, initial)

    def feed(self, events: Sequence[Event]) -> bool:
        """Take more events; False where the reference has to judge, from the first event on.
        Raises BadHistory, with the number of the event."""
        try:
            self._live.feed(events)
        except _kernel.BadLine as error:
            line, message, operation = error.args
            if operation:
                return False
            raise BadHistory(message, line=line) from None
        except (TypeError, OverflowError, UnicodeEncodeError):
            return False
        return True

    def judge(
        self, seconds: float, model: Model, events: Sequence[Event]
    ) -> tuple[bool, PartitionVerdict | None]:
        """Whether all that changed was judged in time, and the first violation."""
        whole, failed = self._live.judge(seconds)
        if failed is None:
            return whole, None
        return whole, partition_verdict(
            failed, model, lambda wanted: {i: events[i] for i in wanted}
        )
