"""Following and leading: what Multi-Paxos, Fast Paxos and Raft have in common.

A leader queues its clients' commands, sends heartbeats, and serves reads. A node that stops leading
answers every waiting client with what is known about its command, and waits for a new leader. The
protocols differ in how a leader is elected, and how its log is replicated.
"""

from __future__ import annotations

from typing import Final

from node_image.protocols.clients import Clients, refusal
from node_image.protocols.context import FOLLOWER, LEADER, Context
from node_image.protocols.election_timing import ElectionTiming
from node_image.protocols.heartbeats import Heartbeats, HeartbeatSender
from node_image.protocols.interface import TRANSFER, Command, NodeId
from node_image.protocols.lease import Lease
from node_image.protocols.proposal_queue import ProposalQueue
from node_image.protocols.reads import AppliedLog, Reads
from node_image.protocols.tally import Tally
from node_image.protocols.transfer import Transfer

NO_QUORUM: Final = "no quorum answers"
"""Why a leader steps down if it has received no acknowledgements for too long."""


class Leadership:
    """A node's parts for leading, and for waiting for a leader.

    `queue` holds commands that wait for a slot, `tally` the votes for open slots. Subclasses (such
    as mutants) can replace the types of the parts.
    """

    timing_type: type[ElectionTiming] = ElectionTiming
    lease_type: type[Lease] = Lease
    heartbeats_type: type[Heartbeats] = Heartbeats
    reads_type: type[Reads] = Reads
    queue_type: type[ProposalQueue] = ProposalQueue
    tally_type: type[Tally] = Tally
    transfer_type: type[Transfer] = Transfer

    def __init__(
        self, context: Context, clients: Clients, log: AppliedLog, sender: HeartbeatSender
    ) -> None:
        self._ctx = context
        self._clients = clients
        self._sender = sender
        self.timing = self.timing_type(context)
        self.lease = self.lease_type(context)
        self.heartbeats = self.heartbeats_type(context, sender, self.lease)
        self.reads = self.reads_type(context, log, clients, self.heartbeats, self.lease)
        self.queue = self.queue_type(context, clients)
        self.tally = self.tally_type(context)
        self.transfer = self.transfer_type(context)
        self._next_round_us = 0

    def take(self, command: Command, now_us: int) -> bool:
        """A client's command arrives. True if there is work to do: the command was queued, or
        leadership is to be transferred. Otherwise it was answered, or it is a read that waits."""
        if self._ctx.role != LEADER:
            self._ctx.answer(command, refusal(self._ctx.leader))
        elif command.f == TRANSFER:
            return self.transfer.begin(command)
        elif command.f == "read" and self.reads.take(command, now_us):
            pass
        elif self._clients.take(command, now_us):
            self.queue.commands.append(command)
            return True
        return False

    def start(self, now_us: int, *, first_time: bool) -> None:
        """The node has recovered from its disk: wait for a leader. A lease granted before the
        crash is still valid."""
        self.timing.heard_us = now_us
        self.lease.grant(None, now_us)
        if not self._ctx.is_learner:
            self.timing.start(first_time=first_time)

    def begin(self, now_us: int) -> None:
        """This node is elected."""
        assert not self._ctx.is_learner, "a learner never leads"
        self._ctx.role = LEADER
        self._ctx.follow(self._ctx.node, self._sender.ballot_number())
        self.heartbeats.reset(now_us)
        self.reads.clear()
        self.tally.clear()

    def step_down(self, why: str, now_us: int, leader: NodeId | None = None) -> None:
        """Stop leading, or the candidacy, and become a follower; `leader` is the new leader, if
        known."""
        ctx = self._ctx
        was = ctx.role
        ctx.role = FOLLOWER
        ctx.leader = leader
        self.reads.clear()
        self._clients.release(self.transfer.successor if leader is None else leader)
        self.transfer.give_up()
        if was == LEADER:
            lost_quorum = why == NO_QUORUM and not self.heartbeats.has_stalled(now_us)
            self.timing.stopped_leading(lost_quorum=lost_quorum)
            ctx.count("step_downs")
            ctx.note("step-down", **self._sender.note_fields(), why=why)
        self.timing.wait_for_leader(ctx.config.election_min_us, ctx.config.election_max_us)
        self.queue.clear()
        self.tally.clear()

    def on_peer_lost(self, peer: NodeId, now_us: int) -> None:
        """A peer has closed its connection. If it is the leader, it may be dead."""
        ctx = self._ctx
        if ctx.role == FOLLOWER and peer == ctx.leader:
            ctx.leader = None
            ctx.note("leader-lost", leader=peer)
            self.timing.leader_lost(peer, now_us)

    def on_peer_connected(self, now_us: int) -> None:
        """If this node leads, send a heartbeat at once: the peer may have lost its connection, and
        be about to start an election."""
        if self._ctx.role == LEADER:
            self.reads.begin_round(now_us)

    def on_heartbeat_timer(self, now_us: int) -> None:
        """Send the next round, or step down if no quorum has answered for too long."""
        if self._ctx.role != LEADER:
            return
        self.heartbeats.late(now_us - self._next_round_us)
        if self.heartbeats.has_lost_quorum(now_us):
            self.step_down(NO_QUORUM, now_us)
        elif self.transfer.is_offered:
            self._set_heartbeat_timer(now_us)
        else:
            self.begin_round(now_us)

    def is_ready_to_hand_over(self) -> bool:
        """Whether there is a successor, and none of this leader's proposals is open."""
        transfer = self.transfer
        return transfer.successor is not None and not transfer.is_offered and not self.tally.votes

    def on_transfer_timer(self, now_us: int) -> None:
        """The successor has not taken over in time: continue to lead."""
        if self._ctx.role == LEADER and self.transfer.successor is not None:
            self._ctx.note("transfer-failed", to=self.transfer.successor)
            self.transfer.give_up()
            self.begin_round(now_us)

    def begin_round(self, now_us: int) -> None:
        """Send a round of heartbeats, and schedule the next one after `heartbeat_us`."""
        self.reads.begin_round(now_us)
        self._set_heartbeat_timer(now_us)

    def _set_heartbeat_timer(self, now_us: int) -> None:
        self._next_round_us = now_us + self._ctx.config.heartbeat_us
        self._ctx.set_timer("heartbeat", self._ctx.config.heartbeat_us)
