"""Jepsen's histories, in every form in which Jepsen and its tools write operations.

    jepsen        history.edn: one map (or record) a line, or one vector or list of them; operations
                  may also be vectors [process type f value]
    jepsen-json   one JSON array of objects with the same names
    jepsen-txt    history.txt: process, type, f and value, separated by tabs
    jepsen-log    the lines of its log, old (`INFO  jepsen.util - …`) and new (`jepsen.log`)

They carry less information than ours. A `:fail` of a cas does not say whether the value was another
one or the operation never happened: `failed_cas` chooses, "mismatch" or "ignored". A process may
continue after an operation that timed out, a lone `:info` is not an operation, and `:info` of
another `:f` (`:crash`) ends whatever is open. Times may go back a little (each client reads the
clock itself), and are raised to the latest one before. Keys, if any, are in `:key`, or, where a
test lifted one object to many by `jepsen.independent`, in the values, which are then `[key value]`;
see `independent.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from histories.budget import UNLIMITED, Budget
from histories.errors import BadHistory
from histories.events import NEMESIS, TYPES, Event
from histories.formats import edn, jepsen_text
from histories.formats.edn_atoms import quoted, unquoted
from histories.formats.independent import INDEPENDENT, PAIRS, all_pairs, unwrapped
from histories.formats.native import History, checked_members

FAILED_CAS: Final = ("mismatch", "ignored")
Record = dict[str, Any]
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

    `independent`: whether values are `[key value]`, as `jepsen.independent` has them; None detects
    it.
    """
    return _read(path, _edn_records, failed_cas, independent, budget)


def read_json(
    path: Path,
    failed_cas: str = "ignored",
    independent: bool | None = None,
    budget: Budget = UNLIMITED,
) -> History:
    """Read one JSON array of operations; the same as `read_edn` otherwise."""
    return _read(path, _json_records, failed_cas, independent, budget)


def read_txt(
    path: Path,
    failed_cas: str = "ignored",
    independent: bool | None = None,
    budget: Budget = UNLIMITED,
) -> History:
    """Read history.txt; the same as `read_edn` otherwise."""
    return _read(path, jepsen_text.txt_records, failed_cas, independent, budget)


def read_log(
    path: Path,
    failed_cas: str = "mismatch",
    independent: bool | None = None,
    budget: Budget = UNLIMITED,
) -> History:
    """Read a text log; the same as `read_edn` otherwise."""
    return _read(path, jepsen_text.log_records, failed_cas, independent, budget)


def _read(
    path: Path,
    records_of: Callable[[str], Iterator[tuple[Record, int]]],
    failed_cas: str,
    independent: bool | None,
    budget: Budget,
) -> History:
    try:
        events: list[Event] = []
        for record, line in records_of(_text(path, budget)):
            events.append(_event(record, len(events), failed_cas, line))
            budget.look(len(events))
        notes: tuple[str, ...] = ()
        pairs = all_pairs(events) if independent is None else None
        if independent or pairs:
            events = unwrapped(events)
        if pairs is not None:
            notes = (INDEPENDENT,) if pairs else (PAIRS,)
    except BadHistory as error:
        raise BadHistory(error.message, path=path, line=error.line) from None
    except RecursionError:
        raise BadHistory("is nested too deeply", path=path) from None
    return _history(events, path, notes)


def write_edn(path: Path | str, events: Iterable[Event]) -> None:
    """Write history.edn, one map a line."""
    lines = (edn_line(event) + "\n" for event in events)
    Path(path).write_text("".join(lines), encoding="utf-8")


def edn_line(event: Event) -> str:
    """One event as a map. What a failed cas observed is in `:observed`."""
    process = f":{NEMESIS}" if event.process == NEMESIS else edn.written(event.process)
    name = f":{event.f}"
    f = name if quoted(name) != name else json.dumps(event.f)  # no valid keyword
    parts = [f":type :{event.type}, :f {f}, :value {edn.written(event.value)}"]
    parts.append(f":process {process}, :time {event.time}, :index {event.index}")
    if event.key is not None:
        key = edn.written_key(str(event.key))
        parts.append(f":key {json.dumps(key) if key == 'nil' else key}")
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
        return data.decode("utf-8-sig")
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


