"""Planted bugs of Flexible Paxos: quorums that do not intersect, and a control."""

from __future__ import annotations

from node_image.mutants.multi_paxos import EveryNodeVotes
from node_image.protocols.flexible_paxos import FlexiblePaxos
from node_image.protocols.interface import ClusterConfig
from node_image.protocols.quorums import Grid, QuorumSystem, Sizes, from_options


class F1(FlexiblePaxos):
    """Quorums whose sizes add up to N: two of them may be disjoint."""

    @staticmethod
    def quorum_system(config: ClusterConfig) -> QuorumSystem:
        q2 = from_options(config).q2
        return EveryNodeVotes(config.voters, len(config.voters) - q2, q2)


class F2(FlexiblePaxos):
    """The control: Q1 and Q2 are swapped. Their sum is the same, so it is safe; of a grid a whole
    column elects and a whole row decides."""

    @staticmethod
    def quorum_system(config: ClusterConfig) -> QuorumSystem:
        system = from_options(config)
        if isinstance(system, Grid):
            return system.transposed()
        return Sizes(config.voters, system.q2, system.q1)


FLEXIBLE_PAXOS: dict[str, type[FlexiblePaxos]] = {"F1": F1, "F2": F2}
