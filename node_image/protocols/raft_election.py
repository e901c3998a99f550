"""Raft's elections: terms, votes, and who may lead.

**Terms.** Time is cut into terms, numbered upwards; each begins with an election, and has one
leader or none. A node that hears of a higher term enters it, and is a follower there. It votes once
in a term, for the first candidate that asks and deserves it, and the vote is on its disk before it
leaves: with a majority needed, a term has one leader. (A Paxos ballot carries its proposer's number
and belongs to one proposer from the start; a term is nobody's, until a majority gives it away.)

**The election restriction.** A voter refuses a candidate whose log is older than its own: whose
last entry is of a lower term, or of the same term and at a lower index. A committed entry is in the
logs of a majority, so every leader to come has it, and a new leader has nothing to ask for: entries
flow from the leader only. (A Paxos proposer may be behind, and learns in Phase 1 what to propose.)

**Pre-vote.** A follower that hears no leader for a random time asks around first whether it would
be elected, in a term that nobody enters for that (Ongaro's thesis, 9.6). A node that heard from a
leader lately does not answer. So a node that hears nothing but can be heard cannot depose a leader
who has a majority, and one that was away does not come back with a term above everybody's.

**Patience.** How long a follower waits for a leader, and a candidate for votes: `election_timing`.

**Leases.** Where reads rest on them, a voter ignores candidates while a lease holds (`heartbeats`).
"""

from __future__ import annotations

from collections.abc import Callable

from node_image.protocols import raft_messages as m
from node_image.protocols.election_timing import ElectionTiming
from node_image.protocols.interface import (
    Broadcast,
    ClusterConfig,
    Json,
    NodeId,
    Randomness,
    StateMachine,
    Status,
)
from node_image.protocols.quorums import NOBODY
from node_image.protocols.raft_log import RaftLog
from node_image.protocols.raft_replica import RaftReplica
from node_image.protocols.replica import CANDIDATE, FOLLOWER, LEADER, LEARNER


