"""Exceptions raised by a protocol: the node, the time, and the traceback from the protocol on."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any, Final, NamedTuple

WORLD: Final = str(Path(__file__).parent)


class BadEffect(Exception):
    """A protocol returned something that is not an effect, or a message to an unknown node."""


class NodeCrash(NamedTuple):
    """`where` is the innermost function of the protocol, as "file.py:function"."""

    node: int
    at_us: int
    error: str
    where: str
    traceback: str

    def describe(self) -> str:
        return f"n{self.node} died of {self.error} in {self.where} at {self.at_us / 1e6:.3f} s"

    def to_json(self) -> dict[str, Any]:
        return self._asdict() | {"describe": self.describe()}


def crash_of(node: int, at_us: int, error: Exception) -> NodeCrash:
    """The finding for an exception. Re-raises one of the simulator itself."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if WORLD not in f.filename]
    if not frames and not isinstance(error, BadEffect):
        raise error
    where = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "its effects"
    lines = traceback.format_list(frames) + traceback.format_exception_only(error)
    summary = f"{type(error).__name__}: {error}".rstrip(": ")
    return NodeCrash(node, at_us, summary, where, "".join(lines))
