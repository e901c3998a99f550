"""Link faults: partitions, and conditions (loss, delay, duplication and reordering of messages)."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Final

from faults.description import Fault, Link
from faults.kinds.partition import Partition, links_cut
from faults.link_fault import LinkFault
from faults.shapes import cut_for
from harness.runtimes.sim.link_conditions import LinkConditions
from harness.runtimes.sim.network import Network
from harness.runtimes.sim.node import SimNode

CLIENT: Final = 0
"""Represents a node's clients, where a link names a node."""


class LinkFaults:
    def __init__(self, nodes: Mapping[int, SimNode], network: Network, seed: int) -> None:
        self._nodes = nodes
        self._network = network
        self._seed = seed
        self._partitions: dict[str, Partition] = {}
        self._conditions: dict[Link, LinkConditions] = {}

    # ------------------------------------------------------------------ partitions

    def cut(self, fault: Partition) -> dict[str, Any]:
        self._partitions[fault.id] = fault
        return self._refresh_cuts()

    def uncut(self, fault: Fault) -> dict[str, Any]:
        self._partitions.pop(fault.id, None)
        return self._refresh_cuts()

    def isolate(self, identity: str, node: int) -> dict[str, Any]:
        """Cut one node off from all others, on behalf of a fault."""
        cut = cut_for("isolate", (node,), tuple(self._nodes))
        times = {"start_us": 0, "duration_us": 0}
        return self.cut(Partition(id=identity, **times, nodes=(node,), shape="isolate", cut=cut))

    def _refresh_cuts(self) -> dict[str, Any]:
        cut = links_cut(self._partitions.values())
        for source, links in self._network.links.items():
            for target, link in links.items():
                link.cut = (source, target) in cut
            self._network.refresh(source)
        return {"cut": [list(link) for link in self._closed()]}

    def _closed(self) -> list[Link]:
        """The links over which a broadcast does not go, as the network itself has it."""
        network = self._network
        return [
            (source, target)
            for source, links in network.links.items()
            for target, link in links.items()
            if link not in network.open_links[source]
        ]

    def is_cut(self, fault: Partition) -> bool:
        return set(fault.cut) <= set(self._closed())

    def is_uncut(self, fault: Partition) -> bool:
        others = links_cut(self._partitions.values())
        return not (set(fault.cut) - others) & set(self._closed())

    # ------------------------------------------------------------------ conditions

    def impose(self, fault: LinkFault) -> dict[str, Any]:
        links = self._links_of(fault)
        for link in links:
            self._conditions_of(link).faults.append(fault)
        self._refresh_conditions()
        return {"links": len(links)}

    def lift(self, fault: LinkFault) -> dict[str, Any]:
        affected = 0
        for link in self._links_of(fault):
            conditions = self._conditions_of(link)
            conditions.faults = [f for f in conditions.faults if f.id != fault.id]
            affected += conditions.affected.pop(fault.id, 0)
        self._refresh_conditions()
        return {"struck": affected}

    def _links_of(self, fault: LinkFault) -> list[Link]:
        nodes = list(self._nodes)
        links = [(a, b) for a in nodes for b in nodes if a != b and fault.covers((a, b))]
        if fault.clients:
            links += [(CLIENT, n) for n in nodes if n in fault.nodes]
        return links

    def _conditions_of(self, link: Link) -> LinkConditions:
        if link not in self._conditions:
            stream = f"{self._seed}:weather:{link[0]}>{link[1]}"
            self._conditions[link] = LinkConditions(Random(stream))
        return self._conditions[link]

    def _refresh_conditions(self) -> None:
        for (source, target), conditions in self._conditions.items():
            present = conditions if conditions.faults else None
            if source == CLIENT:
                self._nodes[target].client_conditions = present
            else:
                self._network.links[source][target].conditions = present

    def is_imposed(self, fault: LinkFault) -> bool:
        return all(fault in self._conditions_of(link).faults for link in self._links_of(fault))

    def is_lifted(self, fault: LinkFault) -> bool:
        return not any(fault in conditions.faults for conditions in self._conditions.values())
