"""watch: what watchers of a key see of its changes.

What watchers of one key (or of one range of keys) see of its changes.

    put v -> the revision (a whole number, or {"revision": n}), or null
    delete -> the same
    watch from -> the events [[revision, value], …] that it saw, from the revision `from` on (null:
           from the beginning); the value of a delete is null

A watcher sees the changes in the order of their revisions, each once, and none is left out between
the first one and the last one that it saw. It may lag: changes after the last one it saw need not
be in its answer.

`initial` lists the events before the history.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from histories.events import Json
from histories.models.interface import (
    ANY,
    ILLEGAL,
    NUMBER_OR_NULL,
    Kind,
    Signature,
    State,
    is_list,
    is_number,
    is_pair,
)
from histories.models.revision_kv import REVISION, _revision, _seen
from histories.operations import Operation, freeze


def _is_event(value: Any) -> bool:
    if is_pair(value):
        return is_number(value[0])
    return _seen(value) is not None


def _event(value: Any) -> tuple[int, Any]:
    if is_pair(value):
        return value[0], value[1]
    seen = _seen(value)
    assert seen is not None
    return seen.revision, seen.value


EVENTS: Final = Kind(
    "a list of [revision, value]",
    lambda v: v is None or (is_list(v) and all(map(_is_event, v))),
)


class Watch:
    """The state is every change so far: (revision, whether it is known, value). An unknown revision
    is the least that it can be."""

    name = "watch"
    begins = EVENTS
    operations: ClassVar[Mapping[str, Signature]] = {
        "put": Signature(ANY, REVISION),
        "delete": Signature(ANY, REVISION),
        "watch": Signature(NUMBER_OR_NULL, EVENTS),
    }
    # A watcher may be the first to show the revision of a change.
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, initial: Json = None) -> None:
        events = [_event(value) for value in freeze(initial) or ()]  # type: ignore[attr-defined]
        self._initial = tuple((revision, True, value) for revision, value in events)

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f == "watch":
            return _watched(state, operation) if operation.seen else state
        revision = _revision(operation.result) if operation.seen else None
        least = state[-1][0] + 1 if state else 1
        if revision is not None and revision < least:
            return ILLEGAL
        value = None if operation.f == "delete" else operation.value
        return (*state, (least if revision is None else revision, revision is not None, value))


def _watched(state: Any, operation: Operation) -> Any:
    """The changes with the revisions that the watcher saw of them."""
    events = [_event(value) for value in operation.result or ()]
    if not events:
        return state
    start = operation.value or 0
    for first in range(len(state)):
        revision, known, _ = state[first]
        if known and revision < start:
            continue
        shown = _shown(state, first, events)
        if shown is not ILLEGAL and events[0][0] >= start:
            # What comes before may have an unknown revision, if that can be below `start`.
            before = state[first - 1] if first else None
            if before is None or before[0] < start:
                return shown
        if known:
            break
    return ILLEGAL


def _shown(state: Any, first: int, events: list[tuple[int, Any]]) -> Any:
    """The state once these events were seen from position `first` on; ILLEGAL where they do not
    fit."""
    if first + len(events) > len(state):
        return ILLEGAL
    shown = list(state)
    for place, (seen, value) in enumerate(events, first):
        revision, known, put = state[place]
        if value != put or (seen != revision if known else seen < revision):
            return ILLEGAL
        shown[place] = (seen, True, put)
    for place in range(first + 1, len(shown)):
        revision, known, put = shown[place]
        least = shown[place - 1][0] + 1
        if revision < least:
            if known:
                return ILLEGAL
            shown[place] = (least, False, put)
    return tuple(shown)


MODEL = Watch
