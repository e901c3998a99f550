"""Faults that need a hand inside the network, the disk or the moment.

The simulator carries all of these out. Other runtimes raise `UnsupportedFault` for those they
cannot do yet.

    loss, delay, duplicate, reorder   the weather of links: each message is struck by chance
    power                             the machine goes dark: what was not fsynced is lost
    slow-disk                         every fsync takes longer
    drift                             both clocks of a node run too fast or too slow
    aimed                             strikes at a moment: the sender just after it has sent a given
                                      kind of message, the node that is about to answer a client

Weather may be aimed at one kind of message by the name of its class. Names are the protocol's
(`ConsensusProtocol.messages`); "" means every message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from faults.description import KINDS, BadFault, Fault, Link, node_name

DIRECTIONS: Final = ("both", "in", "out")
MOMENTS: Final = ("after-send", "before-reply")
ACTIONS: Final = ("kill", "power", "isolate", "pause")


@dataclass(frozen=True, kw_only=True)
class Weather(Fault):
    """What may happen to each message on the links between `nodes` and the other nodes.

    `direction`: messages to `nodes`, from them, or both. `clients`: also what their clients send
    and are answered. `message`: only messages of this class, "" for all.
    """

    direction: str = "both"
    clients: bool = False
    message: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.direction not in DIRECTIONS:
            raise BadFault(f"{self.id}: no direction {self.direction!r}; there are {DIRECTIONS}")

    def covers(self, link: Link) -> bool:
        """Is this directed link in it?"""
        source, destination = link
        return (self.direction != "in" and source in self.nodes) or (
            self.direction != "out" and destination in self.nodes
        )

    def describe(self) -> str:
        what = f" of {self.message}" if self.message else ""
        where = {"both": "at", "in": "to", "out": "from"}[self.direction]
        return f"{self.kind}{what} {where} {','.join(node_name(n) for n in self.nodes)}"

    def _check_percent(self, percent: int) -> None:
        if not 0 < percent <= 100:
            raise BadFault(f"{self.id}: percent must be 1 to 100, not {percent}")


@dataclass(frozen=True, kw_only=True)
class Loss(Weather):
    """Each message is lost with a chance of `percent`."""

    kind: ClassVar[str] = "loss"

    percent: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_percent(self.percent)


@dataclass(frozen=True, kw_only=True)
class Delay(Weather):
    """Each message takes `delay_us` longer, and up to `jitter_us` more; the order is kept where
    the transport keeps it."""

    kind: ClassVar[str] = "delay"

    delay_us: int
    jitter_us: int = 0


@dataclass(frozen=True, kw_only=True)
class Duplicate(Weather):
    """With a chance of `percent` a message arrives twice, the copy up to `spread_us` later."""

    kind: ClassVar[str] = "duplicate"

    percent: int
    spread_us: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_percent(self.percent)


@dataclass(frozen=True, kw_only=True)
class Reorder(Weather):
    """With a chance of `percent` a message is held back up to `window_us`; later ones overtake."""

    kind: ClassVar[str] = "reorder"

    percent: int
    window_us: int

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_percent(self.percent)


@dataclass(frozen=True, kw_only=True)
class PowerCut(Fault):
    """The nodes' machines lose power at one moment, and have it back after `duration_us`: exactly
    what was not fsynced is gone, and the record that was being written is torn."""

    kind: ClassVar[str] = "power"


@dataclass(frozen=True, kw_only=True)
class SlowDisk(Fault):
    """Every fsync of the nodes takes `fsync_us` longer."""

    kind: ClassVar[str] = "slow-disk"

    fsync_us: int


@dataclass(frozen=True, kw_only=True)
class Drift(Fault):
    """The nodes' clocks, wall and monotonic, run `ppm` millionths too fast (or slow, if below 0).

    At the end the rate is right again; what has been gained stays.
    """

    kind: ClassVar[str] = "drift"

    ppm: int

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -900_000 <= self.ppm <= 9_000_000:
            raise BadFault(f"{self.id}: a clock cannot run {self.ppm} ppm off")

    def describe(self) -> str:
        return f"{super().describe()} {self.ppm:+d} ppm"


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


SIMULATED: Final[dict[str, type[Fault]]] = {
    cls.kind: cls for cls in (Loss, Delay, Duplicate, Reorder, PowerCut, SlowDisk, Drift, Aimed)
}
KINDS.update(SIMULATED)
