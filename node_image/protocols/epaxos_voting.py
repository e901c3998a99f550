"""Each EPaxos instance is a Paxos instance: Phase 2, decisions, and the rules for ballots.

The value of an instance is a command (or a batch) *and its dependencies*, or a no-op. The owner
proposes in ballot zero, which only it uses, and which needs no Phase 1; a node that recovers the
instance takes a higher ballot. Every instance keeps two ballots, which must not be confused:

    promised   messages of lower ballots are refused. Raised by Phase 1
    voted      the ballot in which the recorded value was voted for. Set by Phase 2

The original implementation used one variable for both, so that a recovery's Phase 1 made an old
vote look like a vote in the new ballot (Sutra, "On the correctness of Egalitarian Paxos", 2019).

Which instances this node leads, and how far each one is: `epaxos_led_instances`.
"""

from __future__ import annotations

from typing import Final

from node_image.protocols.ballots import ZERO, Ballot, next_ballot
from node_image.protocols.context import Context
from node_image.protocols.epaxos_execution import InstanceExecution
from node_image.protocols.epaxos_instances import (
    ACCEPTED,
    COMMITTED,
    Instance,
    InstanceTable,
    Vector,
)
from node_image.protocols.epaxos_led_instances import (
    ACCEPTING,
    COMMITTING,
    LedInstance,
    LedInstances,
)
from node_image.protocols.epaxos_messages import Accept, Accepted, Commit, InstanceId, Nack
from node_image.protocols.epaxos_store import InstanceStore
from node_image.protocols.interface import Broadcast, NodeId
from node_image.protocols.quorums import NO_VOTES

TRIES_MAX: Final = 3


