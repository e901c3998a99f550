"""Jepsen's histories: `history.edn` in both layouts (one map a line; one vector or list of maps),
and the lines of its old text log.

They say less than ours. A `:fail` of a cas does not say whether the value was another one or the
operation never happened: `failed_cas` chooses, "mismatch" or "ignored". In old logs a process acts
on after an operation that timed out, so that is allowed here; times may go back a little (each
client took its own), and are lifted to the latest one before. `:f` is a keyword; keys, where there
are any, stand in `:key`, or, where a test lifted one object to many by `jepsen.independent`, in the
values, which are then `[key value]`; see `independent.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from histories.budget import UNLIMITED, Budget
from histories.errors import BadHistory
from histories.events import NEMESIS, TYPES, Event
from histories.formats import edn
from histories.formats.independent import INDEPENDENT, all_independent, unwrapped
from histories.formats.native import History

FAILED_CAS: Final = ("mismatch", "ignored")
_LOG_LINE: Final = re.compile(
    r"INFO\s+jepsen\.util - (?P<process>\S+)\s+:(?P<type>\w+)\s+:(?P<f>[\w-]+)\s+(?P<value>.*)"
)
_KNOWN: Final = frozenset(
    (":type", ":process", ":f", ":value", ":key", ":time", ":index", ":error", ":node", ":observed")
)


def read_edn(
    path: Path,
    failed_cas: str = "ignored",
    independent: bool | None = None,
    budget: Budget = UNLIMITED,
) -> History:
    """Read history.edn. Raises BadHistory, with the file and the line, and LimitReached.

    `independent`: whether values are `[key value]`, as `jepsen.independent` has them; None looks.
    """
    return _read(path, _edn_events, failed_cas, independent, budget)


def read_log(
    path: Path,
    failed_cas: str = "mismatch",
    independent: bool | None = None,
    budget: Budget = UNLIMITED,
) -> History:
    """Read an old text log; the same as `read_edn` otherwise."""
    return _read(path, _log_events, failed_cas, independent, budget)


def _read(
    path: Path,
    events_of: Callable[[str, str, Budget], list[Event]],
    failed_cas: str,
    independent: bool | None,
    budget: Budget,
) -> History:
    try:
        events = events_of(_text(path, budget), failed_cas, budget)
        notes: tuple[str, ...] = ()
        if independent is None and all_independent(events):
            notes = (INDEPENDENT,)
        if independent or notes:
            events = unwrapped(events)
    except BadHistory as error:
        raise BadHistory(error.message, path=path, line=error.line) from None
    return _history(events, path, notes)


def write_edn(path: Path | str, events: Iterable[Event]) -> None:
    """Write history.edn, one map a line."""
    lines = (edn_line(event) + "\n" for event in events)
    Path(path).write_text("".join(lines), encoding="utf-8")


def edn_line(event: Event) -> str:
    """One event as a map. What a failed cas observed stands in `:observed`."""
    process = f":{NEMESIS}" if event.process == NEMESIS else str(event.process)
    parts = [f":type :{event.type}, :f :{event.f}, :value {edn.written(event.value)}"]
    parts.append(f":process {process}, :time {event.time}, :index {event.index}")
    if event.key is not None:
        parts.append(f":key {edn.written(event.key)}")
    if event.node is not None:
        parts.append(f":node {event.node}")
    if event.error is not None:
        parts.append(f":error {edn.written(event.error)}")
    if event.has_observed:
        parts.append(f":observed {edn.written(event.observed)}")
    return f"{{{', '.join(parts)}}}"


def _text(path: Path, budget: Budget) -> str:
    try:
        budget.check(path.stat().st_size)
        data = path.read_bytes()
    except OSError as error:
        raise BadHistory(f"cannot be read: {error.strerror or error}") from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadHistory("holds bytes that are not UTF-8", line=line) from None


def _history(events: Sequence[Event], path: Path, notes: tuple[str, ...]) -> History:
    if not events:
        raise BadHistory("holds no events: the run never began", path=path)
    latest, lifted = 0, []
    for event in events:
        latest = max(latest, event.time)
        lifted.append(event if event.time == latest else event._replace(time=latest))
    return History(lifted, notes, path, jepsen=True)


def _edn_events(text: str, failed_cas: str, budget: Budget) -> list[Event]:
    events: list[Event] = []
    for form in edn.forms(text):
        maps = form.value if isinstance(form.value, list) else [form.value]
        for found in maps:
            if not isinstance(found, dict):
                raise BadHistory("holds something that is not a map", line=form.line)
            events.append(_event(found, len(events), failed_cas, form.line))
            budget.look(len(events))
    return events


def _event(found: dict[str, Any], number: int, failed_cas: str, line: int) -> Event:
    kind, f, process = found.get(":type"), found.get(":f"), found.get(":process")
    if not isinstance(kind, str) or kind[1:] not in TYPES:
        raise BadHistory(f":type {kind!r} is none of {', '.join(TYPES)}", line=line)
    if not isinstance(f, str) or len(f) < 2:
        raise BadHistory(f":f {f!r} is not the name of an operation", line=line)
    if process == f":{NEMESIS}":
        process = NEMESIS
    elif not isinstance(process, int) or isinstance(process, bool):
        raise BadHistory(f":process {process!r} is not a number, nor :{NEMESIS}", line=line)
    time, error, key = found.get(":time"), found.get(":error"), found.get(":key")
    kind, f = kind[1:], f.removeprefix(":")
    if isinstance(key, (int, str)):
        key = str(key)
    elif key is not None:
        key = edn.written(key)
    if error is not None and not isinstance(error, str):
        error = edn.written(error)
    if kind == "fail" and f == "cas" and failed_cas == "mismatch":
        error = "mismatch"
    return Event(
        number,
        time if isinstance(time, int) else 0,
        process,
        kind,
        f,
        key,
        found.get(":value"),
        found.get(":node") if isinstance(found.get(":node"), int) else None,
        error,
        found.get(":observed"),
        ":observed" in found,
        {k.removeprefix(":"): v for k, v in found.items() if k not in _KNOWN} or None,
    )


def _log_events(text: str, failed_cas: str, budget: Budget) -> list[Event]:
    events: list[Event] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        match = _LOG_LINE.fullmatch(line.rstrip())
        if match is None:
            raise BadHistory("is not a line of Jepsen's log", line=number)
        found = {
            ":type": f":{match['type']}",
            ":f": f":{match['f']}",
            ":process": int(match["process"]) if match["process"].isdecimal() else None,
            ":value": _log_value(match["value"], number),
        }
        if match["process"] == f":{NEMESIS}":
            found[":process"] = f":{NEMESIS}"
        events.append(_event(found, len(events), failed_cas, number))
        budget.look(len(events))
    return events


def _log_value(text: str, line: int) -> Any:
    if text.isdecimal() and text.isascii() and len(text) < 19:
        return int(text)
    if text == "nil":
        return None
    found = list(edn.forms(text))
    if len(found) != 1:
        raise BadHistory(f"{text!r} is not one value", line=line)
    return found[0].value
