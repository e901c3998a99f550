"""fenced-lock: a lock with rising tokens: acquire, release.

acquire -> token, release: tokens rise from holder to holder.

An acquire answers its token (a whole number, or a map with a `fence` or a `token`), or false where
it found the lock held. Any client may release it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models._owners import ACQUIRE, TOKEN, token_of
from histories.models.interface import ANY, ILLEGAL, NUMBER, Signature, State
from histories.models.mutex import refused
from histories.operations import Operation


class FencedLock:
    """The state is (held, token): the least that the highest token so far can be; an acquire of
    unknown outcome got an unknown one, higher than all before it."""

    name = "fenced-lock"
    begins = NUMBER._replace(text="a whole number, the highest token so far")
    operations: ClassVar[Mapping[str, Signature]] = {
        "acquire": Signature(ANY, TOKEN),
        "release": ACQUIRE,
    }
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, initial: Json = None) -> None:
        self._initial = (False, -1 if initial is None else int(initial))

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        held, token = state
        acquires = operation.f == "acquire"
        if refused(operation):
            return state if held == acquires else ILLEGAL
        if held == acquires:
            return state if operation.outcome == "info" else ILLEGAL
        if not acquires:
            return (False, token)
        if not operation.seen:
            return (True, token + 1)
        got = token_of(operation.result)
        return (True, got) if got is not None and got > token else ILLEGAL


MODEL = FencedLock