class RaftElection(ElectionTiming, RaftReplica):
    """Adds terms and votes: from the silence of a leader to `_lead`."""

    _log: RaftLog

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, config, machine, random, wall_us)
        self._standing = False  # a candidate: asks for votes, not only for pre-votes
        self._grants = NOBODY
        self._votes = NOBODY

    def _lead(self, now_us: int) -> None:
        """Elected: begin the term."""
        raise NotImplementedError

    # ------------------------------------------------------------------ terms

    def _hear(self, sender: NodeId, term: int, now_us: int) -> bool:
        if self._refuses(term):
            self._send(sender, m.Behind(self.term), False)
            return False
        if term > self.term:
            self._enter(term, now_us)
        if self.role in (LEADER, CANDIDATE):
            self._step_down("heard a leader", now_us, sender)
        self.leader = sender
        self._heard_us = now_us
        return True

    def _refuses(self, term: int) -> bool:
        return term < self.term

    def _enter(self, term: int, now_us: int) -> None:
        """A higher term has begun somewhere: follow, with a vote to give."""
        if self.role in (LEADER, CANDIDATE):
            self._step_down("heard a higher term", now_us)
        self.leader = None
        self._set_term(term, None)

    def _on_behind(self, sender: NodeId, message: m.Behind, now_us: int) -> None:
        if message.term > self.term:
            self._enter(message.term, now_us)
            if not self._is_learner:
                self._wait_for_leader(self.config.heartbeat_us, self.config.election_min_us)

    def _step_down(self, why: str, now_us: int, leader: NodeId | None = None) -> None:
        self._standing = False
        super()._step_down(why, now_us, leader)

    def _office(self) -> dict[str, Json]:
        return {"term": self.term}

    # ------------------------------------------------------------------ standing

    def _on_election_timer(self, now_us: int) -> None:
        if self.role in (LEADER, LEARNER):
            return
        silence_us = now_us - self._heard_us
        if self._standing and now_us < self._give_up_us:
            self._ask_for_votes()
        elif self.role == FOLLOWER and silence_us < self._patience_us:
            self._set_timer("election", self._patience_us - silence_us)
        else:
            self._ask_for_pre_votes(now_us)

    def _ask_for_pre_votes(self, now_us: int) -> None:
        self.role = CANDIDATE
        self.leader = None
        self._standing = False
        self._grants = self.quorums.vote(NOBODY, self.node)
        self._count("pre_votes")
        log = self._log
        self._out.append(Broadcast(m.PreVote(self.term + 1, log.last, log.last_term), False))
        self._ask_again_later()
        self._stand_if_granted(now_us)

    def _ask_again_later(self) -> None:
        self._set_timer("election", self.config.heartbeat_us, 2 * self.config.heartbeat_us)

    def _on_pre_vote_granted(self, sender: NodeId, message: m.PreVoteGranted, now_us: int) -> None:
        asking = self.role == CANDIDATE and not self._standing
        if asking and message.term == self.term + 1:
            self._grants = self.quorums.vote(self._grants, sender)
            self._stand_if_granted(now_us)

    def _stand_if_granted(self, now_us: int) -> None:
        if self.quorums.phase1(self._grants):
            self._stand(now_us)

    def _stand(self, now_us: int) -> None:
        """Begin a term, and vote for oneself in it. The RequestVote waits until that vote is on
        disk: after a crash the node must not vote for somebody else in this term."""
        self._grants = NOBODY
        if self._lease_forbids(self.node, now_us):
            return
        self._standing = True
        self._set_term(self._new_term(), self.node)
        self._votes = NOBODY
        self._begin_candidacy(now_us)
        self._count("ballots")
        self._note("election", term=self.term, last=self._log.last)
        self._ask_for_votes()

    def _new_term(self) -> int:
        return self.term + 1

    def _ask_for_votes(self) -> None:
        log = self._log
        self._out.append(Broadcast(m.RequestVote(self.term, log.last, log.last_term)))
        self._send(self.node, m.VoteGranted(self.term))
        self._ask_again_later()

    def _on_vote_granted(self, sender: NodeId, message: m.VoteGranted, now_us: int) -> None:
        if self._standing and self._is_vote_of_this_term(message):
            self._votes = self.quorums.vote(self._votes, sender)
            if self.quorums.phase1(self._votes):
                self._standing = False
                self._lead(now_us)

    def _is_vote_of_this_term(self, vote: m.VoteGranted) -> bool:
        """A vote of an earlier term may have been followed by one for somebody else in this."""
        return vote.term == self.term

    # ------------------------------------------------------------------ voting

    def _on_pre_vote(self, sender: NodeId, message: m.PreVote, now_us: int) -> None:
        if self._is_learner:
            return
        if message.term <= self.term:
            self._send(sender, m.Behind(self.term), False)
        elif self._would_welcome_leader(now_us) and self._is_up_to_date(message):
            self._send(sender, m.PreVoteGranted(message.term), False)

    def _on_request_vote(self, sender: NodeId, message: m.RequestVote, now_us: int) -> None:
        if self._is_learner or self._lease_forbids(sender, now_us):
            return
        if self._refuses(message.term):
            self._send(sender, m.Behind(self.term), False)
            return
        if message.term > self.term:
            self._enter(message.term, now_us)
        if self._may_vote_for(sender) and self._is_up_to_date(message):
            if self.voted_for != sender:
                self._set_term(self.term, sender)
                self._make_way(now_us)
            self._send(sender, m.VoteGranted(message.term))

    def _may_vote_for(self, candidate: NodeId) -> bool:
        """One vote a term."""
        return self.voted_for in (None, candidate)

    def _is_up_to_date(self, message: m.PreVote | m.RequestVote) -> bool:
        """The election restriction: whether the candidate's log is no older than this one."""
        log = self._log
        return (message.last_term, message.last_index) >= (log.last_term, log.last)

    # ------------------------------------------------------------------ telling

    def status(self) -> Status:
        """What this node is, and believes."""
        applied = self._log.applied
        return Status(self.role, self.leader, (self.term,), applied, applied)
