"""EPaxos: every replica proposes its clients' commands, and only interfering ones are ordered.

The setting (Moraru, Andersen, Kaminsky, "There is more consensus in Egalitarian parliaments", SOSP
2013). There is no leader and no log. Each node owns a sequence of instances. A client may ask any
node, which becomes the owner of the command and proposes it in one of its instances. An instance
decides the command *and its dependencies*: the instances known to hold commands that interfere.

    PreAccept    the owner sends the command, and `init`, the dependencies that it knows
    PreAccepted  every acceptor adds the dependencies that it knows, records and returns them

    fast path    a fast quorum (including the owner) added none: decided after one round trip
    slow path    an acceptor added some: the owner proposes the union of a majority's answers in an
                 ordinary Phase 2 (`epaxos_voting`); decided after two round trips

With f = (n - 1) / 2 failures a majority is n - f; a fast quorum is n - e, where e is at most
(n - f + 1) / 2 and at most f: two of three, three of five, five of seven. Everything keeps this
**invariant: of two decided instances that interfere, at least one depends on the other.** Each of
the two was recorded by a majority, the majorities share an acceptor, and this acceptor recorded one
of them first, and reported it as a dependency of the other.

Execution relies on this (`epaxos_execution`): the graph is the same on all replicas, and is
executed component by component. A client is answered when its command is executed, so commands may
be reads and compare-and-sets. Reads do not interfere with reads; otherwise they are treated like
other commands. Commands of one client interfere too, whatever their keys: the session table
remembers the last command of each client, so their order is visible.

**Which EPaxos this is.** The published protocol had three errors that were found later, all in the
handling of failures: one ballot variable where two are needed (Sutra 2019); incomplete recovery
rules (Tollman, Park, Ousterhout, "EPaxos revisited", NSDI 2021, discuss the subtle points;
Ryabinin, Gotsman, Sutra 2025 show the error and prove correct rules); and a fast path that is taken
when the answers agree with one another, instead of with what the owner sent. Here the fast path
compares with `init`, and the recovery is that of the last of these papers, with the differences
explained in `epaxos_recovery`. No sequence number is needed to break cycles (`epaxos_execution`).

Engineering points, each of which is easy to get wrong:

  * A fast decision is on the owner's disk before it is announced (`epaxos_recovery`).
  * The owner's PreAccept is its vote, and is sent when it is on the owner's disk. Otherwise, after
    a crash, the owner could begin another command in an instance that other nodes already know.
  * A dependency that is never decided would block everything behind it. So a node that sees an
    instance open for too long recovers it, whether it waits for it or not.
  * An instance may be recovered as a no-op because no node of the quorum had its commands. Its
    owner proposes them again in a new instance as long as their clients wait; sessions make this
    safe.
  * Commands share an instance only while many instances are open, since a batch interferes with
    more commands.
  * Checkpoints, forgetting, and catching up without a log: `epaxos_store`.

Options: `fast_quorum`, a number of nodes. More than the minimum makes the fast path less frequent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import MappingProxyType
from typing import Any, ClassVar

from node_image.protocols import epaxos_messages as m
from node_image.protocols.ballots import ZERO
from node_image.protocols.context import LEADER, Context
from node_image.protocols.epaxos_execution import InstanceExecution
from node_image.protocols.epaxos_instances import (
    COMMITTED,
    PRE_ACCEPTED,
    UNSEEN,
    Instance,
    InstanceTable,
    Vector,
)
from node_image.protocols.epaxos_led_instances import (
    COMMITTING,
    PRE_ACCEPTING,
    LedInstance,
    LedInstances,
)
from node_image.protocols.epaxos_messages import InstanceId
from node_image.protocols.epaxos_recovery import InstanceRecovery
from node_image.protocols.epaxos_store import InstanceStore
from node_image.protocols.epaxos_voting import InstanceVoting
from node_image.protocols.interface import (
    Answer,
    Broadcast,
    ClusterConfig,
    Command,
    Decided,
    Effect,
    NodeId,
    Persist,
    Send,
    Status,
)
from node_image.protocols.proposal_queue import ProposalQueue
from node_image.protocols.quorums import QuorumSystem, Sizes
from node_image.protocols.replica import Replica


class EPaxos(Replica):
    """One node of an EPaxos cluster: owner of its clients' commands, acceptor of all others'."""

    name: ClassVar[str] = "epaxos"
    has_leader: ClassVar[bool] = False
    messages: ClassVar[tuple[type, ...]] = m.MESSAGES
    records: ClassVar[tuple[type, ...]] = m.RECORDS
    vote_records: ClassVar[tuple[type, ...]] = (m.InstanceVote,)

    table_type: ClassVar[type[InstanceTable]] = InstanceTable
    execution_type: ClassVar[type[InstanceExecution]] = InstanceExecution
    store_type: ClassVar[type[InstanceStore]] = InstanceStore
    voting_type: ClassVar[type[InstanceVoting]] = InstanceVoting
    recovery_type: ClassVar[type[InstanceRecovery]] = InstanceRecovery

    on = MappingProxyType(
        {
            m.PreAccept: "_on_pre_accept",
            m.PreAccepted: "_on_pre_accepted",
            m.Accept: "_on_accept",
            m.Accepted: "_on_accepted",
            m.Commit: "_on_commit",
            m.Prepare: "_on_prepare",
            m.Promise: "_on_promise",
            m.Nack: "_on_nack",
            m.Validate: "_on_validate",
            m.Validated: "_on_validated",
            m.Waiting: "_on_waiting",
            m.Forgotten: "_on_forgotten",
            m.Beat: "_on_beat",
            m.Stable: "_on_stable",
            m.CatchUp: "_on_catch_up",
            m.Entries: "_on_entries",
            m.Snapshot: "_on_snapshot",
        }
    )
    timers = MappingProxyType({"beat": "_on_beat_timer"})

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        config, led_instances = context.config, LedInstances()
        table = self.table = self.table_type(config.nodes)
        self.led_instances = led_instances
        self.execution = self.execution_type(context, self.clients, table)
        self.store = self.store_type(context, table, led_instances, self.execution)
        self.voting = self.voting_type(context, table, led_instances, self.execution, self.store)
        spare = len(config.voters) - fast_quorum_size(config)
        self.recovery = self.recovery_type(
            context, table, led_instances, self.execution, self.store, self.voting, spare
        )
        self.fast_quorums = self.fast_quorum_system(config)
        self.queue = ProposalQueue(context, self.clients)
        self._place = table.places[context.node]
        self._first_number = 1  # the first instance that this node owns in this life
        self._open = 0  # own instances that are not decided
        if not context.is_learner:
            context.role = LEADER

    @staticmethod
    def fast_quorum_system(config: ClusterConfig) -> QuorumSystem:
        """Which sets of acceptors decide in one round trip, as Phase 2 quorums."""
        size = fast_quorum_size(config)
        return Sizes(config.voters, len(config.voters) // 2 + 1, size)

    # ------------------------------------------------------------------ starting

    def start(self, disk: Sequence[tuple[Any, ...]], now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        self.store.recover(disk, now_us)
        self._first_number = self._next_number()
        self._ctx.note("recovered", records=len(disk), executed=self.execution.executed)
        self._ctx.set_timer("beat", 0, self._ctx.config.heartbeat_us)
        return out

    def _next_number(self) -> int:
        """The number of the next own instance. Numbers are never reused."""
        return self.table.top[self._place] + 1

    # ------------------------------------------------------------------ clients

    def request(self, command: Command, now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        if self._ctx.is_learner:
            self._ctx.answer(command, Answer("not-leader", None, self._ctx.config.voters[0]))
        elif self.clients.take(command, now_us):
            self.queue.commands.append(command)
            self._begin_queued(now_us)
        return out

    def _begin_queued(self, now_us: int) -> None:
        """Give queued commands instances: at once while few are open, else in full batches."""
        queue = self.queue
        while queue.commands and (commands := queue.next_batch(self._open, now_us)):
            self.clients.mark_proposed(commands)
            self._begin(commands, now_us)

    # ------------------------------------------------------------------ the owner

    def _begin(self, commands: tuple[Command, ...], now_us: int) -> None:
        """Begin an instance: record it, durably, and ask all others to record it."""
        table = self.table
        marks = self.table.marks(commands)
        instance = table.obtain(InstanceId(self._ctx.node, self._next_number()), now_us)
        init = table.interfering(instance, marks, self.store.everywhere)
        table.learn_commands(instance, commands, init, marks)
        instance.phase, instance.deps = PRE_ACCEPTED, init
        led = LedInstance(instance, ZERO, PRE_ACCEPTING, now_us)
        led.commands, led.init, led.deps = commands, init, init
        led.votes = self._ctx.quorums.vote(led.votes, self._ctx.node)
        led.agreed = self.fast_quorums.vote(led.agreed, self._ctx.node)
        self.led_instances[instance.id] = led
        self._open += 1
        self.store.write(instance)
        self._ctx.out.append(Broadcast(m.PreAccept(instance.id, commands, init)))
        if len(self._ctx.config.voters) == 1:
            self._ctx.send(self._ctx.node, m.PreAccepted(instance.id, init))

    def _on_pre_accepted(self, sender: NodeId, message: m.PreAccepted, now_us: int) -> None:
        led = self.led_instances.get(message.id)
        if led is None or led.stage != PRE_ACCEPTING:
            return
        led.votes = self._ctx.quorums.vote(led.votes, sender)
        if self._agrees(message.deps, led.init):
            led.agreed = self.fast_quorums.vote(led.agreed, sender)
        else:
            led.deps = self._union(led.deps, message.deps)
        if self.fast_quorums.phase2(led.agreed):
            self._ctx.count("fast_path")
            self._commit_fast(led, now_us)
        elif led.agreed != led.votes and self._ctx.quorums.phase2(led.votes):
            self._take_slow_path(led, now_us)

    def _commit_fast(self, led: LedInstance, now_us: int) -> None:
        """Decided, but neither announced nor executed before it is on disk: a recovery relies on
        the owner's answer, and after a restart the owner relies on its disk."""
        identity = led.instance.id
        led.stage, led.deps = COMMITTING, led.init
        led.commit = m.Commit(identity, ZERO, False, led.commands, led.deps)
        self._ctx.out.append(Persist(m.Settled(identity, ZERO, led.deps)))
        self._ctx.out.append(Broadcast(led.commit))
        self._ctx.send(self._ctx.node, led.commit)

    def _agrees(self, deps: Vector, init: Vector) -> bool:
        """Whether this acceptor added no dependency."""
        return deps == init

    def _union(self, one: Vector, other: Vector) -> Vector:
        return tuple(map(max, one, other))

    def _take_slow_path(self, led: LedInstance, now_us: int) -> None:
        self._ctx.count("slow_path")
        self.voting.propose(led, False, led.deps, now_us)

    def _resend(self, led: LedInstance, now_us: int) -> None:
        """Repeat what may have been lost. An owner that has a majority does not wait for more."""
        if led.stage != PRE_ACCEPTING:
            self.recovery.resend(led, now_us)
        elif self._ctx.quorums.phase2(led.votes):
            self._take_slow_path(led, now_us)
        else:
            self._ctx.out.append(Broadcast(m.PreAccept(led.instance.id, led.commands, led.init)))

    # ------------------------------------------------------------------ decisions

    def _on_accepted(self, sender: NodeId, message: m.Accepted, now_us: int) -> None:
        commit = self.voting.on_accepted(sender, message)
        if commit is not None:
            self._on_commit(sender, commit, now_us)

    def _on_commit(self, sender: NodeId, message: m.Commit, now_us: int) -> None:
        self._learn_commit(message, now_us)
        self.store.checkpoint_if_due()

    def _learn_commit(self, commit: m.Commit, now_us: int) -> None:
        """An instance is decided: execute it, and what waits for it, as far as possible."""
        instance = self.voting.learn_commit(commit, now_us)
        if instance is None:
            return
        if self.led_instances:
            self.recovery.judge_waiting(instance.id, now_us)
        if instance.id.owner == self._ctx.node and instance.id.number >= self._first_number:
            self._open -= 1
            if instance.noop:
                self._begin_again(instance)
            self._begin_queued(now_us)

    def _begin_again(self, instance: Instance) -> None:
        """An own instance was decided as a no-op: propose its commands again."""
        self._ctx.count("begun_again")
        waiting = self.clients.waiting
        self.queue.commands.extend(c for c in instance.commands if (c.client, c.seq) in waiting)

    def _on_entries(self, sender: NodeId, message: m.Entries, now_us: int) -> None:
        for entry in message.entries:
            self._learn_commit(entry, now_us)
        self.store.take_entries(message)
        if message.more:
            self.store.ask_for_more(sender, now_us)
        self.store.checkpoint_if_due()

    def _on_snapshot(self, sender: NodeId, message: m.Snapshot, now_us: int) -> None:
        """The installed state may include instances that this node was leading, and commands that
        its clients wait for. This node has not seen their results, so these clients have to
        retry."""
        if not self.store.install(sender, message, now_us):
            return
        self.clients.release(None)
        self.voting.abandon_settled()
        self.queue.clear()
        row, first = self.table.rows[self._place], self._first_number
        self._open = sum(i.phase < COMMITTED for n, i in row.items() if n >= first)
        self.store.installed()

    def _on_catch_up(self, sender: NodeId, message: m.CatchUp, now_us: int) -> None:
        self.store.on_catch_up(sender, message, now_us)

    def _on_stable(self, sender: NodeId, message: m.Stable, now_us: int) -> None:
        self.store.on_stable(sender, message, now_us)

    # ------------------------------------------------------------------ the acceptor

    def _on_pre_accept(self, sender: NodeId, message: m.PreAccept, now_us: int) -> None:
        instance = self.voting.open_instance(sender, message.id, now_us)
        if instance is None or self._ctx.is_learner:
            return
        if self.voting.refuses(instance, ZERO):
            self._ctx.send(sender, m.Nack(message.id, instance.promised), False)
            return
        if instance.phase == UNSEEN:
            self._record(instance, message)
        if instance.phase == PRE_ACCEPTED:
            self._ctx.out.append(Send(sender, m.PreAccepted(message.id, instance.deps)))

    def _record(self, instance: Instance, message: m.PreAccept) -> None:
        """Record the command, durably, with all instances that it interferes with here."""
        marks = self.table.marks(message.commands)
        instance.deps = self.table.interfering(instance, marks, message.deps)
        instance.phase = PRE_ACCEPTED
        self.table.learn_commands(instance, message.commands, message.deps, marks)
        self.store.write(instance)
        self.execution.settled(instance)

    def _on_accept(self, sender: NodeId, message: m.Accept, now_us: int) -> None:
        self.voting.on_accept(sender, message, now_us)

    # ------------------------------------------------------------------ recovery

    def _on_prepare(self, sender: NodeId, message: m.Prepare, now_us: int) -> None:
        self.recovery.on_prepare(sender, message, now_us)

    def _on_promise(self, sender: NodeId, message: m.Promise, now_us: int) -> None:
        self.recovery.on_promise(sender, message, now_us)

    def _on_nack(self, sender: NodeId, message: m.Nack, now_us: int) -> None:
        self.recovery.on_nack(sender, message, now_us)

    def _on_validate(self, sender: NodeId, message: m.Validate, now_us: int) -> None:
        self.recovery.on_validate(sender, message, now_us)

    def _on_validated(self, sender: NodeId, message: m.Validated, now_us: int) -> None:
        self.recovery.on_validated(sender, message, now_us)

    def _on_waiting(self, sender: NodeId, message: m.Waiting, now_us: int) -> None:
        self.recovery.on_waiting(sender, message, now_us)

    def _on_forgotten(self, sender: NodeId, message: m.Forgotten, now_us: int) -> None:
        self.recovery.on_forgotten(sender, message, now_us)

    # ------------------------------------------------------------------ periodic

    def _on_beat(self, sender: NodeId, message: m.Beat, now_us: int) -> None:
        self.store.on_beat(sender, message, now_us)

    def _on_beat_timer(self, now_us: int) -> None:
        """Announce how far this node has executed, resend lost messages, recover late instances."""
        config = self._ctx.config
        self._ctx.set_timer("beat", config.heartbeat_us)
        self.store.beat()
        for led in list(self.led_instances.values()):
            if now_us - led.sent_us >= config.retry_us:
                led.sent_us = now_us
                self._resend(led, now_us)
        self.recovery.recover_overdue(now_us)
        if self.store.unsaved:
            self.store.write_decisions()

    # ------------------------------------------------------------------ status

    def status(self) -> Status:
        leader = None if self._ctx.is_learner else self._ctx.node
        ballot = (self.table.done[self._place], self._ctx.node)
        decided = self.execution.executed + sum(map(len, self.execution.waiters.values()))
        return Status(self._ctx.role, leader, ballot, decided, self.execution.executed)

    def decided_log(self, start: int = 0) -> Iterator[Decided]:
        """The instances executed that are still held, in the order of execution, without the
        first `start` of them."""
        return self.store.decided_log(start)


def fast_quorum_size(config: ClusterConfig) -> int:
    """The option `fast_quorum`, or the smallest that works.

    Raises ValueError for a size that is too small to be safe, or larger than the cluster.
    """
    count = len(config.voters)
    tolerated = (count - 1) // 2
    least = count - min(tolerated, (count - tolerated + 1) // 2)
    size = config.options.get("fast_quorum", least)
    if isinstance(size, bool) or not isinstance(size, int) or not least <= size <= count:
        raise ValueError(
            f"fast_quorum must be a whole number from {least} to {count}, not {size!r}: a recovery "
            "that hears a majority could not tell what a smaller fast quorum has decided"
        )
    return size
