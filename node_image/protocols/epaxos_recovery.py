"""Recovery: how an instance is decided when its owner does not decide it.

Any replica may recover any instance that stays open for too long. It takes a ballot above the
owner's, and collects promises, each with the acceptor's record, from a majority Q. Any majority
will do: Q is the set of nodes that have answered all requests so far, and more may join it while
the recovery waits (a node that promised early may be slow or down when it is asked again). Then, in
this order:

    1. a node knows the decision: adopt it
    2. a node has voted in a Phase 2: the vote of the highest ballot, as always in Paxos
    3. no node in Q has the commands: they cannot have been committed; propose a no-op
    4. the commands are known, and the owner may have committed them on the fast path, or not

The fourth case is the difficult part of EPaxos. A fast path needs n - e acceptors (the fast quorum)
that recorded the instance with exactly the owner's initial dependencies `init`; let R be those in
Q. **It was certainly not taken** if |R| < |Q| - e, or if the owner is in Q and reports that it
still leads the instance. Otherwise it may have been taken, and only `init` can have been committed.
But proposing `init` without further checks is wrong: an interfering instance that is not in `init`
may have been committed without a dependency on this one. The original protocol asks a quorum to
"TryPreAccept", with rules that were found to be incomplete. The rules used here are those of
EPaxos* (Ryabinin, Gotsman, Sutra, "Making Democracy Work: Fixing and Simplifying Egalitarian
Paxos", 2025), adapted to dependencies as vectors, and to owners that restart.

All nodes in Q are asked to **validate**: to record the commands, so that whatever they receive from
now on depends on them, and to report what interferes: their dependencies, and the *suspects*. These
are instances such that neither is among the other's initial (or decided) dependencies. Two such
instances cannot both have been committed with their initial dependencies: their fast quorums share
an acceptor, which recorded one of them first, and added it to the other. So:

    no suspects                          `init` is safe: a node that commits an interfering
                                         instance asks an acceptor in Q, which adds this one
    a suspect is committed, without      the fast path was not taken: otherwise the invariant
    depending on this one                would already be violated
    all e acceptors that a fast quorum   not taken: the suspect's owner would be in this one's
    can spare are in Q, and a suspect's  fast quorum, and would have recorded this one before it
    owner is outside of Q                began the suspect, which would then depend on it
    another node recovers a suspect,     not taken: none of these acceptors can be in this one's
    and more than e acceptors recorded   fast quorum, which cannot spare more than e
    it with its initial dependencies

While none of these applies, the recovery **waits** until each suspect is decided: as a no-op, or
with or without a dependency on this one. Then one of the first two lines applies. Two recoveries
that wait for each other detect this through `Waiting` (the last line). If the fast path was
certainly not taken, the commands are proposed with all dependencies that Q reported when it
recorded them. This repeats the owner's Phase 1, and is as safe.

The owner's statement that it has not committed an instance remains true after a restart, because a
fast-path decision is on the owner's disk before it is announced: what is not there was not
committed, and never will be, in ballot zero. Without this rule two restarted owners whose instances
interfere would remain undecidable while e acceptors are down. The cost is one more write before a
fast decision is announced; it shares the disk's next barrier with other writes.

Duels: a node that promises a ballot to another node gives that node time to finish, but only once,
however often it asks: a node that can send but receives nothing must not delay all others. Timeouts
are random.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from node_image.protocols.context import Context
from node_image.protocols.epaxos_execution import InstanceExecution
from node_image.protocols.epaxos_instances import (
    ACCEPTED,
    COMMITTED,
    PRE_ACCEPTED,
    Instance,
    InstanceTable,
    Vector,
)
from node_image.protocols.epaxos_led_instances import (
    ACCEPTING,
    COMMITTING,
    PREPARING,
    VALIDATING,
    WAITING,
    LedInstance,
    LedInstances,
)
from node_image.protocols.epaxos_messages import (
    Forgotten,
    InstanceId,
    Nack,
    Prepare,
    Promise,
    Suspect,
    Validate,
    Validated,
    Waiting,
)
from node_image.protocols.epaxos_store import InstanceStore
from node_image.protocols.epaxos_voting import InstanceVoting
from node_image.protocols.interface import Broadcast, Command, NodeId

SCAN: Final = 256
"""How many instances of each owner, after the executed ones, are watched at a time."""


class InstanceRecovery:
    """Recovers instances that stay open: both sides of Prepare, Validate and Waiting.

    `spare`: how many acceptors a fast quorum can spare (the e above).
    """

    def __init__(
        self,
        context: Context,
        table: InstanceTable,
        led_instances: LedInstances,
        execution: InstanceExecution,
        store: InstanceStore,
        voting: InstanceVoting,
        spare: int,
    ) -> None:
        self._ctx = context
        self._table = table
        self._led_instances = led_instances
        self._execution = execution
        self._store = store
        self._voting = voting
        self.spare = spare

    # ------------------------------------------------------------------ overdue instances

    def recover_overdue(self, now_us: int) -> None:
        """Start to recover instances that have been open for too long."""
        if not self._ctx.is_learner:
            for instance in self._open_instances(now_us):
                if self.is_overdue(instance, now_us):
                    self._recover(instance, now_us)

    def _open_instances(self, now_us: int) -> Iterable[Instance]:
        """For every owner the instances after the executed ones, including unknown ones: a later
        instance waits until they are decided, even if only as no-ops."""
        table = self._table
        found: list[Instance] = []
        for place, row in enumerate(table.rows):
            first = table.done[place] + 1
            for number in range(first, min(table.top[place], first + SCAN) + 1):
                instance = row.get(number)
                if instance is None:
                    instance = table.obtain(InstanceId(table.nodes[place], number), now_us)
                if instance.phase < COMMITTED:
                    found.append(instance)
        return found

    def is_overdue(self, instance: Instance, now_us: int) -> bool:
        if instance.due_us == 0:
            self._voting.give_time(instance, instance.since_us)
            if instance.id.owner == self._ctx.node:  # of an earlier life: recover it soon
                instance.due_us = instance.since_us + self._ctx.config.retry_us
        if now_us < instance.due_us:
            return False
        led = self._led_instances.get(instance.id)
        return led is None or led.stage in (PREPARING, VALIDATING, WAITING)

    def resend(self, led: LedInstance, now_us: int) -> None:
        if led.stage == PREPARING:
            self._ctx.out.append(Broadcast(Prepare(led.ballot, led.instance.id)))
        elif led.stage in (VALIDATING, WAITING):
            self._ask_others(led)
            if led.stage == WAITING:
                self._send_waiting(led, now_us)
        elif led.stage == ACCEPTING:
            self._ctx.out.append(Broadcast(self._voting.proposal(led), False))

    # ------------------------------------------------------------------ Phase 1

    def _recover(self, instance: Instance, now_us: int) -> None:
        """Promise a new ballot locally, durably, and ask all others to promise it."""
        ballot = self._voting.new_ballot(instance)
        self._led_instances.pop(instance.id, None)
        self._voting.promise(instance, ballot)
        timeout_us = self._ctx.random.randrange(
            self._ctx.config.election_max_us, 2 * self._ctx.config.election_max_us
        )
        instance.due_us = now_us + timeout_us * self._voting.tries(instance)
        self._led_instances[instance.id] = LedInstance(instance, ballot, PREPARING, now_us)
        self._ctx.count("ballots")
        self._ctx.count("recoveries")
        self._ctx.note("recovering", instance=list(instance.id), ballot=list(ballot))
        self._store.write(instance)
        self._ctx.out.append(Broadcast(Prepare(ballot, instance.id)))
        self._ctx.send(self._ctx.node, self._report(instance))

    def on_prepare(self, sender: NodeId, message: Prepare, now_us: int) -> None:
        if self._ctx.is_learner:
            return
        if self._voting.is_gone(message.id):
            self._ctx.send(sender, Forgotten(message.id), False)
            return
        instance = self._voting.open_instance(sender, message.id, now_us)
        if instance is None:
            return
        if self._voting.refuses(instance, message.ballot):
            self._ctx.send(sender, Nack(message.id, instance.promised), False)
            return
        if message.ballot > instance.promised:
            self._voting.promise(instance, message.ballot)
            self._store.write(instance)
            self._voting.give_time(instance, now_us)
        self._ctx.send(sender, self._report(instance))

    def _report(self, instance: Instance) -> Promise:
        return Promise(
            instance.promised,
            instance.id,
            instance.phase,
            instance.voted,
            instance.noop,
            instance.commands,
            instance.init,
            instance.deps,
            instance.id.owner == self._ctx.node,
        )

    def on_nack(self, sender: NodeId, message: Nack, now_us: int) -> None:
        """Another node has a higher ballot: give it time to finish."""
        led = self._led_instances.get(message.id)
        if led is None or message.promised <= led.ballot or led.stage == COMMITTING:
            return
        self._voting.promise(led.instance, message.promised)
        self._store.write(led.instance)
        self._voting.give_time(led.instance, now_us)

    def on_forgotten(self, sender: NodeId, message: Forgotten, now_us: int) -> None:
        if not self._table.is_executed(message.id):
            self._store.ask_catch_up(sender, now_us)

    def on_promise(self, sender: NodeId, message: Promise, now_us: int) -> None:
        led = self._led_instances.get(message.id)
        if led is None or not self._voting.answers(led, message.ballot):
            return
        if led.stage == PREPARING:
            led.promises[sender] = message
            led.votes = self._ctx.quorums.vote(led.votes, sender)
            if self._ctx.quorums.phase1(led.votes):
                self._conclude(led, now_us)
        elif led.stage in (VALIDATING, WAITING) and sender not in led.promises:
            led.promises[sender] = message
            if message.phase == ACCEPTED:
                self._conclude(led, now_us)
            else:
                self._ctx.send(sender, self._validation(led), False)

    def _conclude(self, led: LedInstance, now_us: int) -> None:
        """A majority has promised: determine which of the four cases applies."""
        votes = [p for p in led.promises.values() if p.phase == ACCEPTED]
        if votes:
            vote = self.highest(votes)
            led.commands, led.init = vote.commands, vote.init
            self._voting.propose(led, vote.noop, vote.deps, now_us)
            return
        known = self.known_commands(led)
        if known is None:
            self._voting.propose(led, True, self._table.zero, now_us)
            return
        led.commands, led.init = known
        led.maybe_fast = True
        led.stage = VALIDATING
        led.sent_us = now_us
        for node in led.promises:
            self._ctx.send(node, self._validation(led), False)

    def highest(self, votes: list[Promise]) -> Promise:
        """The only value that may have been chosen in a Phase 2: that of the highest ballot."""
        return max(votes, key=lambda vote: vote.voted)

    def known_commands(self, led: LedInstance) -> tuple[tuple[Command, ...], Vector] | None:
        """The owner's commands and initial dependencies, from any node that has them."""
        for promise in led.promises.values():
            if promise.commands:
                return promise.commands, promise.init
        return None

    def maybe_fast(self, led: LedInstance) -> bool:
        """Whether the owner may have taken the fast path."""
        if any(promise.leads for promise in led.promises.values()):
            return False
        return len(led.fast) >= len(led.validated) - self.spare

    # ------------------------------------------------------------------ validation

    def _validation(self, led: LedInstance) -> Validate:
        return Validate(led.ballot, led.instance.id, led.commands, led.init)

    def _ask_others(self, led: LedInstance) -> None:
        """Ask nodes that are not in Q yet, in case a node in Q is down."""
        for node in self._ctx.config.voters:
            if node not in led.promises:
                self._ctx.send(node, Prepare(led.ballot, led.instance.id), False)
            elif node not in led.validated:
                self._ctx.send(node, self._validation(led), False)

    def on_validate(self, sender: NodeId, message: Validate, now_us: int) -> None:
        instance = self._voting.open_instance(sender, message.id, now_us)
        if instance is None or self._ctx.is_learner:
            return
        if self._voting.refuses(instance, message.ballot):
            self._ctx.send(sender, Nack(message.id, instance.promised), False)
            return
        news = instance.marks is None
        if not instance.saved or message.ballot > instance.promised:
            self._voting.promise(instance, message.ballot)
            self._store.learn_commands(instance, message.commands, message.init)
            self._store.write(instance)
        assert instance.marks is not None
        deps = self._table.interfering(instance, instance.marks, message.init)
        suspects = tuple(self.suspects(instance, message.init))
        self._ctx.send(sender, Validated(message.ballot, message.id, deps, suspects))
        if news:
            self._execution.settled(instance)

    def suspects(self, instance: Instance, init: Vector) -> Iterable[Suspect]:
        """Interfering instances known here such that neither initially depends on the other."""
        table, marks = self._table, instance.marks
        assert marks is not None
        for place, number in enumerate(table.gone.before(marks, init)):
            if number > init[place] and place != instance.place:
                yield Suspect(InstanceId(table.nodes[place], number), True)
        for other in table.beyond(init):
            if other is instance or other.noop_is_final() or not other.interferes(marks):
                continue
            decided = other.phase >= COMMITTED
            if not instance.covered_by(other.deps if decided else other.init or table.zero):
                yield Suspect(other.id, decided)

    def on_validated(self, sender: NodeId, message: Validated, now_us: int) -> None:
        led = self._led_instances.get(message.id)
        if led is None or not self._voting.answers(led, message.ballot):
            return
        if led.stage not in (VALIDATING, WAITING):
            return
        if sender not in led.promises or sender in led.validated:
            return
        led.validated[sender] = message
        for suspect in message.suspects:
            if suspect.decided or suspect.id not in led.suspects:
                led.suspects[suspect.id] = suspect
        if _as_begun(led.promises[sender], led.init):
            led.fast.add(sender)
        led.in_q = self._ctx.quorums.vote(led.in_q, sender)
        if self._ctx.quorums.phase1(led.in_q):
            self._judge(led, now_us)

    # ------------------------------------------------------------------ conclusion

    def _judge(self, led: LedInstance, now_us: int) -> None:
        """All of Q have validated: propose, or wait for the suspects, and for more to join Q."""
        if not led.maybe_fast or not self.maybe_fast(led) or self._is_refuted(led):
            self._voting.propose(led, False, self.merged(led), now_us)
        elif not self._open_suspects(led):
            self._voting.propose(led, False, led.init, now_us)
        else:
            for identity in led.suspects:
                if not self._table.is_forgotten(identity):
                    self._table.obtain(identity, now_us)
            if led.stage != WAITING:
                led.stage = WAITING
                suspects = [list(identity) for identity in led.suspects]
                self._ctx.note("waiting", instance=list(led.instance.id), suspects=suspects)
                self._send_waiting(led, now_us)

    def merged(self, led: LedInstance) -> Vector:
        """All dependencies that Q reported when it recorded the commands."""
        deps = led.init
        for validated in led.validated.values():
            deps = tuple(map(max, deps, validated.deps))
        return deps

    def _is_refuted(self, led: LedInstance) -> bool:
        """Whether the suspects prove that the fast path was not taken."""
        spare = self.spare - (len(led.validated) - len(led.fast))
        for suspect in led.suspects.values():
            if self._table.is_forgotten(suspect.id):
                if self._forgot_interference(led):
                    return True
                continue
            other = self._table.get(suspect.id)
            if other is not None and other.phase >= COMMITTED:
                if not other.noop and not led.instance.covered_by(other.deps):
                    return True
            elif suspect.decided or (not spare and suspect.id.owner not in led.validated):
                return True
        return False

    def _forgot_interference(self, led: LedInstance) -> bool:
        """Whether an interfering instance, not in `init`, was executed and forgotten here. It was
        executed without this instance, so it does not depend on it."""
        gone = self._table.gone.before(self._table.marks(led.commands), led.init)
        gone[led.instance.place] = 0
        return any(map(int.__gt__, gone, led.init))

    def _open_suspects(self, led: LedInstance) -> bool:
        return any(
            (other := self._table.get(identity)) is None or other.phase < COMMITTED
            for identity in led.suspects
            if not self._table.is_forgotten(identity)
        )

    def _send_waiting(self, led: LedInstance, now_us: int) -> None:
        """Tell the node that recovers a suspect how many acceptors recorded this instance with its
        initial dependencies."""
        recorded = len(led.fast | {led.instance.id.owner})
        message = Waiting(led.instance.id, led.init, recorded)
        self._ctx.out.append(Broadcast(message, False))
        self.on_waiting(self._ctx.node, message, now_us)

    def on_waiting(self, sender: NodeId, message: Waiting, now_us: int) -> None:
        """If more than e acceptors recorded a suspect without the instance that is recovered here,
        too few are left for the latter's fast quorum."""
        if message.votes <= self.spare:
            return
        for led in self._led_instances.values():
            if message.id in led.suspects and not led.instance.covered_by(message.init):
                led.maybe_fast = False
        self.judge_waiting(message.id, now_us)

    def judge_waiting(self, news: InstanceId, now_us: int) -> None:
        waiting = [
            led
            for led in self._led_instances.values()
            if led.stage == WAITING and news in led.suspects
        ]
        for led in waiting:
            if self._led_instances.get(led.instance.id) is led:
                self._judge(led, now_us)


def _as_begun(promise: Promise, init: Vector) -> bool:
    """Whether it was recorded in ballot zero, with exactly the owner's initial dependencies."""
    return promise.phase == PRE_ACCEPTED and promise.deps == init
