"""Fast Paxos: clients' values go straight to the acceptors, and the coordinator only tidies up.

Lamport, "Fast Paxos" (2006). In Multi-Paxos a command travels from the node that a client asked to
the leader, to the acceptors, and back. In a *fast* round the leader, here the *coordinator*, is
left out: it tells the acceptors once to vote for whatever value comes first (`Any`), and from then
on every node sends its clients' values to all acceptors itself. Two message delays instead of
three, and a price: two proposers may race for one slot, and split the votes.

A ballot is a coordinator's, as in Multi-Paxos: Phase 1 for all open slots at once. Within it every
slot has two rounds, one right after the other with nothing in between:

    fast      for the slots that `Any` has opened: an acceptor votes for the first value proposed to
              it by anybody, once; a value is chosen by a *fast* quorum, three quarters of all
    classic   the coordinator proposes one value; a majority chooses

and no acceptor votes in the fast round of a slot after the classic one. The slots before the first
that `Any` opened have classic rounds only: the coordinator proposes there as in Multi-Paxos.

What a coordinator may propose depends on what may have been chosen. If the votes of a majority are
known, and k is the highest round among them, then: if k is classic, only its value. If k is fast,
several values may have votes in k; v may have been chosen only if some fast quorum R could have
voted for it, that is, if all of R that were heard did (observation O4 of the paper). Counting: the
votes for v, and all acceptors not heard, make up a fast quorum. Any two fast quorums and a majority
share an acceptor, so no two values pass that test: propose the one that does, else any.

  * **Collisions.** The coordinator sees the fast votes. When no value can reach a fast quorum any
    more it goes on to the slot's classic round at once, without a new Phase 1: the fast votes of a
    majority say all that promises would (*coordinated recovery*). The losers are proposed again, in
    later slots, by the nodes whose clients wait for them. A command that ends up in two slots is
    applied once: sessions see to it.
  * **Losses.** A slot that is not decided for a while gets the same treatment, or the coordinator
    proposes in it itself: the value it knows of, or a no-op for a hole.
  * **Fallback.** Under contention, or when too few acceptors answer to make a fast quorum, the
    coordinator takes a new ballot and leaves its fast rounds closed for a while. Nodes then forward
    commands to it, and it proposes them one after the other: Multi-Paxos.
  * **Learning.** Fast votes go to the coordinator and to the proposer, who so learns of its own
    value after two delays. All others hear of decisions from the coordinator, with their values:
    one's own fast vote may have been for another. (That is `learned_values`.)
  * Reads go through the log: a value may be decided, and its client answered, before the
    coordinator hears of it, so no confirmation of its leadership makes its state fresh.

Proposing, and clients that wait: `fast_paxos_proposer`. What is not here is Multi-Paxos' own:
elections (`paxos_election`), Phase 1, catching up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import ClassVar, Final

from node_image.protocols import fast_paxos_messages as f
from node_image.protocols import paxos_messages as m
from node_image.protocols.ballots import Ballot
from node_image.protocols.fast_paxos_proposer import FastPaxosProposer
from node_image.protocols.fast_paxos_rounds import (
    FastTally,
    Value,
    ballot_of,
    classic_round,
    fast_round,
    is_fast,
    pick,
)
from node_image.protocols.interface import (
    NOOP,
    Broadcast,
    ClusterConfig,
    NodeId,
    Randomness,
    StateMachine,
)
from node_image.protocols.multi_paxos import MultiPaxos
from node_image.protocols.quorums import NOBODY, FastMajority
from node_image.protocols.replica import CANDIDATE, LEADER
from node_image.protocols.slot_log import Vote

CLASSIC_US: Final = 2_000_000
"""How long the coordinator keeps fast rounds closed once it has closed them."""
CONTENTION_MAX: Final = 40
"""Of a hundred recent slots so many may collide: beyond that, classic rounds are faster."""
CONTENTION_MEMORY: Final = 16
SILENT_ROUNDS_MAX: Final = 3
"""An acceptor that has acknowledged none of so many rounds of heartbeats is not counted on."""
NUDGE_US_MIN: Final = 20_000
NUDGE_SLOTS: Final = 64


class FastPaxos(FastPaxosProposer):
    """One node of a Fast Paxos cluster: proposer, acceptor, learner, perhaps coordinator."""

    name: ClassVar[str] = "fast-paxos"
    messages: ClassVar[tuple[type, ...]] = f.MESSAGES
    read_modes: ClassVar[tuple[str, ...]] = ("log",)
    quorums: FastMajority

    on = MappingProxyType(
        {
            **{kind: method for kind, method in MultiPaxos.on.items() if kind is not m.Commit},
            f.Any: "_on_any",
            f.Propose: "_on_propose",
            f.FastAccepted: "_on_fast_accepted",
            f.Forward: "_on_forward",
        }
    )
    timers = MappingProxyType(
        {
            "election": "_on_election_timer",
            "heartbeat": "_on_heartbeat_timer",
            "nudge": "_on_nudge_timer",
            "retry": "_on_retry_timer",
        }
    )

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, config, machine, random, wall_us)
        self._classic_until_us = 0  # coordinator
        self._contention = 0
        self._promisers = 0
        self._nudged_to = 0
        self._nudge_us = NUDGE_US_MIN

    def _quorum_system(self) -> FastMajority:
        return FastMajority(self.config.voters)

    def _recover_vote(self, vote: Vote) -> None:
        self._apply_votes(vote.commit)
        self._promised = max(self._promised, ballot_of(vote.ballot))
        if vote.slot > self._log.applied:
            self._log.put(vote)

    # ------------------------------------------------------------------ the fast round: acceptor

    def _on_propose(self, sender: NodeId, message: f.Propose, now_us: int) -> None:
        ballot, slot, value = message
        if self._is_learner:
            return
        if self._is_settled(slot):
            self._tell_decided(sender, slot)
        elif self._is_in_window(slot) and self._is_open(ballot, slot):
            self._consider(sender, ballot, slot, value)

    def _consider(self, proposer: NodeId, ballot: Ballot, slot: int, value: Value) -> None:
        """Vote for the value if it is the first; say which value has this acceptor's vote."""
        round_ = fast_round(ballot)
        self._used = max(self._used, slot)
        held = self._log.entries.get(slot)
        if self._may_vote(held, round_):
            held = Vote(round_, slot, value, self._log.applied)
            self._vote(held)
        if held is not None and held.ballot == round_:
            answer = f.FastAccepted(ballot, slot, held.commands)
            self._send(proposer, answer)
            if self.leader is not None and self.leader != proposer:
                self._send(self.leader, answer)

    def _may_vote(self, held: Vote | None, round_: Ballot) -> bool:
        """An acceptor votes once in a round, and never in one below that of its last vote."""
        return held is None or held.ballot < round_

    # ------------------------------------------------------------------ the fast round: counting

    def _on_fast_accepted(self, sender: NodeId, message: f.FastAccepted, now_us: int) -> None:
        ballot, slot, value = message
        self._turn_page()
        if self._is_settled(slot) or not self._answers_my_ballot(ballot):
            return
        leads = self.role == LEADER
        if not leads and slot not in self._in_flight:
            return
        self._used = max(self._used, slot)
        tally = self._fast_tallies.setdefault(slot, FastTally())
        votes = tally.add(self.quorums, sender, value)
        if self.quorums.fast(votes):
            self._decide((Vote(fast_round(ballot), slot, value, self._log.applied),))
            self._caught_up(now_us)
        elif leads and not tally.may_be_chosen(self.quorums):
            self._recover_slot(slot, tally)

    def _answers_my_ballot(self, ballot: tuple[int, ...]) -> bool:
        """Votes of another ballot say nothing about this one."""
        return ballot == self._promised

    # ------------------------------------------------------------------ the coordinator: recovery

    def _recover_slot(self, slot: int, tally: FastTally) -> None:
        """Go on to the slot's classic round: the fast votes of a majority are as good as promises.
        A majority, or a fast quorum may be missed."""
        if slot in self._tallies or not self._has_heard_enough(tally):
            return
        self._count("recoveries")
        counted = [(value, self.quorums.count(votes)) for value, votes in tally.values]
        self._propose(slot, self._pick(counted, self.quorums.count(tally.heard)))

    def _has_heard_enough(self, tally: FastTally) -> bool:
        return self.quorums.phase1(tally.heard)

    def _pick(self, counted: Sequence[tuple[Value, int]], heard: int) -> Value:
        """The only value that may have been chosen in the fast round; if there is none, any."""
        return pick(self.quorums, counted, heard)

    def _reported_votes(self) -> dict[int, list[Vote]]:
        self._promisers = len(self._promises)
        return super()._reported_votes()

    def _may_be_chosen(self, votes: Sequence[Vote]) -> Vote:
        """After Phase 1: the value of the highest round, if that is classic; else see `_pick`."""
        highest = max(votes, key=lambda vote: vote.ballot)
        if not is_fast(highest.ballot):
            return highest
        counted: list[tuple[Value, int]] = []
        for vote in votes:
            if vote.ballot == highest.ballot and all(v != vote.commands for v, _ in counted):
                same = [v for v in votes if v[::2] == vote[::2]]  # ballot and commands
                counted.append((vote.commands, len(same)))
        return highest._replace(commands=self._pick(counted, self._promisers))

    # ------------------------------------------------------------------ the classic round

    def _propose(self, slot: int, commands: Value) -> None:
        """The coordinator's own value for a slot: in its classic round."""
        self._count("proposals.classic")
        self._used = max(self._used, slot)
        self._tallies[slot] = NOBODY
        applied = self._log.applied
        self._send_accept(m.Accept(self.ballot, slot, commands, applied))
        self._vote(Vote(classic_round(self.ballot), slot, commands, applied))
        self._send(self.node, m.Accepted(self.ballot, slot, slot))

    def _on_accept(self, sender: NodeId, message: m.Accept, now_us: int) -> None:
        ballot, slot, commands, _ = message
        if not self._hear(sender, ballot, now_us) or self._is_learner:
            return
        self._used = max(self._used, slot)
        if self._is_settled(slot):
            self._tell_decided(sender, slot)
        elif self._is_in_window(slot):
            held, round_ = self._log.entries.get(slot), classic_round(ballot)
            if self._may_vote(held, round_):
                self._vote(Vote(round_, slot, commands, self._log.applied))
            self._send(sender, m.Accepted(ballot, slot, slot))

    def _count_votes(self, sender: NodeId, first: int, upto: int, now_us: int) -> None:
        slot, tallies = first, self._tallies
        if slot not in tallies or self._is_settled(slot):
            return
        tallies[slot] = self.quorums.vote(tallies[slot], sender)
        if self._is_chosen(tallies[slot]):
            self._decide((self._log.entries[slot],))
            self._caught_up(now_us)

    # ------------------------------------------------------------------ learning

    def _commit_to(self, commit: int) -> None:
        """How far the coordinator is says nothing about one's own fast votes: wait for values."""

    def _voted_to(self) -> int:
        """Up to here this acceptor has the coordinator's own values: classic votes of its ballot.
        A lost Accepted is made good by that; a fast vote may have been for another value."""
        entries, slot = self._log.entries, self._log.applied
        round_ = classic_round(self._promised)
        while (vote := entries.get(slot + 1)) is not None and vote.ballot == round_:
            slot += 1
        return slot

    def _caught_up(self, now_us: int) -> None:
        """Something may have been decided: the coordinator tells, losers are proposed again."""
        super()._caught_up(now_us)
        applied = self._log.applied
        if self.role == LEADER and self._announced < applied:
            self._announce(applied)
        for slot in [s for s in self._in_flight if s <= applied]:
            self._queue_again(self._in_flight.pop(slot))
        for slot in [s for s in self._fast_tallies if s <= applied]:
            del self._fast_tallies[slot]
        self._open_slots(now_us)

    def _announce(self, applied: int) -> None:
        """Send everybody the values that were decided, and take stock of how they were."""
        entries = tuple(self._log.held(self._announced + 1, applied))
        self._announced = applied
        self._out.append(Broadcast(m.Entries(applied, entries), False))
        for vote in entries:
            path = "fast" if vote.slot not in self._tallies else "classic"
            self._count(f"path.{path}")
            self._tallies.pop(vote.slot, None)
            tally = self._fast_tallies.get(vote.slot)
            if tally is not None:
                collided = 100 if len(tally.values) > 1 else 0
                self._contention += (collided - self._contention) // CONTENTION_MEMORY

    # ------------------------------------------------------------------ the coordinator: its rounds

    def _lead(self, now_us: int) -> None:
        super()._lead(now_us)
        self._used = self._log.last
        self._contention = self._nudged_to = 0
        self._set_timer("nudge", self._nudge_us)
        self._open_slots(now_us)

    def _announce_round(self, stamp: int, last: int) -> None:
        super()._announce_round(stamp, last)
        if self._any.ballot == self.ballot:
            self._out.append(Broadcast(self._any, False))  # for those who missed it, or forgot

    def _on_heartbeat_ack(self, sender: NodeId, message: m.HeartbeatAck, now_us: int) -> None:
        if self.role != LEADER or not self._answers_my_ballot(message.ballot):
            return
        round_ = self._rounds.get(message.stamp)
        if round_ is not None and sender != self.node:
            trip_us = now_us - round_.sent_us
            self._nudge_us = max(NUDGE_US_MIN, (3 * self._nudge_us + 4 * trip_us) // 4)
        self._acknowledged_round(sender, message.stamp, now_us)
        for slot in range(self._log.applied + 1, message.upto + 1):
            self._count_votes(sender, slot, slot, now_us)
        if self._any.ballot != self.ballot and self._may_open_fast(now_us):
            self._open_fast(now_us)

    def _on_heartbeat_timer(self, now_us: int) -> None:
        super()._on_heartbeat_timer(now_us)
        self._forget_forwarded(now_us)
        if self.role != LEADER or self._any.ballot != self.ballot:
            return
        if not self._can_be_fast() or self._contention > CONTENTION_MAX:
            self._close_fast(now_us)

    def _may_open_fast(self, now_us: int) -> bool:
        wanted = self.config.options.get("fast", True) and now_us >= self._classic_until_us
        return bool(wanted) and self._has_recovered() and self._can_be_fast()

    def _can_be_fast(self) -> bool:
        """Whether enough acceptors have answered lately to make a fast quorum."""
        votes, since = NOBODY, self._stamp - SILENT_ROUNDS_MAX
        for node, acked in self._acked.items():
            if acked > since:
                votes = self.quorums.vote(votes, node)
        return self.quorums.fast(votes)

    def _open_fast(self, now_us: int) -> None:
        """From the first slot on that has no classic proposal anybody may propose."""
        self._any = f.Any(self.ballot, max(self._used, self._log.last) + 1)
        self._count("fast.opened")
        self._note("fast-open", ballot=list(self.ballot), first=self._any.first)
        self._out.append(Broadcast(self._any, False))
        self._open_slots(now_us)

    def _close_fast(self, now_us: int) -> None:
        """Take a new ballot: in it no acceptor votes for what the coordinator has not proposed."""
        self._count("fast.closed")
        self._note("fast-closed", ballot=list(self.ballot), contention=self._contention)
        self._classic_until_us = now_us + CLASSIC_US
        self.role = CANDIDATE
        self.leader = None
        self.ballot = self._new_ballot()
        self._set_timer("election", self.config.heartbeat_us, 2 * self.config.heartbeat_us)
        self._begin_phase1(now_us)

    # ------------------------------------------------------------------ the coordinator: losses

    def _on_nudge_timer(self, now_us: int) -> None:
        """Bring slots forward that were open at the last look already, and are still."""
        if self.role != LEADER:
            return
        self._turn_page()
        applied = self._log.applied
        for slot in range(applied + 1, min(self._nudged_to, applied + NUDGE_SLOTS) + 1):
            if not self._is_settled(slot):
                self._nudge(slot)
        self._nudged_to = max(self._used, self._log.last)
        self._set_timer("nudge", self._nudge_us)

    def _nudge(self, slot: int) -> None:
        tally = self._fast_tallies.get(slot)
        if slot in self._tallies:
            vote = self._log.entries[slot]
            self._send_accept(m.Accept(self.ballot, slot, vote.commands, self._log.applied))
        elif not self._is_open(self.ballot, slot):
            return
        elif tally is not None and self._has_heard_enough(tally):
            self._recover_slot(slot, tally)
        else:
            wanted = max(tally.values, key=lambda v: self.quorums.count(v[1]))[0] if tally else None
            self._propose_to_all(slot, wanted or (NOOP,))
