"""owned-mutex: a mutex that only its holder can release.

acquire, release: only its holder can release it, and it cannot be acquired twice.

The holder is the `client` or `owner` that the invocation's value names, else the process. An
acquire that answers false found it held; a release that answers false was not the holder's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models._owners import ACQUIRE, owner_of
from histories.models.interface import ANY, ILLEGAL, Signature, State
from histories.models.mutex import refused
from histories.operations import Operation, freeze


class OwnedMutex:
    """`initial` is the process that holds it at first, or null."""

    name = "owned-mutex"
    begins = ANY
    operations: ClassVar[Mapping[str, Signature]] = {"acquire": ACQUIRE, "release": ACQUIRE}
    reads: ClassVar[frozenset[str]] = frozenset()
    by_process: ClassVar[bool] = True

    def __init__(self, initial: Json = None) -> None:
        self._initial = freeze(initial)

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        me = owner_of(operation)
        acquires = operation.f == "acquire"
        possible = state is None if acquires else state == me
        if refused(operation):
            return ILLEGAL if possible else state
        if not possible:
            return state if operation.outcome == "info" else ILLEGAL
        return me if acquires else None


MODEL = OwnedMutex
