"""string-map: a text for each key: get, put, append, delete.

Strings that grow: get, put, append, delete (also read and write).

A missing key reads as "" or null. A delete may answer true or false, or how many keys it deleted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models.interface import ANY, ILLEGAL, STRING, STRING_OR_NULL, Signature, State
from histories.models.kv import DELETE, step_delete
from histories.operations import Operation


class StringMap:
    name = "string-map"
    begins = STRING
    operations: ClassVar[Mapping[str, Signature]] = {
        "get": Signature(ANY, STRING_OR_NULL),
        "read": Signature(ANY, STRING_OR_NULL),
        "put": Signature(STRING, ANY),
        "write": Signature(STRING, ANY),
        "append": Signature(STRING, ANY),
        "delete": DELETE,
    }
    reads: ClassVar[frozenset[str]] = frozenset(("get", "read"))

    def __init__(self, initial: Json = None) -> None:
        self._initial: str | None = initial

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        match operation.f:
            case "get" | "read":
                same = (operation.result or "") == (state or "")
                return state if not operation.seen or same else ILLEGAL
            case "append":
                return f"{state or ''}{operation.value}"
            case "delete":
                return step_delete(state, operation)
        return operation.value


MODEL = StringMap
