"""Each EPaxos instance is an instance of Paxos: Phase 2, decisions, and the ballots' rules.

The value of an instance is a command (or a batch of them) *and its dependencies*; or a no-op. The
owner proposes in ballot zero, which is its own and needs no Phase 1; whoever recovers the instance
takes a higher one. Two numbers are kept for every instance, and they are not the same:

    promised   nothing is done here in a ballot below it. Phase 1 raises it
    voted      the ballot in which the recorded value was voted for. Phase 2 sets it

The original implementation had one variable for both, so that a recovery's Phase 1 made an old vote
look like a vote in the new ballot (Sutra, "On the correctness of Egalitarian Paxos", 2019).

A `Lead` is what this node remembers of an instance that it is bringing to a decision, as the owner
or in a recovery. It is not durable: a node that restarts leads nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from node_image.protocols.ballots import Ballot, next_ballot
from node_image.protocols.context import Context
from node_image.protocols.epaxos_instances import (
    ACCEPTED,
    COMMITTED,
    Instance,
    Vector,
)
from node_image.protocols.epaxos_messages import (
    Accept,
    Accepted,
    Commit,
    InstanceId,
    Nack,
    Promise,
    Suspect,
    Validated,
)
from node_image.protocols.epaxos_store import InstanceStore
from node_image.protocols.interface import (
    Broadcast,
    Command,
    NodeId,
)
from node_image.protocols.quorums import NOBODY

PRE_ACCEPTING: Final = "pre-accepting"
PREPARING: Final = "preparing"
VALIDATING: Final = "validating"
WAITING: Final = "waiting"
ACCEPTING: Final = "accepting"
TRIES_MAX: Final = 3
COMMITTING: Final = "committing"
"""Decided on the fast path; nobody has been told, because it is not on the owner's disk yet."""


class Lead:
    """An instance that this node brings to a decision, in one ballot.

    `votes` are of the current stage, `agreed` those of them that added no dependency. `deps` grows
    to all dependencies reported; `init`, `commands` and `noop` are what is proposed. `commit` is a
    fast decision that waits for the disk, in the stage COMMITTING. The other fields belong to a
    recovery, see `epaxos_recovery`: `in_q` are those who have validated, `fast` those of them that
    recorded the instance as begun.
    """

    __slots__ = (
        "agreed",
        "ballot",
        "commands",
        "commit",
        "deps",
        "fast",
        "in_q",
        "init",
        "instance",
        "maybe_fast",
        "noop",
        "promises",
        "sent_us",
        "stage",
        "suspects",
        "validated",
        "votes",
    )

    def __init__(self, instance: Instance, ballot: Ballot, stage: str, now_us: int) -> None:
        self.instance = instance
        self.ballot = ballot
        self.stage = stage
        self.sent_us = now_us
        self.votes = self.agreed = NOBODY
        self.noop = False
        self.commands: tuple[Command, ...] = ()
        self.commit: Commit | None = None
        self.init: Vector = ()
        self.deps: Vector = ()
        self.promises: dict[NodeId, Promise] = {}
        self.validated: dict[NodeId, Validated] = {}
        self.in_q = NOBODY
        self.fast: set[NodeId] = set()
        self.maybe_fast = False
        self.suspects: dict[InstanceId, Suspect] = {}


