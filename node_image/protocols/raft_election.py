"""Raft's elections: terms, votes, and the election restriction.

**Terms.** Time is divided into numbered terms. Each begins with an election, and has at most one
leader. A node that sees a higher term enters it as a follower. It votes at most once in a term, for
the first eligible candidate that asks, and its vote is on disk before it is sent. Since a leader
needs a majority, a term has at most one. (A Paxos ballot contains its proposer's number, and
belongs to that proposer from the start; a term belongs to no node until a majority grants it.)

**The election restriction.** A voter refuses a candidate whose log is less up-to-date than its own:
whose last entry has a lower term, or the same term and a lower index. A committed entry is in the
logs of a majority, so every later leader has it. A new leader need not ask for entries: they flow
only from the leader. (A Paxos proposer may be behind, and learns in Phase 1 what to propose.)

**Pre-vote.** A follower that hears from no leader for a random time first asks whether it would be
elected, without any node entering the new term (Ongaro's thesis, 9.6). A node that recently heard
from a leader does not answer. So a node that can send but receives nothing cannot depose a leader
that has a majority, and a node that was cut off does not return with the highest term.

**Timing.** How long a follower waits for a leader, and a candidate for votes: `election_timing`.

**Leases.** With lease reads, a voter ignores candidates while a lease is valid (`lease`).
"""

from __future__ import annotations

from node_image.protocols import raft_messages as m
from node_image.protocols.context import CANDIDATE, FOLLOWER, LEADER, LEARNER, Context
from node_image.protocols.interface import NodeId
from node_image.protocols.leadership import Leadership
from node_image.protocols.quorums import NO_VOTES
from node_image.protocols.raft_log import RaftLog
from node_image.protocols.raft_storage import RaftStorage


