"""What every directed link must look like while some faults are active.

Faults of links compose: a partition cuts, losses multiply, delays add, the lowest rate counts. The
state of a link is translated into the settings of its two agents; see `faults.agent.network`.

`CLIENTS` in a link represents all hosts outside the cluster. Their packets come from the bridge's
own address. A node's answers to them are treated like any link; of their requests some can be
lost, but not delayed, since no agent is at their sender.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from faults.description import Fault, Link, UnsupportedFault
from faults.kinds.corrupt import Corrupt
from faults.kinds.delay import Delay
from faults.kinds.duplicate import Duplicate
from faults.kinds.loss import Loss
from faults.kinds.partition import Partition
from faults.kinds.rate import Rate
from faults.kinds.reorder import Reorder
from faults.link_fault import LinkFault

QUEUE_S: Final = 0.5
QUEUE_LEAST, QUEUE_MOST = 50, 20_000
SMALL_FRAME: Final = 250
"""Bytes of a usual message of a protocol, with headers."""
CLIENTS: Final = 0
"""In place of a node's number: all hosts that are not nodes."""


@dataclass(frozen=True)
class LinkState:
    """Shares are from 0 to 1; `loss` 1 is a cut. `jitter_us`: how much later at most."""

    loss: float = 0.0
    delay_us: int = 0
    jitter_us: int = 0
    reorder: float = 0.0
    window_us: int = 0
    duplicate: float = 0.0
    spread_us: int = 0
    corrupt: float = 0.0
    kbps: int = 0
    classes: tuple[tuple[str, LinkState], ...] = ()
    """By message class, what happens to such messages besides."""

    @property
    def plain(self) -> LinkState:
        """What happens to messages of no class that is singled out."""
        return replace(self, classes=()) if self.classes else self

    def of_class(self, message: str) -> LinkState:
        """What happens to messages of this class in all."""
        own = dict(self.classes).get(message)
        return self.plain.beside(own) if own else self.plain

    def with_class(self, message: str, effect: LinkState) -> LinkState:
        """The same, and this effect on messages of this class besides."""
        classes = dict(self.classes)
        classes[message] = classes.get(message, UNTOUCHED).beside(effect)
        return replace(self, classes=tuple(sorted(classes.items())))

    @property
    def is_cut(self) -> bool:
        return self.loss >= 1

    @property
    def longest_us(self) -> int:
        """How much later than usual a packet may arrive at most, but for a rate."""
        return self.delay_us + self.jitter_us + self.window_us + self.spread_us

    def beside(self, other: LinkState) -> LinkState:
        """Both at once, for messages of any class."""
        return LinkState(
            classes=self.classes,
            loss=_either(self.loss, other.loss),
            delay_us=self.delay_us + other.delay_us,
            jitter_us=self.jitter_us + other.jitter_us,
            reorder=_either(self.reorder, other.reorder),
            window_us=max(self.window_us, other.window_us),
            duplicate=_either(self.duplicate, other.duplicate),
            spread_us=max(self.spread_us, other.spread_us),
            corrupt=_either(self.corrupt, other.corrupt),
            kbps=min(self.kbps, other.kbps) if self.kbps and other.kbps else self.kbps + other.kbps,
        )

    def _queue(self) -> int:
        """Packets that wait at a link of this rate: for half a second, as at a real router, and
        those that are delayed; more are dropped."""
        seconds = QUEUE_S + self.longest_us / 1e6
        return min(QUEUE_MOST, max(QUEUE_LEAST, int(self.kbps * 1000 / 8 / SMALL_FRAME * seconds)))

    def shape(self) -> dict[str, Any]:
        """For the agent at the sender: all but the loss. Empty where nothing is shaped."""
        values = {
            # The agent's jitter goes to both sides of the delay, by half of the whole width.
            "delay_us": self.delay_us + self.jitter_us // 2,
            "jitter_us": self.jitter_us // 2,
            "reorder": self.reorder if self.window_us else 0.0,
            "reorder_us": self.window_us if self.reorder else 0,
            "duplicate": self.duplicate,
            "duplicate_us": self.spread_us,
            "corrupt": self.corrupt,
            "rate_bps": self.kbps * 1000,
            "limit": self._queue() if self.kbps else 0,
        }
        shown: dict[str, Any] = {name: value for name, value in values.items() if value}
        if self.classes:
            shown["classes"] = {
                pattern_of(message): self.of_class(message).shape()
                | ({"loss": effect.loss} if effect.loss else {})
                for message, effect in self.classes
            }
        return shown


def pattern_of(message: str) -> str:
    """What a packet holds in which our own nodes send a message of this class."""
    return f'["{message}",'


UNTOUCHED: Final = LinkState()


