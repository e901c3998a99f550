"""reentrant-mutex: an owned-mutex that its holder may retake.

As owned-mutex, but the holder may acquire it again, and must then release it as often.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models._owners import ACQUIRE, owner_of
from histories.models.interface import ILLEGAL, Kind, Signature, State, is_number
from histories.models.mutex import refused
from histories.operations import Operation


class ReentrantMutex:
    """The state is (holder, how often it holds it). `initial` is how often one holder may hold it
    at once; null: without a bound."""

    name = "reentrant-mutex"
    begins = Kind(
        "a whole number above 0: how often it may be held", lambda v: is_number(v) and v > 0
    )
    operations: ClassVar[Mapping[str, Signature]] = {"acquire": ACQUIRE, "release": ACQUIRE}
    reads: ClassVar[frozenset[str]] = frozenset()
    by_process: ClassVar[bool] = True

    def __init__(self, initial: Json = None) -> None:
        self._most = initial

    def initial(self) -> State:
        return (None, 0)

    def step(self, state: Any, operation: Operation) -> Any:
        me, (holder, holds) = owner_of(operation), state
        acquires = operation.f == "acquire"
        if acquires:
            possible = holds == 0 or (holder == me and (self._most is None or holds < self._most))
        else:
            possible = holds > 0 and holder == me
        if refused(operation):
            return ILLEGAL if possible else state
        if not possible:
            return state if operation.outcome == "info" else ILLEGAL
        holds += 1 if acquires else -1
        return (me if holds else None, holds)


MODEL = ReentrantMutex
