"""What is fuzzed: something that takes an input drawn at random, and says what became of it."""

from __future__ import annotations

import random
from typing import Protocol


class Wrong(Exception):
    """Neither refused nor understood rightly; the message says what."""


def require(holds: bool, words: str) -> None:
    """Raises Wrong."""
    if not holds:
        raise Wrong(words)


class Subject(Protocol):
    """`one` draws an input, feeds it in, and says what became of it ("valid", "refused", ...). What
    it raises is a finding."""

    name: str

    def one(self, draw: random.Random) -> str: ...

    def close(self) -> None: ...