class InstanceVoting:
    """Votes, proposals and decisions of single instances."""

    def __init__(
        self,
        context: Context,
        table: InstanceTable,
        led_instances: LedInstances,
        execution: InstanceExecution,
        store: InstanceStore,
    ) -> None:
        self._ctx = context
        self._table = table
        self._led_instances = led_instances
        self._execution = execution
        self._store = store

    # ------------------------------------------------------------------ ballots

    def new_ballot(self, instance: Instance) -> Ballot:
        return next_ballot(instance.promised.round, self._ctx.node)

    def refuses(self, instance: Instance, ballot: Ballot) -> bool:
        """An acceptor refuses ballots below the one that it has promised."""
        return ballot < instance.promised

    def answers(self, led: LedInstance | None, ballot: Ballot) -> bool:
        """Replies to an earlier ballot do not count in this one."""
        return led is not None and led.ballot == ballot

    def promise(self, instance: Instance, ballot: Ballot) -> None:
        """Raise the promise. The vote, and the ballot of the vote, do not change."""
        if ballot > instance.promised:
            instance.promised = ballot
            led = self._led_instances.get(instance.id)
            if led is not None and led.ballot < ballot:
                self.abandon(led)

    def abandon(self, led: LedInstance) -> None:
        """Stop leading: another node leads this instance now."""
        del self._led_instances[led.instance.id]
        if led.ballot == ZERO:
            self._ctx.count("usurped")

    def give_time(self, instance: Instance, now_us: int) -> None:
        """Give the node that leads the instance time to finish before this node takes over; the
        more ballots were tried, the more time. A recovery takes three round trips, so without this
        duels over slow links would not end."""
        low_us, high_us = self._ctx.config.election_min_us, self._ctx.config.election_max_us
        timeout_us = self._ctx.random.randrange(low_us, high_us + 1)
        instance.due_us = now_us + timeout_us * self.tries(instance)

    def tries(self, instance: Instance) -> int:
        """The factor of the timeout: 1, growing with the ballots tried up to TRIES_MAX."""
        return min(1 + instance.promised.round // 2, TRIES_MAX)

    # ------------------------------------------------------------------ Phase 2: the proposer

    def propose(self, led: LedInstance, noop: bool, deps: Vector, now_us: int) -> None:
        """Ask for votes: for the instance's commands with these dependencies, or for a no-op."""
        led.stage = ACCEPTING
        led.votes = NO_VOTES
        led.sent_us = now_us
        led.noop, led.deps = noop, deps
        self._ctx.out.append(Broadcast(self.proposal(led), False))
        self.vote(led.instance, self.proposal(led))
        self._ctx.send(self._ctx.node, Accepted(led.ballot, led.instance.id))

    def proposal(self, led: LedInstance) -> Accept:
        if led.noop:
            return Accept(led.ballot, led.instance.id, True, (), (), self._table.zero)
        return Accept(led.ballot, led.instance.id, False, led.commands, led.init, led.deps)

    def on_accepted(self, sender: NodeId, message: Accepted) -> Commit | None:
        """Count a vote. Returns the decision if this vote completes a quorum."""
        led = self._led_instances.get(message.id)
        if led is None or led.stage != ACCEPTING or not self.answers(led, message.ballot):
            return None
        led.votes = self._ctx.quorums.vote(led.votes, sender)
        return self.announce(led) if self._ctx.quorums.phase2(led.votes) else None

    def announce(self, led: LedInstance) -> Commit:
        """The proposal for this instance is chosen: announce it."""
        commands = () if led.noop else led.commands
        commit = Commit(led.instance.id, led.ballot, led.noop, commands, led.deps)
        self._ctx.out.append(Broadcast(commit, False))
        return commit

    # ------------------------------------------------------------------ Phase 2: the acceptor

    def on_accept(self, sender: NodeId, message: Accept, now_us: int) -> None:
        instance = self.open_instance(sender, message.id, now_us)
        if instance is None:
            return
        if self.refuses(instance, message.ballot):
            self._ctx.send(sender, Nack(message.id, instance.promised), False)
            return
        if not self._ctx.is_learner:
            if instance.phase != ACCEPTED or message.ballot != instance.voted:
                self.vote(instance, message)
                self.give_time(instance, now_us)
            self._ctx.send(sender, Accepted(message.ballot, message.id))

    def vote(self, instance: Instance, proposal: Accept) -> None:
        """Vote, durably. The owner's commands are kept even with a vote for a no-op: they may still
        be decided."""
        self.promise(instance, proposal.ballot)
        known = instance.marks is not None
        instance.phase, instance.voted = ACCEPTED, proposal.ballot
        instance.noop, instance.deps = proposal.noop, proposal.deps
        self._store.learn_commands(instance, proposal.commands, proposal.init)
        self._store.write(instance)
        if not known and instance.marks is not None:
            self._execution.settled(instance)

    def open_instance(self, sender: NodeId, identity: InstanceId, now_us: int) -> Instance | None:
        """The instance that a message is about, if it is open here; otherwise the sender is
        notified."""
        if self.is_gone(identity) or self._is_committing(identity):
            return None
        instance = self._table.obtain(identity, now_us)
        if instance.phase >= COMMITTED:
            if sender != self._ctx.node:
                self._ctx.send(sender, instance.as_commit(), False)
            return None
        return instance

    def is_gone(self, identity: InstanceId) -> bool:
        """Whether it is executed and forgotten: it must not appear as unknown."""
        return self._table.is_forgotten(identity)

    def _is_committing(self, identity: InstanceId) -> bool:
        """Whether this node, its owner, has decided it, and waits for the disk to announce it."""
        led = self._led_instances.get(identity)
        return led is not None and led.stage == COMMITTING

    # ------------------------------------------------------------------ decisions

    def learn_commit(self, commit: Commit, now_us: int) -> Instance | None:
        """An instance is decided: close it, except for its execution. None if that was known
        already."""
        if self._table.is_forgotten(commit.id):
            return None
        instance = self._table.obtain(commit.id, now_us)
        if instance.phase >= COMMITTED:
            return None
        led = self._led_instances.pop(commit.id, None)
        self._store.fill(instance, commit)
        if led is None or led.commit is None:
            self._store.unsaved.append(instance)
        self._execution.settled(instance)
        return instance

    def abandon_settled(self) -> None:
        """A snapshot may have decided instances that this node was leading."""
        for led in list(self._led_instances.values()):
            held = self._table.get(led.instance.id)
            if held is not led.instance or held.phase >= COMMITTED:
                self.abandon(led)
