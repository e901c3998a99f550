"""Faults of links: partitions cut them, weather strikes the messages on them."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from faults.description import Fault, Link
from faults.kinds.partition import Partition, links_cut
from faults.link_fault import LinkFault
from faults.shapes import cut_for
from harness.runtimes.sim.link_conditions import Weather

if TYPE_CHECKING:
    from harness.runtimes.sim.world import World

CLIENT = 0
"""Stands for a node's clients, in the place of a node."""


class LinkHands:
    def __init__(self, world: World) -> None:
        self._world = world
        self._partitions: dict[str, Partition] = {}
        self._weather: dict[Link, Weather] = {}

    # ------------------------------------------------------------------ partitions

    def cut(self, fault: Partition) -> dict[str, Any]:
        self._partitions[fault.id] = fault
        return self._refresh_cuts()

    def uncut(self, fault: Fault) -> dict[str, Any]:
        self._partitions.pop(fault.id, None)
        return self._refresh_cuts()

    def isolate(self, identity: str, node: int) -> dict[str, Any]:
        """Cut one node off from all others, in the name of a fault."""
        cut = cut_for("isolate", (node,), tuple(self._world.nodes))
        times = {"start_us": 0, "duration_us": 0}
        return self.cut(Partition(id=identity, **times, nodes=(node,), shape="isolate", cut=cut))

    def _refresh_cuts(self) -> dict[str, Any]:
        cut = links_cut(self._partitions.values())
        for node in self._world.nodes.values():
            for target, link in node.links.items():
                link.cut = (node.id, target) in cut
            node.refresh_links()
        return {"cut": [list(link) for link in self._seen_cut()]}

    def _seen_cut(self) -> list[Link]:
        """What the links themselves say."""
        return [
            (node.id, target)
            for node in self._world.nodes.values()
            for target, link in node.links.items()
            if link not in node.open_links
        ]

    def is_cut(self, fault: Partition) -> bool:
        return set(fault.cut) <= set(self._seen_cut())

    def is_uncut(self, fault: Partition) -> bool:
        others = links_cut(self._partitions.values())
        return not (set(fault.cut) - others) & set(self._seen_cut())

    # ------------------------------------------------------------------ weather

    def blow(self, fault: LinkFault) -> dict[str, Any]:
        links = self._links_of(fault)
        for link in links:
            self._weather_at(link).faults.append(fault)
        self._refresh_weather()
        return {"links": len(links)}

    def calm(self, fault: LinkFault) -> dict[str, Any]:
        struck = 0
        for link in self._links_of(fault):
            weather = self._weather_at(link)
            weather.faults = [f for f in weather.faults if f.id != fault.id]
            struck += weather.struck.pop(fault.id, 0)
        self._refresh_weather()
        return {"struck": struck}

    def _links_of(self, fault: LinkFault) -> list[Link]:
        nodes = list(self._world.nodes)
        links = [(a, b) for a in nodes for b in nodes if a != b and fault.covers((a, b))]
        if fault.clients:
            links += [(CLIENT, n) for n in nodes if n in fault.nodes]
        return links

    def _weather_at(self, link: Link) -> Weather:
        if link not in self._weather:
            stream = f"{self._world.seed}:weather:{link[0]}>{link[1]}"
            self._weather[link] = Weather(Random(stream))
        return self._weather[link]

    def _refresh_weather(self) -> None:
        for (source, target), weather in self._weather.items():
            blowing = weather if weather.faults else None
            if source == CLIENT:
                self._world.nodes[target].client_weather = blowing
            else:
                self._world.nodes[source].links[target].weather = blowing

    def is_blowing(self, fault: LinkFault) -> bool:
        return all(fault in self._weather_at(link).faults for link in self._links_of(fault))

    def is_calm(self, fault: LinkFault) -> bool:
        return not any(fault in weather.faults for weather in self._weather.values())
