"""Faults of links: what may happen to each message between some nodes and the others.

A link fault may be restricted to one kind of message by the name of its class. Names are the
protocol's (`ConsensusProtocol.messages`); "" means every message. In containers that concerns the
packets that hold such a message, which is known of our own nodes only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from faults.description import OMIT_DEFAULT, BadFault, Fault, Link, node_name
from faults.generators import Constraints, Draw, Fields, one_node

DIRECTIONS: Final = ("both", "in", "out")


@dataclass(frozen=True, kw_only=True)
class LinkFault(Fault):
    """What may happen to each message on the links between `nodes` and the other nodes.

    `direction`: messages to `nodes`, from them, or both. `clients`: also their clients' requests
    and the answers. `message`: only messages of this class, "" for all. `links`: exactly these
    directed links, in place of `nodes` and `direction`.
    """

    direction: str = "both"
    clients: bool = False
    message: str = ""
    links: tuple[Link, ...] = field(default=(), metadata={OMIT_DEFAULT: True})

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.direction not in DIRECTIONS:
            raise BadFault(
                f"{self.id}: no direction {self.direction!r}; choose one of {', '.join(DIRECTIONS)}"
            )

    def covers(self, link: Link) -> bool:
        """Whether it includes this directed link."""
        if self.links:
            return link in self.links
        source, destination = link
        return (self.direction != "in" and source in self.nodes) or (
            self.direction != "out" and destination in self.nodes
        )

    def lacks_effect(self, cluster: Sequence[int]) -> str | None:
        links = ((a, b) for a in cluster for b in cluster if a != b)
        is_somewhere = (self.clients and bool(self.nodes)) or any(map(self.covers, links))
        return None if is_somewhere else "it is on no link"

    def beyond(self, core: Sequence[int]) -> Fault | None:
        if not self.links:
            return super().beyond(core)
        links = tuple((a, b) for a, b in self.links if a not in core or b not in core)
        return dataclasses.replace(self, links=links) if links else None

    def describe(self) -> str:
        what = f" of {self.message}" if self.message else ""
        if self.links:
            return f"{self.kind}{what} on {', '.join(f'n{a}>n{b}' for a, b in self.links)}"
        where = {"both": "at", "in": "to", "out": "from"}[self.direction]
        return f"{self.kind}{what} {where} {','.join(node_name(n) for n in self.nodes)}"

    def check_percent(self, percent: int) -> None:
        if not 0 < percent <= 100:
            raise BadFault(f"{self.id}: percent must be 1 to 100, not {percent}")


def draw_links(draw: Draw, constraints: Constraints) -> Fields:
    """Which links and messages: the fields that all link faults share."""
    one_message = bool(constraints.messages) and draw.chance(35)
    return {
        "nodes": constraints.nodes if draw.chance(30) else one_node(draw, constraints),
        "direction": draw.pick(["both", "both", "in", "out"]),
        "message": draw.pick(constraints.messages) if one_message else "",
        "clients": not one_message and draw.chance(30),
    }
