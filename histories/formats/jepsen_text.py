"""Jepsen's history.txt, and the lines of its logs.

A line of history.txt is process, type, f, value and, where there is one, error, separated by tabs:

    0       :invoke :write  1

A log has the same after `jepsen.util`, and in newer versions other lines, which are ignored:

    INFO  jepsen.util - 0   :invoke :write  1
    2022-09-14 10:21:46,466{GMT} INFO [jepsen worker 1] jepsen.util: 1   :ok     :read   nil
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from histories.errors import BadHistory
from histories.events import TYPES
from histories.formats import edn

_OLD_LINE: Final = re.compile(r"INFO\s+jepsen\.util - (?P<operation>.*)")
_NEW_LINE: Final = re.compile(r".*\bjepsen\.util(?::|\s+-)?\s(?P<operation>\S+\s+:\S+\s.*)")
_OPERATION: Final = re.compile(r"(\S+)\s+:(\w+)\s+:([^\s]+)(?:\s+(.*))?")


def txt_records(text: str) -> Iterator[tuple[dict[str, Any], int]]:
    """The operations of history.txt, with their lines."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _record(line.strip("\r\n"), number, "history.txt"), number


def log_records(text: str) -> Iterator[tuple[dict[str, Any], int]]:
    """The operations of a log, with their lines."""
    lines = text.split("\n")
    old = any(_OLD_LINE.match(line) for line in lines[:1000])
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        match = (_OLD_LINE if old else _NEW_LINE).match(line.rstrip())
        if match is not None:
            if old or _OPERATION.match(match["operation"]):
                yield _record(match["operation"], number, "Jepsen's log"), number
        elif old:
            raise BadHistory("is not a line of Jepsen's log", line=number)


def _record(line: str, number: int, what: str) -> dict[str, Any]:
    match = _OPERATION.fullmatch(line.strip())
    if match is None or match[2] not in TYPES:
        raise BadHistory(
            f"is not a line of {what}: process, type, f and value, separated by tabs", line=number
        )
    process, kind, f, rest = match.groups()
    value, error = _values(rest or "nil", number)
    return {
        ":process": int(process) if process.isdecimal() and process.isascii() else process,
        ":type": f":{kind}",
        ":f": f":{f}",
        ":value": value,
        ":error": error,
    }


def _values(text: str, line: int) -> tuple[Any, Any]:
    """The value, and the error after it."""
    text = text.strip()
    if text.isdecimal() and text.isascii() and len(text) < 19 and (text[0] != "0" or text == "0"):
        return int(text), None
    try:
        found = [form.value for form in edn.forms(text)]
    except BadHistory as error:
        raise BadHistory(f"the value {text[:40]!r} {error.message}", line=line) from None
    if not 1 <= len(found) <= 2:
        raise BadHistory(f"{text[:40]!r} is not one value", line=line)
    return found[0], found[1] if len(found) > 1 else None
