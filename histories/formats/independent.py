"""Keys that stand in the values: `jepsen.independent` lifts a test of one object to many objects by
making every value `[key value]`.

A history does not say that it is of this kind. It is certain where every client's value is a pair,
completions have the key of their invocation, and a read is invoked with `[key nil]`: a read of one
object has nothing to be invoked with.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from histories.errors import BadHistory
from histories.events import NEMESIS, Event
from histories.formats import edn

INDEPENDENT: Final = "every value is [key value] (jepsen.independent): read as objects of their own"


def all_independent(events: Sequence[Event]) -> bool:
    """Whether the values are certainly pairs of key and value."""
    begun: dict[int | str, str] = {}
    read = False
    for event in events:
        if event.process == NEMESIS:
            continue
        pair = _pair(event)
        if pair is None or event.key is not None:
            return False
        key, value = _key(pair[0]), pair[1]
        if event.type != "invoke":
            if begun.get(event.process) != key:
                return False
            continue
        begun[event.process] = key
        if event.f in ("read", "get"):
            if value is not None:
                return False
            read = True
    return read


def unwrapped(events: Sequence[Event]) -> list[Event]:
    """The events with their keys where keys belong. Raises BadHistory, with the event's number, for
    a client's value that is no pair."""
    found = []
    for number, event in enumerate(events, 1):
        if event.process == NEMESIS:
            found.append(event)
            continue
        pair = _pair(event)
        if pair is None:
            raise BadHistory(
                f"the value {json.dumps(event.value)} is not [key value], as it has to be "
                f"where keys are independent",
                line=number,
            )
        found.append(event._replace(key=_key(pair[0]), value=pair[1]))
    return found


def _pair(event: Event) -> list[Any] | None:
    value = event.value
    return value if isinstance(value, list) and len(value) == 2 else None


def _key(value: Any) -> str:
    return value if isinstance(value, str) else edn.written(value)