def _either(one: float, other: float) -> float:
    """The chance that at least one of two independent things happens."""
    if not one or not other or max(one, other) >= 1:
        return max(one, other)
    return 1 - (1 - one) * (1 - other)


def effect_of(fault: LinkFault) -> LinkState:
    """What the fault does to each of its links. Raises UnsupportedFault."""
    if fault.message and isinstance(fault, Rate):
        raise UnsupportedFault(
            f"{fault.id}: containers limit the rate of all packets of a link, not of the class "
            f"{fault.message}"
        )
    if isinstance(fault, Loss):
        return LinkState(loss=fault.percent / 100)
    if isinstance(fault, Delay):
        return LinkState(delay_us=fault.delay_us, jitter_us=fault.jitter_us)
    if isinstance(fault, Duplicate):
        return LinkState(duplicate=fault.percent / 100, spread_us=fault.spread_us)
    if isinstance(fault, Reorder):
        return LinkState(reorder=fault.percent / 100, window_us=fault.window_us)
    if isinstance(fault, Corrupt):
        return LinkState(corrupt=fault.percent / 100)
    assert isinstance(fault, Rate)
    return LinkState(kbps=fault.kbps)


def states(active: Iterable[Fault], nodes: Sequence[int]) -> dict[Link, LinkState]:
    """Every directed link between nodes, and those with clients that are not untouched."""
    between = [(a, b) for a in nodes for b in nodes if a != b]
    with_clients = [(n, CLIENTS) for n in nodes] + [(CLIENTS, n) for n in nodes]
    found = dict.fromkeys(between, UNTOUCHED)
    for fault in active:
        if isinstance(fault, Partition):
            for link in fault.cut:
                found[link] = replace(found[link], loss=1.0)
        elif isinstance(fault, LinkFault):
            effect = effect_of(fault)
            for link in [*between, *(with_clients if fault.clients and not fault.message else ())]:
                if fault.covers(link):
                    state = found.get(link, UNTOUCHED)
                    found[link] = (
                        state.with_class(fault.message, effect)
                        if fault.message
                        else state.beside(effect)
                    )
    return found


@dataclass(frozen=True)
class Addresses:
    """Of one node: where packets to it go, and from where its own may come; and of its bridge."""

    routed: tuple[str, ...]
    """Addresses that the others send to."""
    every: tuple[str, ...]
    """Those, link-local ones, and hardware addresses."""
    gateway: str = ""

    @property
    def ip(self) -> tuple[str, ...]:
        """All but the hardware addresses."""
        return tuple(address for address in self.every if not _is_hardware(address))


def addresses_of(answer: Mapping[str, Any], gateway: str) -> Addresses:
    """From an agent's answer to `addresses`."""
    interfaces = list(answer["interfaces"].values())
    every = [str(a) for one in interfaces for a in one["addresses"]]
    routed = tuple(a for a in every if not a.lower().startswith("fe80:"))
    hardware = [str(one["hardware"]) for one in interfaces if one["hardware"]]
    return Addresses(routed, (*every, *hardware), gateway)


def rules_for(
    node: int, wanted: Mapping[Link, LinkState], known: Mapping[int, Addresses]
) -> dict[str, Any]:
    """The request `links` to the agent of `node`."""
    rules: dict[str, Any] = {"drop_to": [], "drop_from": [], "loss": {}, "loss_from": {}}
    for (a, b), state in sorted(wanted.items()):
        if not state.loss or node not in (a, b):
            continue
        there = b if a == node else a
        if there == CLIENTS:
            way, addresses = ("loss" if a == node else "loss_in"), [known[node].gateway]
            rules.setdefault(way, {}).update(dict.fromkeys(filter(None, addresses), state.loss))
        elif state.is_cut:
            rules["drop_to" if a == node else "drop_from"] += known[there].every
        else:
            way = "loss" if a == node else "loss_from"
            rules[way].update(dict.fromkeys(known[there].ip, state.loss))
    return rules


def shapes_for(
    node: int, wanted: Mapping[Link, LinkState], known: Mapping[int, Addresses]
) -> dict[str, Any]:
    """The request `shape` to the agent of `node`. All addresses of a node share one rate."""
    shapes: dict[str, Any] = {}
    same_link = []
    for (a, b), state in sorted(wanted.items()):
        if a == node and (shape := state.shape()):
            to = [known[node].gateway] if b == CLIENTS else known[b].ip
            shapes.update({address: shape for address in to if address})
            same_link += [list(to)] if len(to) > 1 else []
    return {"shapes": shapes, "same_link": same_link}


def _is_hardware(address: str) -> bool:
    return len(address) == 17 and address.count(":") == 5
