"""The interface of a fuzzing subject: it processes a random input, and returns the outcome."""

from __future__ import annotations

import random
from typing import Protocol


class Wrong(Exception):
    """An input was accepted with a wrong result; the message states which."""


def require(holds: bool, words: str) -> None:
    """Raises Wrong."""
    if not holds:
        raise Wrong(words)


class Subject(Protocol):
    """`one` draws an input, processes it, and returns the outcome ("valid", "refused", ...). An
    exception is a finding."""

    name: str

    def one(self, draw: random.Random) -> str: ...

    def close(self) -> None: ...
