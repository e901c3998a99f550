"""owned-fenced-lock: a fenced-lock that only its holder can release.

acquire -> token, release by its holder only: tokens rise from holder to holder. Holders are
identified as in owned-mutex, tokens given as in fenced-lock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models._owners import ACQUIRE, TOKEN, owner_of, token_of
from histories.models.interface import ANY, ILLEGAL, NUMBER, Signature, State
from histories.models.mutex import refused
from histories.operations import Operation


class OwnedFencedLock:
    """The state is (holder or None, token): the least that the highest token so far can be."""

    name = "owned-fenced-lock"
    begins = NUMBER._replace(text="a whole number, the highest token so far")
    operations: ClassVar[Mapping[str, Signature]] = {
        "acquire": Signature(ANY, TOKEN),
        "release": ACQUIRE,
    }
    reads: ClassVar[frozenset[str]] = frozenset()
    by_process: ClassVar[bool] = True

    def __init__(self, initial: Json = None) -> None:
        self._initial = (None, -1 if initial is None else int(initial))

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        (holder, token), me = state, owner_of(operation)
        acquires = operation.f == "acquire"
        possible = holder is None if acquires else holder == me
        if refused(operation):
            return ILLEGAL if possible else state
        if not possible:
            return state if operation.outcome == "info" else ILLEGAL
        if not acquires:
            return (None, token)
        if not operation.seen:
            return (me, token + 1)
        got = token_of(operation.result)
        return (me, got) if got is not None and got > token else ILLEGAL


MODEL = OwnedFencedLock
