"""What an entry of the world's agenda may be; see `harness.runtimes.sim.world`.

An entry is (at_us, sequence, what, node, payload, departs_us). `what` above zero is the sender of a
message between nodes.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeAlias

Entry: TypeAlias = tuple[int, int, int, Any, Any, int]

REQUEST: Final = 0  # (call, command): a client's request reaches a node
TIMER: Final = -1  # the timer's name
EFFECTS: Final = -2  # the rest of a step that a pause interrupted
ANSWER: Final = -3  # (call, response): an answer reaches a client
WAKE: Final = -4  # the conductor wants to be woken
CONTROL: Final = -5  # (function, arguments...): the faults' hands


class Sent(NamedTuple):
    """One message on its way, for people. `arrives_us` is None when it was lost."""

    departs_us: int
    arrives_us: int | None
    source: int
    target: int
    message: tuple[Any, ...]


class Moment(NamedTuple):
    """Something that became of a node's process: "start", "crash", "pause" or "resume"."""

    at_us: int
    node: int
    what: str
