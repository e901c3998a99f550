"""mutex: a lock that any client may release.

acquire, release: held by at most one at a time; any client may release it.

An acquire that answers false found it held; a release that answers false found it free.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models.interface import ANY, FLAG, ILLEGAL, Signature, State
from histories.operations import Bool, Operation


class Mutex:
    name = "mutex"
    begins = FLAG._replace(text="true (held) or false")
    operations: ClassVar[Mapping[str, Signature]] = {
        "acquire": Signature(ANY, ANY),
        "release": Signature(ANY, ANY),
    }
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, initial: Json = None) -> None:
        self._initial = bool(initial)

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        wanted = operation.f == "acquire"
        if refused(operation):
            return state if state == wanted else ILLEGAL
        if state == wanted:
            return state if operation.outcome == "info" else ILLEGAL
        return wanted


def refused(operation: Operation) -> bool:
    """Whether the operation answered that it changed nothing."""
    return operation.seen and operation.result is Bool.FALSE


MODEL = Mutex
