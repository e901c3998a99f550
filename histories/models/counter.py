"""counter: one number: add, inc, dec, read.

add n (inc is add 1, dec is add -1), read -> the sum, or a range [least, most] in which it lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from histories.events import Json
from histories.models.interface import (
    ANY,
    ILLEGAL,
    NUMBER,
    NUMBER_OR_NULL,
    Kind,
    Signature,
    State,
    is_number,
    is_pair,
)
from histories.operations import Operation


def _is_range(value: Any) -> bool:
    return is_pair(value) and all(map(is_number, value)) and bool(value[0] <= value[1])


READING = Kind(
    "a whole number, or a range [least, most] of them",
    lambda v: is_number(v) or _is_range(v),
)


class Counter:
    name = "counter"
    begins = NUMBER
    operations: ClassVar[Mapping[str, Signature]] = {
        "add": Signature(NUMBER, ANY),
        "inc": Signature(NUMBER_OR_NULL, ANY),
        "dec": Signature(NUMBER_OR_NULL, ANY),
        "read": Signature(ANY, READING),
    }
    reads: ClassVar[frozenset[str]] = frozenset(("read",))

    def __init__(self, initial: Json = None) -> None:
        self._initial = 0 if initial is None else int(initial)

    def initial(self) -> State:
        return self._initial

    def step(self, state: Any, operation: Operation) -> Any:
        if operation.f == "read":
            return state if not operation.seen or fits(operation.result, state) else ILLEGAL
        amount = 1 if operation.value is None else operation.value
        return state - amount if operation.f == "dec" else state + amount


def fits(reading: Any, value: int) -> bool:
    """Whether a counter that holds `value` may be read as `reading`."""
    if isinstance(reading, tuple):
        return bool(reading[0] <= value <= reading[1])
    return bool(reading == value)


MODEL = Counter
