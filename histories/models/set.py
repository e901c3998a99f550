"""set: different elements: add, remove, contains, read.

add v, remove v, contains v -> true or false, read -> every element.

An add may answer whether v was new, a remove whether v was there; null, or the value itself,
carries no such information. A removal of what is not there changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models.interface import (
    ANY,
    ECHO_OR_FLAG,
    FLAG,
    ILLEGAL,
    LIST,
    Kind,
    Signature,
    State,
)
from histories.operations import Bool, Operation, elements_of, freeze

ELEMENTS = Kind(
    "a list or a set, or null", lambda v: isinstance(v, frozenset) or elements_of(v) is not None
)


class Set:
    name = "set"
    begins = LIST
    operations: ClassVar[Mapping[str, Signature]] = {
        "add": Signature(ANY, ECHO_OR_FLAG),
        "remove": Signature(ANY, ECHO_OR_FLAG),
        "contains": Signature(ANY, FLAG),
        "read": Signature(ANY, ELEMENTS),
    }
    reads: ClassVar[frozenset[str]] = frozenset(("contains", "read"))

    def __init__(self, initial: Json = None) -> None:
        self._initial = frozenset(freeze(v) for v in initial or ())

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        f, value = operation.f, operation.value
        if f in ("add", "remove"):
            changes = (value in state) == (f == "remove")
            if answered(operation) and bool(operation.result) != changes:
                return ILLEGAL
            return state | {value} if f == "add" else state - {value}
        if not operation.seen:
            return state
        if f == "contains":
            return state if (operation.result is Bool.TRUE) == (value in state) else ILLEGAL
        return state if _elements(operation.result) == state else ILLEGAL


def answered(operation: Operation) -> bool:
    """Whether an add or a remove answered if it changed anything. Where the elements are themselves
    true and false, an answer that repeats the element carries no information."""
    said = operation.seen and isinstance(operation.result, Bool)
    return said and operation.result != operation.value


def _elements(result: Any) -> frozenset[Any] | None:
    """The elements of what was read; None where one occurs twice."""
    if isinstance(result, frozenset):
        return result
    listed = elements_of(result)
    if listed is None or len(set(listed)) != len(listed):
        return None
    return frozenset(listed)


MODEL = Set