class RaftElection:
    """Who leads, in which term: both sides of pre-votes and votes, and recognising a leader.

    `is_campaigning`: this candidate asks for votes, not only for pre-votes.
    """

    def __init__(
        self, context: Context, log: RaftLog, storage: RaftStorage, leadership: Leadership
    ) -> None:
        self._ctx = context
        self._log = log
        self._storage = storage
        self._leadership = leadership
        self._timing = leadership.timing
        self._lease = leadership.lease
        self.is_campaigning = False
        self._is_transferee = (
            False  # the leader transfers leadership to this node; a lease may still delay it
        )
        self._grants = NO_VOTES
        self._votes = NO_VOTES

    @property
    def term(self) -> int:
        return self._storage.term

    # ------------------------------------------------------------------ following

    def recognise_leader(self, sender: NodeId, term: int, now_us: int) -> bool:
        """A message from a leader arrived: follow it, or refuse it (False) if its term is over."""
        ctx = self._ctx
        if self.refuses(term):
            ctx.send(sender, m.Behind(self.term), False)
            return False
        if term > self._storage.term:
            self.enter_term(term, now_us)
        is_news = ctx.leader != sender
        if ctx.role in (LEADER, CANDIDATE):
            self.step_down("heard a leader", now_us, sender)
        if is_news:
            ctx.follow(sender, (term,))
        self._timing.heard_us = now_us
        return True

    def refuses(self, term: int) -> bool:
        return term < self._storage.term

    def enter_term(self, term: int, now_us: int) -> None:
        """Enter a higher term as a follower that has not voted."""
        if self._ctx.role in (LEADER, CANDIDATE):
            self.step_down("heard a higher term", now_us)
        self._ctx.leader = None
        self._storage.set_term(term, None)

    def step_down(self, why: str, now_us: int, leader: NodeId | None = None) -> None:
        self.is_campaigning = self._is_transferee = False
        self._leadership.step_down(why, now_us, leader)

    def on_behind(self, message: m.Behind, now_us: int) -> None:
        if message.term > self.term:
            self.enter_term(message.term, now_us)
            if not self._ctx.is_learner:
                config = self._ctx.config
                self._timing.wait_for_leader(config.heartbeat_us, config.election_min_us)

    # ------------------------------------------------------------------ the candidate

    def on_election_timer(self, now_us: int) -> None:
        """Become a candidate, or continue the candidacy."""
        if self._ctx.role in (LEADER, LEARNER):
            return
        if self.is_campaigning and now_us < self._timing.give_up_us:
            self._ask_for_votes()
        elif self._is_transferee and now_us < self._timing.give_up_us:
            self._take_over(now_us)
        elif not self._timing.keep_waiting(now_us):
            self._ask_for_pre_votes(now_us)

    def on_timeout_now(self, sender: NodeId, message: m.TimeoutNow, now_us: int) -> None:
        """The leader transfers leadership: ask for votes without pre-votes."""
        ctx = self._ctx
        if ctx.role == FOLLOWER and sender == ctx.leader and message.term == self.term:
            ctx.role = CANDIDATE
            ctx.leader = None
            self._is_transferee = True
            self._timing.begin_candidacy(now_us)
            self._take_over(now_us)

    def _take_over(self, now_us: int) -> None:
        self._timing.ask_again_later()
        self.campaign(now_us)

    def _ask_for_pre_votes(self, now_us: int) -> None:
        ctx, log = self._ctx, self._log
        self._is_transferee = False
        ctx.role = CANDIDATE
        ctx.leader = None
        self.is_campaigning = False
        self._grants = ctx.quorums.vote(NO_VOTES, ctx.node)
        ctx.count("pre_votes")
        ctx.broadcast(m.PreVote(self.term + 1, log.last, log.last_term), False)
        self._timing.ask_again_later()
        self.campaign_if_granted(now_us)

    def on_pre_vote_granted(self, sender: NodeId, message: m.PreVoteGranted, now_us: int) -> None:
        asking = self._ctx.role == CANDIDATE and not self.is_campaigning
        if asking and message.term == self.term + 1:
            self._grants = self._ctx.quorums.vote(self._grants, sender)
            self.campaign_if_granted(now_us)

    def campaign_if_granted(self, now_us: int) -> None:
        if self._ctx.quorums.phase1(self._grants):
            self.campaign(now_us)

    def campaign(self, now_us: int) -> None:
        """Begin a new term with a vote for this node. The RequestVote waits until that vote is on
        disk: after a crash the node must not vote for another candidate in this term."""
        self._grants = NO_VOTES
        if self._lease.forbids(self._ctx.node, now_us):
            return
        self._is_transferee = False
        self.is_campaigning = True
        self._storage.set_term(self.new_term(), self._ctx.node)
        self._votes = NO_VOTES
        self._timing.begin_candidacy(now_us)
        self._ctx.count("ballots")
        self._ctx.note("election", term=self.term, last=self._log.last)
        self._ask_for_votes()

    def new_term(self) -> int:
        return self.term + 1

    def _ask_for_votes(self) -> None:
        log = self._log
        self._ctx.broadcast(m.RequestVote(self.term, log.last, log.last_term))
        self._ctx.send(self._ctx.node, m.VoteGranted(self.term))
        self._timing.ask_again_later()

    def on_vote_granted(self, sender: NodeId, message: m.VoteGranted) -> bool:
        """Count a vote. True if it completes a quorum: this node is elected."""
        if not self.is_campaigning or not self.is_vote_of_this_term(message):
            return False
        self._votes = self._ctx.quorums.vote(self._votes, sender)
        if not self._ctx.quorums.phase1(self._votes):
            return False
        self.is_campaigning = False
        return True

    def is_vote_of_this_term(self, vote: m.VoteGranted) -> bool:
        """Votes of an earlier term do not count: the voter may vote for another node in this
        one."""
        return vote.term == self.term

    # ------------------------------------------------------------------ the voter

    def on_pre_vote(self, sender: NodeId, message: m.PreVote, now_us: int) -> None:
        if self._ctx.is_learner:
            return
        if message.term <= self.term:
            self._ctx.send(sender, m.Behind(self.term), False)
        elif self._timing.would_accept_leader(now_us) and self.is_up_to_date(message):
            self._ctx.send(sender, m.PreVoteGranted(message.term), False)

    def on_request_vote(self, sender: NodeId, message: m.RequestVote, now_us: int) -> None:
        if self._ctx.is_learner or self._lease.forbids(sender, now_us):
            return
        if self.refuses(message.term):
            self._ctx.send(sender, m.Behind(self.term), False)
            return
        if message.term > self.term:
            self.enter_term(message.term, now_us)
        if self.may_vote_for(sender) and self.is_up_to_date(message):
            if self._storage.voted_for != sender:
                self._storage.set_term(self.term, sender)
                self._timing.defer_to_candidate(now_us)
            self._ctx.send(sender, m.VoteGranted(message.term))

    def may_vote_for(self, candidate: NodeId) -> bool:
        """One vote per term."""
        return self._storage.voted_for in (None, candidate)

    def is_up_to_date(self, message: m.PreVote | m.RequestVote) -> bool:
        """The election restriction: whether the candidate's log is at least as up-to-date as
        this."""
        log = self._log
        return (message.last_term, message.last_index) >= (log.last_term, log.last)