def _edn_records(text: str) -> Iterator[tuple[Record, int]]:
    for form in edn.forms(text):
        value = edn.untagged(form.value)
        if isinstance(value, list) and not _is_operation(value):
            for item in value:
                yield _record(edn.untagged(item), form.line), form.line
        else:
            yield _record(value, form.line), form.line


def event_of_edn(text: str, number: int, failed_cas: str) -> Event:
    """The event in the text of one operation, the `number`th of a history. Raises BadHistory."""
    form = next(edn.forms(text))
    return _event(_record(edn.untagged(form.value), number + 1), number, failed_cas, number + 1)


def _is_operation(value: list[Any]) -> bool:
    """Whether a vector is [process type f value]."""
    return len(value) > 1 and isinstance(value[1], str) and value[1].lstrip(":'") in TYPES


def _record(value: Any, line: int) -> Record:
    if isinstance(value, dict):
        return value
    if not isinstance(value, list) or not _is_operation(value):
        shown = edn.written(value)[:40]
        raise BadHistory(
            f"holds {shown}, which is not an operation: neither a map nor [process type f value]",
            line=line,
        )
    if not 3 <= len(value) <= 5:
        raise BadHistory(
            f"an operation [process type f value] has 3 to 5 items, not {len(value)}", line=line
        )
    return dict(zip((":process", ":type", ":f", ":value", ":error"), value, strict=False))


def _json_records(text: str) -> Iterator[tuple[Record, int]]:
    try:
        found = json.loads(text, object_pairs_hook=checked_members, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise BadHistory(f"is not JSON (column {error.colno})", line=error.lineno) from None
    except ValueError as error:
        raise BadHistory(f"is not JSON: {error}", line=1) from None
    if not isinstance(found, list):
        raise BadHistory("is not a JSON array of operations", line=1)
    for number, item in enumerate(found, 1):
        if not isinstance(item, dict):
            raise BadHistory(f"item {number} of the array is not an object", line=0)
        yield {f":{name.removeprefix(':')}": value for name, value in item.items()}, number


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _event(found: Record, number: int, failed_cas: str, line: int) -> Event:
    kind, f = _word(found.get(":type")), _word(found.get(":f"))
    if kind not in TYPES:
        raise BadHistory(f":type {_shown(found, ':type')} is none of {', '.join(TYPES)}", line=line)
    process = _process(found, line)
    if not f and (process == NEMESIS or kind == "info"):
        f = "info"
    if not f:
        raise BadHistory(f":f {_shown(found, ':f')} is not the name of an operation", line=line)
    error, key = found.get(":error"), found.get(":key")
    if isinstance(error, str):
        error = {":mismatch": "mismatch", ":empty": "empty"}.get(error, error)
    elif error is not None:
        error = edn.written(error)
    if kind == "fail" and f == "cas" and failed_cas == "mismatch":
        error = "mismatch"
    return Event(
        number,
        _time(found.get(":time")),
        process,
        kind,
        f,
        None if key is None else edn.name_of(key),
        found.get(":value"),
        found.get(":node") if isinstance(found.get(":node"), int) else None,
        error,
        found.get(":observed"),
        ":observed" in found,
        {k.removeprefix(":"): v for k, v in found.items() if k not in _KNOWN} or None,
    )


def _word(value: Any) -> str | None:
    """A keyword, a symbol or a string without its prefix."""
    if not isinstance(value, str):
        return None
    return value[1:] if value[:1] in (":", "'") else unquoted(value)


def _shown(found: Record, name: str) -> str:
    return edn.written(found[name])[:40] if name in found else "is missing and"


def _process(found: Record, line: int) -> int | str:
    process = found.get(":process")
    if _word(process) == NEMESIS:
        return NEMESIS
    if isinstance(process, str) and process:
        return process
    if isinstance(process, int) and not isinstance(process, bool) and process >= 0:
        return process
    raise BadHistory(
        f":process {_shown(found, ':process')} is neither a number from 0, nor a name", line=line
    )


def _time(value: Any) -> int:
    """Nanoseconds; 0 for anything else, so that the time of the event before is used."""
    if isinstance(value, dict) and value.keys() == {"#double"}:
        value = value["#double"]
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    return int(value) if whole and 0 <= value < 1 << 62 else 0