class InstanceBallots(InstanceStore):
    """Adds Phase 2, and commits. Subclasses decide what is proposed."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self._leads: dict[InstanceId, Lead] = {}
        self._first_number = 1
        """The first instance that this node owns in this life."""

    # ------------------------------------------------------------------ the ballots' rules

    def _new_ballot(self, instance: Instance) -> Ballot:
        return next_ballot(instance.promised.round, self._ctx.node)

    def _refuses(self, instance: Instance, ballot: Ballot) -> bool:
        """An acceptor does nothing in a ballot below the one that it has promised."""
        return ballot < instance.promised

    def _answers(self, lead: Lead | None, ballot: Ballot) -> bool:
        """Replies to an earlier ballot say nothing about this one."""
        return lead is not None and lead.ballot == ballot

    def _promise(self, instance: Instance, ballot: Ballot) -> None:
        """Raise the promise; the vote stays what it was, in the ballot in which it was given."""
        if ballot > instance.promised:
            instance.promised = ballot
            lead = self._leads.get(instance.id)
            if lead is not None and lead.ballot < ballot:
                self._abandon(lead)

    def _abandon(self, lead: Lead) -> None:
        """Somebody else leads this instance now."""
        del self._leads[lead.instance.id]

    def _give_time(self, instance: Instance, now_us: int) -> None:
        """Whoever is at it now shall have time to finish, before this node steps in: the more, the
        more have tried. A recovery is three round trips, and duels when they are slow end so."""
        low_us, high_us = self._ctx.config.election_min_us, self._ctx.config.election_max_us
        patience_us = self._ctx.random.randrange(low_us, high_us + 1)
        instance.due_us = now_us + patience_us * self._tries(instance)

    def _tries(self, instance: Instance) -> int:
        """How often patience is multiplied: 1, and up to TRIES_MAX with the ballots taken."""
        return min(1 + instance.promised.round // 2, TRIES_MAX)

    # ------------------------------------------------------------------ Phase 2: the proposer

    def _propose(self, lead: Lead, noop: bool, deps: Vector, now_us: int) -> None:
        """Ask for votes for the lead's commands with these dependencies, or for a no-op."""
        lead.stage = ACCEPTING
        lead.votes = NOBODY
        lead.sent_us = now_us
        lead.noop, lead.deps = noop, deps
        self._ctx.out.append(Broadcast(self._proposal(lead), False))
        self._vote(lead.instance, self._proposal(lead))
        self._ctx.send(self._ctx.node, Accepted(lead.ballot, lead.instance.id))

    def _proposal(self, lead: Lead) -> Accept:
        if lead.noop:
            return Accept(lead.ballot, lead.instance.id, True, (), (), self._table.zero)
        return Accept(lead.ballot, lead.instance.id, False, lead.commands, lead.init, lead.deps)

    def _on_accepted(self, sender: NodeId, message: Accepted, now_us: int) -> None:
        lead = self._leads.get(message.id)
        if lead is None or lead.stage != ACCEPTING or not self._answers(lead, message.ballot):
            return
        lead.votes = self._ctx.quorums.vote(lead.votes, sender)
        if self._ctx.quorums.phase2(lead.votes):
            self._decide(lead, now_us)

    def _decide(self, lead: Lead, now_us: int) -> None:
        """What this lead proposed is chosen: commit it, and say so."""
        commands = () if lead.noop else lead.commands
        commit = Commit(lead.instance.id, lead.ballot, lead.noop, commands, lead.deps)
        self._ctx.out.append(Broadcast(commit, False))
        self._learn_commit(commit, now_us)
        self._checkpoint_if_due()

    # ------------------------------------------------------------------ Phase 2: the acceptor

    def _on_accept(self, sender: NodeId, message: Accept, now_us: int) -> None:
        instance = self._open_instance(sender, message.id, now_us)
        if instance is None:
            return
        if self._refuses(instance, message.ballot):
            self._ctx.send(sender, Nack(message.id, instance.promised), False)
            return
        if not self._ctx.is_learner:
            if instance.phase != ACCEPTED or message.ballot != instance.voted:
                self._vote(instance, message)
                self._give_time(instance, now_us)
            self._ctx.send(sender, Accepted(message.ballot, message.id))

    def _vote(self, instance: Instance, proposal: Accept) -> None:
        """Vote, durably. The owner's commands are remembered, also beside a vote for a no-op:
        they may be decided yet."""
        self._promise(instance, proposal.ballot)
        known = instance.marks is not None
        instance.phase, instance.voted = ACCEPTED, proposal.ballot
        instance.noop, instance.deps = proposal.noop, proposal.deps
        self._learn_commands(instance, proposal.commands, proposal.init)
        self._write(instance)
        if not known and instance.marks is not None:
            self._settled(instance)

    def _open_instance(self, sender: NodeId, identity: InstanceId, now_us: int) -> Instance | None:
        """The instance that a message is about, if it is still open here; the sender is told
        when it is not."""
        if self._is_gone(identity) or self._is_committing(identity):
            return None
        instance = self._table.obtain(identity, now_us)
        if instance.phase >= COMMITTED:
            if sender != self._ctx.node:
                self._ctx.send(sender, instance.as_commit(), False)
            return None
        return instance

    def _is_gone(self, identity: InstanceId) -> bool:
        """What is executed and forgotten must not look as if it had never been."""
        return self._table.is_forgotten(identity)

    def _is_committing(self, identity: InstanceId) -> bool:
        """Whether the owner, this node, has decided it, and will say so in a moment."""
        lead = self._leads.get(identity)
        return lead is not None and lead.stage == COMMITTING

    # ------------------------------------------------------------------ decisions

    def _on_commit(self, sender: NodeId, message: Commit, now_us: int) -> None:
        self._learn_commit(message, now_us)
        self._checkpoint_if_due()

    def _learn_commit(self, commit: Commit, now_us: int) -> None:
        """An instance is decided: nothing more happens in it, but that it is executed."""
        if self._table.is_forgotten(commit.id):
            return
        instance = self._table.obtain(commit.id, now_us)
        if instance.phase >= COMMITTED:
            return
        lead = self._leads.pop(commit.id, None)
        self._fill(instance, commit)
        if lead is None or lead.commit is None:
            self._unsaved.append(instance)
        self._settled(instance)
        self._after_commit(instance, now_us)

    def _after_commit(self, instance: Instance, now_us: int) -> None:
        """For whoever waits for this decision, besides execution."""

    def _commits_under_way(self) -> Iterable[Commit]:
        return (lead.commit for lead in self._leads.values() if lead.commit is not None)

    def _after_snapshot(self) -> None:
        """A snapshot may have settled what this node was still leading."""
        super()._after_snapshot()
        for lead in list(self._leads.values()):
            held = self._table.get(lead.instance.id)
            if held is not lead.instance or held.phase >= COMMITTED:
                self._abandon(lead)
