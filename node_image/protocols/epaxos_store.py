"""An EPaxos replica's durable state, its checkpoints, and catching up with other replicas.

For every instance that is not in the checkpoint, the disk holds the last `InstanceVote`: the
acceptor's promise and record, written before any message that states them is sent. An owner's fast
decision is also on disk before it is announced, since no vote shows that the fast path was taken.
Other decisions are not needed on disk for safety, since a quorum's votes are there. They are
written with the next record that has to be, so that a restarted replica need not ask for each of
them.

There is no log to truncate, but something similar: for every owner a replica has executed all
instances up to some number. Every `snapshot_every` executions a checkpoint replaces the content of
the disk by the state machine's state, the decisions held, and the open votes, and older executed
instances are forgotten. The keys with which they interfered are kept, so that later instances still
depend on them: a replica that was down has not executed them. These are dropped once every replica
has announced that its disk holds their effects (`Stable`). But replicas drop them at different
times, and a recovery relies on what acceptors report as interfering, so an acceptor that dropped an
instance must not appear never to have received it. Therefore an acceptor adds everything that it
may have dropped to the dependencies that it reports. An owner includes in `init` everything that it
knows to be on every disk, which is usually as much, so fast paths are not lost. **A forgotten
instance is never treated as an unknown one**: a request to recover it is answered with `Forgotten`.

A `Beat` announces how far a replica has executed. A replica that still lacks what another one had
executed a while ago asks for it, and gets commits, or, if these are forgotten, a snapshot.
Snapshots are not prefixes of one another: what the receiver has executed and the sender has not is
executed again on top of the sender's state, with the same result, because both follow the same
graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from node_image.protocols.context import Context
from node_image.protocols.epaxos_digests import InstanceDigests
from node_image.protocols.epaxos_execution import InstanceExecution, decided_commands
from node_image.protocols.epaxos_instances import (
    COMMITTED,
    EXECUTED,
    Instance,
    InstanceTable,
    Interference,
    Vector,
)
from node_image.protocols.epaxos_led_instances import LedInstances
from node_image.protocols.epaxos_messages import (
    Beat,
    CatchUp,
    Commit,
    Entries,
    InstanceId,
    InstanceVote,
    Settled,
    Snapshot,
    Stable,
)
from node_image.protocols.interface import (
    Broadcast,
    Checkpoint,
    Command,
    Decided,
    NodeId,
    Persist,
)

PIECE_ENTRIES: Final = 256
"""The maximum number of decisions in one message."""


class InstanceStore:
    """The durable form, checkpoints and catching up.

    `unsaved`: decisions that are not written yet. `everywhere`: up to here the effects are on every
    replica's disk.
    """

    def __init__(
        self,
        context: Context,
        table: InstanceTable,
        led_instances: LedInstances,
        execution: InstanceExecution,
    ) -> None:
        self._ctx = context
        self._table = table
        self._led_instances = led_instances
        self._execution = execution
        self._digests = InstanceDigests(context, table, execution)
        self.unsaved: list[Instance] = []
        self._checkpointed = 0
        self._heard: dict[NodeId, Vector] = {}
        self._stable = dict.fromkeys(context.config.nodes, table.zero)
        self.everywhere = table.zero
        self._asked_us = -context.config.retry_us
        self._reached = list(table.done)
        """How far the answers to the last CatchUp have come."""

    # ------------------------------------------------------------------ writing

    def write(self, instance: Instance) -> None:
        """Write this open instance's promise and vote, and decisions that are not written yet."""
        self._ctx.out.append(Persist(instance.as_vote()))
        instance.saved = bool(instance.commands)
        if self.unsaved:
            self.write_decisions()

    def write_decisions(self) -> None:
        for instance in self.unsaved:
            if instance.saved and not instance.noop:
                record: Settled | Commit = Settled(instance.id, instance.voted, instance.deps)
            else:
                record = instance.as_commit()
            self._ctx.out.append(Persist(record))
        self.unsaved.clear()

    # ------------------------------------------------------------------ recovery

    def recover(self, disk: Sequence[tuple[Any, ...]], now_us: int) -> None:
        """Replay the surviving records, in their order."""
        for record in disk:
            if isinstance(record, InstanceVote):
                self._recover_vote(record, now_us)
            elif isinstance(record, Settled):
                self._recover_settled(record, now_us)
            elif isinstance(record, Commit):
                self._recover_commit(record, now_us)
            elif isinstance(record, Snapshot):
                self._restore(record, now_us)
            else:
                raise TypeError(f"EPaxos has no record {type(record).__name__}")
        self._execution.execute_from(list(self._table.beyond(self._table.done)))

    def _recover_vote(self, vote: InstanceVote, now_us: int) -> None:
        if self._table.is_forgotten(vote.id):
            return
        instance = self._table.obtain(vote.id, now_us)
        if instance.phase >= COMMITTED:
            return
        _, instance.phase, instance.promised, instance.voted, instance.noop, *_ = vote
        instance.deps = vote.deps
        instance.saved = bool(vote.commands)
        self.learn_commands(instance, vote.commands, vote.init)

    def _recover_settled(self, record: Settled, now_us: int) -> None:
        table = self._table
        if table.is_forgotten(record.id):
            return
        instance = table.obtain(record.id, now_us)
        if instance.phase < COMMITTED and instance.commands:
            instance.phase, instance.noop = COMMITTED, False
            instance.voted, instance.deps = record.ballot, record.deps

    def _recover_commit(self, record: Commit, now_us: int) -> None:
        if not self._table.is_forgotten(record.id):
            instance = self._table.obtain(record.id, now_us)
            if instance.phase < COMMITTED:
                self.fill(instance, record)

    def fill(self, instance: Instance, commit: Commit) -> None:
        """Store an instance's decision."""
        _, instance.voted, instance.noop, commands, instance.deps = commit
        instance.phase = COMMITTED
        if not instance.noop:
            self.learn_commands(instance, commands, ())
        else:
            self._table.close(instance)

    def learn_commands(
        self, instance: Instance, commands: tuple[Command, ...], init: Vector
    ) -> None:
        """Store an instance's commands, if they were unknown."""
        if commands and instance.marks is None:
            self._table.learn_commands(instance, commands, init, self._table.marks(commands))
        elif init and not instance.init:
            instance.init = init

    # ------------------------------------------------------------------ checkpoints

    def checkpoint_if_due(self) -> None:
        if self._execution.executed - self._checkpointed >= self._ctx.config.snapshot_every:
            self._checkpointed = self._execution.executed
            self._forget_old()
            self.drop_what_all_have()
            self.checkpoint()

    def _forget_old(self) -> None:
        """Forget executed instances, except the last half of a checkpoint interval."""
        table, history = self._table, self._execution.history
        while len(history) > self._ctx.config.snapshot_every // 2:
            history.popleft()
        base = list(table.done)
        for instance in history:
            base[instance.place] = min(base[instance.place], instance.id.number - 1)
        table.forget(base)

    def checkpoint(self) -> None:
        """Replace the content of the disk by the state, the decisions held, and the open votes."""
        self.unsaved.clear()
        self._digests.emit_if_changed()
        records: list[tuple[Any, ...]] = [self._snapshot()]
        for instance in self._table.beyond(self._table.base):
            if instance.phase == COMMITTED:
                records.append(instance.as_commit())
            elif instance.phase < COMMITTED:
                records.append(instance.as_vote())
        # own decisions, announced once they are on disk
        own = self._led_instances.values()
        records.extend(led.commit for led in own if led.commit is not None)
        self._ctx.out.append(Checkpoint(tuple(records)))
        base = tuple(self._table.base)
        self._is_stable(self._ctx.node, base)
        self._ctx.out.append(Broadcast(Stable(base)))
        self._ctx.count("snapshots")
        self._ctx.note("snapshot", base=list(self._table.base), executed=self._execution.executed)

    def on_stable(self, sender: NodeId, message: Stable, now_us: int) -> None:
        self._is_stable(sender, message.base)

    def _is_stable(self, node: NodeId, base: Vector) -> None:
        self._stable[node] = tuple(map(max, self._stable[node], base))
        self.everywhere = tuple(map(min, zip(*self._stable.values(), strict=True)))

    def drop_what_all_have(self) -> None:
        """Instances whose effects are on every disk are never executed again: drop them."""
        self._table.drop(self.everywhere)

    def _snapshot(self) -> Snapshot:
        table = self._table
        entries = tuple(i.as_commit() for i in table.beyond(table.base) if i.phase == EXECUTED)
        writes, reads = table.gone.to_json()
        state, base = self._ctx.machine.snapshot(), tuple(table.base)
        return Snapshot(state, base, writes, reads, table.dropped, entries)

    def _restore(self, snapshot: Snapshot, now_us: int) -> None:
        """Install the snapshot, and keep what is held beyond it."""
        table = self._table
        kept = [i for i in table.beyond(snapshot.base) if i.phase != EXECUTED]
        again = [i for i in table.beyond(snapshot.base) if i.phase == EXECUTED]
        gone = Interference.from_json(table.width, snapshot.writes, snapshot.reads)
        table.restart(snapshot.base, gone, snapshot.dropped)
        self._execution.waiters.clear()
        self._execution.history.clear()
        self._ctx.machine.restore(snapshot.state)
        for instance in (*kept, *again):
            instance.blocked = None
            table.put_back(instance)
        self._put_executed(snapshot.entries, now_us)
        self._digests.emit()

    def _put_executed(self, entries: Iterable[Commit], now_us: int) -> None:
        table = self._table
        for entry in entries:
            instance = table.obtain(entry.id, now_us)
            if instance.phase < COMMITTED:
                self.fill(instance, entry)
            instance.announced = True
            table.mark_executed(instance)
            self._execution.history.append(instance)

    # ------------------------------------------------------------------ catching up: asking

    def on_beat(self, sender: NodeId, message: Beat, now_us: int) -> None:
        """Ask for what `sender` had executed one beat ago, and this node still has not."""
        earlier = self._heard.get(sender)
        self._heard[sender] = message.done
        if earlier is not None and _exceeds(earlier, self._table.done):
            self.ask_catch_up(sender, now_us)

    def ask_catch_up(self, of: NodeId, now_us: int) -> None:
        """Ask for missing instances, unless a recent request may still be answered."""
        if now_us - self._asked_us >= self._ctx.config.retry_us:
            self._asked_us = now_us
            self._reached = list(self._table.done)
            self._ctx.send(of, CatchUp(tuple(self._reached)), False)

    def take_entries(self, message: Entries) -> None:
        """Note how far the answers to the last CatchUp have come."""
        reached = self._reached
        for entry in message.entries:
            place = self._table.places[entry.id.owner]
            reached[place] = max(reached[place], entry.id.number)
        self._ctx.count("caught_up")

    def ask_for_more(self, sender: NodeId, now_us: int) -> None:
        self._asked_us = now_us
        self._ctx.send(sender, CatchUp(tuple(self._reached)), False)

    def install(self, sender: NodeId, message: Snapshot, now_us: int) -> bool:
        """Install another node's state, if this node needs it, and nothing is lost: what this node
        has executed is in it, or is still held here. Returns whether it was installed; then
        `installed` must be called."""
        if not _exceeds(message.base, self._table.done) or not self._keeps_all(message):
            return False
        self._restore(message, now_us)
        self._ctx.note("snapshot-installed", base=list(message.base), sender=sender)
        return True

    def installed(self) -> None:
        """Continue from the installed state, and write it to disk."""
        self._checkpointed = self._execution.executed
        self._execution.execute_from(list(self._table.beyond(self._table.done)))
        self.checkpoint()

    def _keeps_all(self, snapshot: Snapshot) -> bool:
        """Whether the snapshot includes everything that is forgotten here."""
        held = {entry.id for entry in snapshot.entries}
        table = self._table
        return all(
            InstanceId(node, number) in held
            for node, first, last in zip(table.nodes, snapshot.base, table.base, strict=True)
            for number in range(first + 1, last + 1)
        )

    # ------------------------------------------------------------------ catching up: answering

    def on_catch_up(self, sender: NodeId, message: CatchUp, now_us: int) -> None:
        table = self._table
        if _exceeds(table.base, message.done):
            self._digests.emit()
            self._ctx.send(sender, self._snapshot(), False)
            return
        found: list[Commit] = []
        for instance in table.beyond(message.done):
            if instance.phase >= COMMITTED:
                if len(found) == PIECE_ENTRIES:
                    self._ctx.send(sender, Entries(True, tuple(found)), False)
                    return
                found.append(instance.as_commit())
        self._ctx.send(sender, Entries(False, tuple(found)), False)

    def beat(self) -> None:
        self._digests.beat()
        self._ctx.out.append(Broadcast(Beat(tuple(self._table.done)), False))

    # ------------------------------------------------------------------ status

    def decided_log(self, start: int) -> Iterator[Decided]:
        """The instances executed that are still held, in the order of execution, without the
        first `start` of them."""
        for instance in list(self._execution.history)[start:]:
            owner, number = instance.id
            yield Decided(f"{owner}.{number}", instance.voted, decided_commands(instance))


def _exceeds(one: Sequence[int], other: Sequence[int]) -> bool:
    """Whether `one` is greater than `other` for some owner."""
    return any(map(int.__gt__, one, other))
