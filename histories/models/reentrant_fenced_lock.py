"""reentrant-fenced-lock: an owned-fenced-lock that its holder may retake.

As owned-fenced-lock, but the holder may acquire it again, gets the token that it has, and must
release it as often.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

from histories.events import Json
from histories.models._owners import ACQUIRE, TOKEN, owner_of, token_of
from histories.models.interface import ANY, ILLEGAL, NUMBER, Signature, State
from histories.models.mutex import refused
from histories.operations import Operation


class _Held(NamedTuple):
    """`token` is the highest so far, or, where it is not `known`, the least that it can be."""

    holder: Any
    holds: int
    token: int
    known: bool


class ReentrantFencedLock:
    name = "reentrant-fenced-lock"
    begins = NUMBER._replace(text="a whole number, the highest token so far")
    operations: ClassVar[Mapping[str, Signature]] = {
        "acquire": Signature(ANY, TOKEN),
        "release": ACQUIRE,
    }
    reads: ClassVar[frozenset[str]] = frozenset()
    by_process: ClassVar[bool] = True

    def __init__(self, initial: Json = None) -> None:
        self._initial = _Held(None, 0, -1 if initial is None else int(initial), True)

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        me = owner_of(operation)
        mine = state.holds > 0 and state.holder == me
        possible = mine or (operation.f == "acquire" and state.holds == 0)
        if refused(operation):
            return ILLEGAL if possible else state
        if not possible:
            return state if operation.outcome == "info" else ILLEGAL
        if operation.f == "acquire":
            return _acquired(state, me, operation)
        if state.holds > 1:
            return state._replace(holds=state.holds - 1)
        return _Held(None, 0, state.token, True)


def _acquired(state: _Held, me: Any, operation: Operation) -> Any:
    got = token_of(operation.result) if operation.seen else None
    if operation.seen and got is None:
        return ILLEGAL
    if state.holds == 0:
        if got is None:
            return _Held(me, 1, state.token + 1, False)
        return _Held(me, 1, got, True) if got > state.token else ILLEGAL
    if got is None:
        return state._replace(holds=state.holds + 1)
    fits = got == state.token if state.known else got >= state.token
    return _Held(me, state.holds + 1, got, True) if fits else ILLEGAL


MODEL = ReentrantFencedLock
