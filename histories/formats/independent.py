"""Keys inside the values: `jepsen.independent` lifts a test of one object to many objects by making
every value `[key value]`.

A history does not declare that it is of this kind. It is certain where every client's value is a
pair, completions have the key of their invocation, and

- a read is invoked with `[key nil]`: a read of one object has nothing to be invoked with; or
- a compare-and-set has `[key [expected new]]`, where the key is not a pair: one object that holds
  pairs could never match it.

Where every value is a pair and neither holds, a note says that they were read as values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from histories.errors import BadHistory
from histories.events import NEMESIS, Event
from histories.formats import edn

INDEPENDENT: Final = "every value is [key value] (jepsen.independent): read as objects of their own"
PAIRS: Final = (
    "every value is a list of two, which may or may not be [key value] of "
    "jepsen.independent: read as values of one object; --independent reads them as keys"
)
READS: Final = ("read", "get")


def all_pairs(events: Sequence[Event]) -> bool | None:
    """Whether the values are certainly pairs of key and value; False where they only may be, None
    where they are not."""
    begun: dict[int | str, str] = {}
    certain, possible = False, True
    for event in events:
        if event.process == NEMESIS:
            continue
        pair = _pair(event)
        if event.type == "info" and (pair is None or event.process not in begun):
            begun.pop(event.process, None)  # a crash, or something that is not an operation
            continue
        if pair is None or event.key is not None:
            return None
        key, value = edn.name_of(pair[0]), pair[1]
        if event.type != "invoke":
            if begun.get(event.process) != key:
                return None
            continue
        begun[event.process] = key
        if event.f in READS:
            possible = possible and value is None
            certain = certain or value is None
        elif event.f == "cas":
            lifted = _is_pair(value) and not _is_pair(pair[0])
            possible, certain = possible and _is_pair(value), certain or lifted
    if not begun or not possible:
        return None
    return certain


def unwrapped(events: Sequence[Event]) -> list[Event]:
    """The events with their keys in `key`. Raises BadHistory, with the event's number, for a
    client's value that is not a pair."""
    found = []
    for number, event in enumerate(events, 1):
        pair = _pair(event)
        if event.process == NEMESIS or (pair is None and event.type == "info"):
            found.append(event)
            continue
        if pair is None:
            raise BadHistory(
                f"the value {json.dumps(event.value)} is not [key value], as it has to be "
                f"where keys are independent",
                line=number,
            )
        found.append(event._replace(key=edn.name_of(pair[0]), value=pair[1]))
    return found


def _pair(event: Event) -> list[Any] | None:
    return event.value if _is_pair(event.value) else None


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2
