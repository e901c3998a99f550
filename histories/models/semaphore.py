"""semaphore: a number of permits: acquire n, release n.

Acquire n, release n (null: 1): no more permits are held than there are.

An acquire that answers false found too few free. What is released must have been acquired.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models.interface import ANY, ILLEGAL, Kind, Signature, State, is_number
from histories.models.mutex import refused
from histories.operations import Operation

PERMITS = Kind(
    "a whole number above 0, or null for 1", lambda v: v is None or (is_number(v) and v > 0)
)


class Semaphore:
    """`initial` is how many permits there are; null: 1. The state is how many are free."""

    name = "semaphore"
    begins = Kind("a whole number above 0: the permits", lambda v: is_number(v) and v > 0)
    operations: ClassVar[Mapping[str, Signature]] = {
        "acquire": Signature(PERMITS, ANY),
        "release": Signature(PERMITS, ANY),
    }
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, initial: Json = None) -> None:
        self._permits = 1 if initial is None else int(initial)

    def initial(self) -> State:
        return self._permits

    def step(self, state: Any, operation: Operation) -> Any:
        permits = 1 if operation.value is None else operation.value
        free = state + (permits if operation.f == "release" else -permits)
        possible = 0 <= free <= self._permits
        if refused(operation):
            return ILLEGAL if possible else state
        if not possible:
            return state if operation.outcome == "info" else ILLEGAL
        return free


MODEL = Semaphore
