"""The protocol messages of a simulated run, as columns, and its story line by line.

`nodes/messages.jsonl` has one message a line: sent_us (the protocol sent it), departs_us (it left
the node, after its fsync), arrives_us (None when it was lost, with `reason`), source, target, kind,
fields. Without it there is no space-time diagram.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from harness.report.columns import Names, Texts, encode_numbers
from histories.events import Json
from histories.folder import RunFolder
from histories.untrusted import objects

STORY: Final = "story.txt"
MESSAGES_MAX: Final = 500_000
FIELDS_MAX: Final = 600
"""The maximum number of characters of a message's fields on the page."""
_TIMED = re.compile(r"^\s*(\d+\.\d{6})\s\s")
"""A line of the story's table, as against one of its end, which may name times in passing."""


def messages_of(folder: RunFolder, texts: Texts) -> dict[str, Any] | None:
    """The columns of all messages in the order in which they were sent; None without a file."""
    if not folder.messages.is_file():
        return None
    found = read_messages(folder)
    kinds, reasons = Names(), Names()
    rows = found[:MESSAGES_MAX]
    return {
        "columns": {
            "sent_us": encode_numbers([m[0] for m in rows], rising=True),
            "wait_us": encode_numbers([max(0, m[1] - m[0]) for m in rows]),
            "transit_us": encode_numbers([m[2] for m in rows]),
            "source": encode_numbers([m[3] for m in rows]),
            "target": encode_numbers([m[4] for m in rows]),
            "kind": encode_numbers([kinds.number(m[5]) for m in rows]),
            "fields": encode_numbers([texts.number(m[6]) if m[6] else 0 for m in rows]),
            "reason": encode_numbers([reasons.number(m[7]) for m in rows]),
        },
        "kinds": kinds.list(),
        "reasons": reasons.list(),
        "left_out": max(0, len(found) - MESSAGES_MAX),
        "count": len(rows),
    }


Message = tuple[int, int, int, int, int, str, str, str | None]
"""sent, departs, transit + 1 (0: lost), source, target, kind, fields, reason."""


def read_messages(folder: RunFolder) -> list[Message]:
    """All messages in the order in which they were sent; none without a file."""
    path = folder.messages
    return sorted(_messages(path), key=lambda m: m[0]) if path.is_file() else []


def _messages(path: Path) -> Iterator[Message]:
    for line, _ in objects(path):
        message = None if line is None else _message(line)
        if message is not None:
            yield message


def _message(line: dict[str, Any]) -> Message | None:
    departs, arrives = _time(line.get("departs_us")), _time(line.get("arrives_us"))
    source, target = _time(line.get("source")), _time(line.get("target"))
    sent = _time(line.get("sent_us"))
    sent = departs if sent is None else sent
    departs = sent if departs is None else departs
    if sent is None or departs is None or source is None or target is None:
        return None
    transit = 0 if arrives is None else max(0, arrives - departs) + 1
    reason = str(line.get("reason") or "lost") if arrives is None else None
    fields = _words(line.get("fields"))
    return sent, departs, transit, source, target, str(line.get("kind")), fields, reason


def _time(value: Any) -> int | None:
    """A whole number that a column can hold."""
    return value if value.__class__ is int and 0 <= value < 1 << 53 else None


def _words(fields: Any) -> str:
    if fields is None:
        return ""
    if isinstance(fields, dict):
        words = ", ".join(f"{k} {_word(v)}" for k, v in fields.items())
    else:
        words = _word(fields)
    return words if len(words) <= FIELDS_MAX else words[: FIELDS_MAX - 1] + "…"


def _word(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def story_of(folder: RunFolder) -> list[dict[str, Json]]:
    """The lines of story.txt, each with its time if it has one."""
    path = folder.path / STORY
    if not path.is_file():
        return []
    lines = []
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines()[:5_000]:
        timed = _TIMED.match(text)
        at_us = round(float(timed.group(1)) * 1e6) if timed else None
        lines.append({"at_us": at_us, "text": text})
    return lines
