"""Aimed: strikes a node at a moment of its own activity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import LEADER, BadFault, Fault, node_name
from faults.generators import MS, PROCESS, SECOND, Constraints, Draw, Fields, Generator
from faults.kind import FaultKind

MOMENTS: Final = ("after-send", "before-reply")
ACTIONS: Final = ("kill", "power", "isolate", "pause")


@dataclass(frozen=True, kw_only=True)
class Aimed(Fault):
    """Lies in wait from `start_us` on, strikes once, and is taken back at its end.

    `moment` "after-send": the `count`-th time that one of `nodes` (any node if empty) has sent a
    message of class `message` to somebody else. "before-reply": as it is about to answer a client
    for the `count`-th time. `action`: what then happens to that node, before it does the next thing
    it wanted to do: killed while it broadcasts, it has reached some and not others; killed as it
    answers, it has not answered. `hold_us` after the strike the node is let go again, before the
    fault's end; 0: only at its end. A node that is back before the others miss it is a case of its
    own.
    """

    kind: ClassVar[str] = "aimed"

    moment: str
    action: str
    message: str = ""
    count: int = 1
    hold_us: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hold_us < 0:
            raise BadFault(f"{self.id}: hold_us must not be negative")
        for name, value, choices in (
            ("moment", self.moment, MOMENTS),
            ("action", self.action, ACTIONS),
        ):
            if value not in choices:
                raise BadFault(f"{self.id}: no {name} {value!r}; there are {choices}")
        if self.count < 1:
            raise BadFault(f"{self.id}: count must be at least 1, not {self.count}")

    def beyond(self, core: Sequence[int]) -> Fault | None:
        """It has struck one node, whichever; that one is healed."""
        return None

    def describe(self) -> str:
        who = ",".join(node_name(n) for n in self.nodes) or "a node"
        what = self.message or "a message"
        when = f"has sent {what}" if self.moment == "after-send" else "is about to answer"
        nth = f" ({self.count})" if self.count > 1 else ""
        return f"{self.action} {who} when it {when}{nth}"


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    """Mostly at any node: the first to reach the moment is one that is busy."""
    sends = bool(constraints.messages) and draw.chance(75)
    return {
        "nodes": draw.pick([(), (), (LEADER,)]),
        "moment": "after-send" if sends else "before-reply",
        "message": draw.pick(constraints.messages) if sends else "",
        "action": draw.pick([*["kill"] * 4, "power", "isolate", "isolate", "pause"]),
        "count": draw.pick([1, 1, 2, 3, draw.between(1, 20)]),
        "hold_us": draw.pick([0, 0, 50, 50, 150, 400]) * MS,
    }


KIND: Final = FaultKind(
    fault=Aimed,
    generator=Generator(PROCESS, 500 * MS, 3 * SECOND, 3, _draw),
    order=120,
    runtimes=("sim",),
    mix_weight=4,
)
