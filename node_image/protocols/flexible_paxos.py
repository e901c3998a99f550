"""Flexible Paxos: Multi-Paxos whose two phases use quorums of different sizes.

Howard, Malkhi and Spiegelman ("Flexible Paxos: Quorum intersection revisited", 2016) observed that
the proof of Paxos never lets two Phase 1 quorums meet, nor two Phase 2 quorums: only a Phase 1
quorum has to meet every Phase 2 quorum. Phase 2 runs for every command, and Phase 1 once for every
leader, so small Phase 2 quorums are worthwhile; the cost is a larger Phase 1 quorum when a leader
dies. With five acceptors and Q1 = 4, Q2 = 2 a command needs one vote besides the leader's, but
after two failures no new leader can be elected.

Options: `q1` and `q2` (one of them implies the other), or `grid_rows` (a Phase 1 quorum is a row of
the grid, a Phase 2 quorum a column). With `thrifty`, proposals are sent only to one Phase 2 quorum,
the nodes with the most recent acknowledgements, and the others learn decisions by catching up. This
saves messages in the absence of failures. After a failure a proposal waits for the next heartbeat,
whose answers make the leader send it to every node that lacks it.
"""

from __future__ import annotations

from typing import ClassVar

from node_image.protocols.context import Context
from node_image.protocols.interface import ClusterConfig, NodeId, Send
from node_image.protocols.multi_paxos import MultiPaxos
from node_image.protocols.multi_paxos_messages import Accept
from node_image.protocols.quorums import QuorumSystem, from_options


class FlexiblePaxos(MultiPaxos):
    """Multi-Paxos over the quorum system that the options describe."""

    name: ClassVar[str] = "flexible-paxos"

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._thrifty = bool(context.config.options.get("thrifty", False))

    @staticmethod
    def quorum_system(config: ClusterConfig) -> QuorumSystem:
        return from_options(config)

    def _send_accept(self, accept: Accept) -> None:
        if not self._thrifty:
            super()._send_accept(accept)
            return
        for node in self._thrifty_targets():
            if node != self._ctx.node:
                self._ctx.out.append(Send(node, accept, False))

    def _thrifty_targets(self) -> tuple[NodeId, ...]:
        """A Phase 2 quorum: this node, and those with the most recent acknowledgements."""
        own, acked = self._ctx.node, self.leadership.heartbeats.acked
        freshest = sorted(acked, key=lambda n: (n != own, -acked[n], n))
        return self._ctx.quorums.phase2_targets(freshest)
