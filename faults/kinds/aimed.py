"""Aimed: affects a node when a certain event occurs (the trigger)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

from faults.description import LEADER, OMIT_DEFAULT, BadFault, Fault, node_name
from faults.generators import MS, PROCESS, SECOND, Constraints, Draw, Fields, Generator
from faults.kind import FaultKind

MOMENTS: Final = ("after-send", "before-reply", "elected", "log-line")
ACTIONS: Final = ("kill", "power", "isolate", "pause")


@dataclass(frozen=True, kw_only=True)
class Aimed(Fault):
    """Waits from `start_us` on, affects one node once, and is healed at its end.

    `moment` is the trigger: "after-send", the `count`-th time that one of `nodes` (any node if
    empty) has sent a message of class `message` to another node; "before-reply", as it is about to
    answer a client for the `count`-th time. Only on real nodes: "elected", when another node leads
    for the `count`-th time; "log-line", when the log of one of `nodes` has a line that contains
    `text`.

    `action`: what then happens to that node. In the simulator that is before its next effect:
    killed during a broadcast, it has sent to some nodes and not to others; killed before a reply,
    it has not answered. On real nodes it is some milliseconds later. `hold_us` after the action the
    node is healed, before the fault's end; 0: only at its end. With a short
    `hold_us` the node is back before the others' election timeout, and they elect no other.
    """

    kind: ClassVar[str] = "aimed"

    moment: str
    action: str
    message: str = ""
    count: int = 1
    hold_us: int = 0
    text: str = field(default="", metadata={OMIT_DEFAULT: True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hold_us < 0:
            raise BadFault(f"{self.id}: hold_us must not be negative")
        for name, value, choices in (
            ("moment", self.moment, MOMENTS),
            ("action", self.action, ACTIONS),
        ):
            if value not in choices:
                raise BadFault(
                    f"{self.id}: no {name} {value!r}; choose one of {', '.join(choices)}"
                )
        if self.moment == "log-line" and not self.text:
            raise BadFault(f"{self.id}: a log line must hold some text: give text")
        if self.count < 1:
            raise BadFault(f"{self.id}: count must be at least 1, not {self.count}")

    def beyond(self, core: Sequence[int]) -> Fault | None:
        """It has affected one node, not known here; that one is healed."""
        return None

    def describe(self) -> str:
        who = ",".join(node_name(n) for n in self.nodes) or "a node"
        when = {
            "after-send": f"has sent {self.message or 'a message'}",
            "before-reply": "is about to answer",
            "elected": "has been elected",
            "log-line": f"logs {self.text!r}",
        }[self.moment]
        nth = f" ({self.count})" if self.count > 1 else ""
        return f"{self.action} {who} when it {when}{nth}"


def _draw(draw: Draw, constraints: Constraints) -> Fields:
    """Mostly at any node: the first to reach the trigger is one that is busy."""
    sends = bool(constraints.messages) and draw.chance(75)
    drawn = {
        "nodes": draw.pick([(), (), (LEADER,)]),
        "moment": "after-send" if sends else "before-reply",
        "message": draw.pick(constraints.messages) if sends else "",
        "action": draw.pick([*["kill"] * 4, "power", "isolate", "isolate", "pause"]),
        "count": draw.pick([1, 1, 2, 3, draw.between(1, 20)]),
        "hold_us": draw.pick([0, 0, 50, 50, 150, 400]) * MS,
    }
    if constraints.runtime != "sim" and drawn["action"] == "power":
        drawn["action"] = "kill"  # a node's disk is prepared for that only where power is requested
    return drawn


KIND: Final = FaultKind(
    fault=Aimed,
    summary="a node is hit as it sends, answers or leads",
    generator=Generator(PROCESS, 500 * MS, 3 * SECOND, 3, _draw),
    order=120,
    runtimes=("docker", "sim"),
    mix_weight=4,
)
