"""A participant in two-phase commit: votes, locks, and doubt.

A participant that votes yes promises to commit if it is told to, whatever happens to it in between;
so the commands and the promise are on its disk before the vote leaves, and the keys are locked.
From then until it hears the outcome it is **in doubt**. It may not commit: somebody else may have
voted no. It may not abort: the coordinator may have decided, and told others. It can only ask, and
wait. Everything that needs the locks waits with it: that is how this protocol blocks, and how long
it did is counted here (`in_doubt_us`, and `blocked_us` for reads that waited).

What is locked is the key, and the client's session: the state machine remembers the last command
of each client, so a client's commands have to be applied in one order everywhere, whatever their
keys. A participant votes no when something is locked. It never waits for a lock, so there is no
deadlock.

**Reads** are answered by any node, from its own copy, if the key is not locked; else when the lock
is released. That is linearizable. A write is acknowledged only after every node has voted yes on
it; so at that moment every node either has it applied or has the key locked, and a read that begins
later sees it, here or there; and a read that saw it, on a node that has already heard of the
outcome, is not followed by one that does not. A value that is not yet committed is never seen.

A participant never has to catch up: nothing commits without it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from node_image.protocols import two_phase_messages as m
from node_image.protocols.clients import refusal
from node_image.protocols.context import FOLLOWER, LEADER, Context
from node_image.protocols.interface import (
    Checkpoint,
    Command,
    Decided,
    Effect,
    NodeId,
    Persist,
    Status,
)
from node_image.protocols.replica import Replica
from node_image.protocols.two_phase_messages import Txn

Resource: TypeAlias = str | int
"""What can be locked: a key, or a client's session, by its number."""

NEVER: Final = Txn(0, 0)
"""Below every transaction."""


@dataclass(slots=True)
class Doubt:
    """A transaction that this participant has voted yes on. `told`: the log has a line about it."""

    commands: tuple[Command, ...]
    since_us: int
    told: bool = False


class Participant(Replica):
    """Adds votes, locks, local reads, and the durable form of it all."""

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        config = context.config
        if config.learners:
            raise ValueError(
                "two-phase commit has no learners: whoever holds a copy votes; leave them out"
            )
        self.coordinator: NodeId = config.voters[0]
        self._life = 0
        self._settled = NEVER
        self._finished: dict[Txn, None] = {}  # from `_settled` on; as in all dicts: in order
        self._in_doubt: dict[Txn, Doubt] = {}
        self._locks: dict[Resource, Txn] = {}
        self._blocked: dict[Resource, list[tuple[int, Command]]] = {}
        self._done: list[Txn] = []
        self._done_timer_set = self._inquire_timer_set = False
        self._commits = self._commits_in_snapshot = 0
        self._recent: deque[Decided] = deque(maxlen=config.snapshot_every)
        for counter in ("in_doubt", "in_doubt_us", "in_doubt_us_max", "blocked", "blocked_us"):
            self.counters[counter] = 0

    # ------------------------------------------------------------------ recovery

    def _recover(self, disk: Sequence[tuple[Any, ...]], now_us: int) -> None:
        """Repeat what the surviving records say, in their order."""
        for record in disk:
            if isinstance(record, m.Committed):
                self._in_doubt.pop(record.txn, None)
                self._apply(record.txn, record.commands)
                self._settle(record.settled, now_us)
            elif isinstance(record, m.Prepared):
                self._in_doubt[record.txn] = Doubt(record.commands, now_us)
            elif isinstance(record, m.Life):
                self._life = record.number
            elif isinstance(record, m.Snapshot):
                self._restore(record)
            else:
                raise TypeError(f"{self.name} has no record {type(record).__name__}")
        for txn, doubt in self._in_doubt.items():
            self._lock(txn, doubt.commands)

    def _restore(self, record: m.Snapshot) -> None:
        self._ctx.machine.restore(record.state)
        self._commits = self._commits_in_snapshot = record.commits
        self._life = record.life
        self._settled = record.settled
        self._finished = dict.fromkeys(record.finished)

    # ------------------------------------------------------------------ clients

    def request(self, command: Command, now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        if command.f == "read":
            self._read(command, now_us)
        else:
            self._write(command, now_us)
        return out

    def _write(self, command: Command, now_us: int) -> None:
        self._ctx.answer(command, refusal(self.coordinator))

    def _read(self, command: Command, now_us: int) -> None:
        if self._must_wait(command.key):
            if self.clients.take(command, now_us):
                self._ctx.count("blocked")
                self._blocked.setdefault(command.key, []).append((now_us, command))
        else:
            self._ctx.answer(command, self._ctx.machine.apply(command))

    def _must_wait(self, key: str) -> bool:
        """Whether a write of this key may have been committed that is not yet known here."""
        return key in self._locks

    # ------------------------------------------------------------------ locks

    def _resources(self, commands: Iterable[Command]) -> Iterator[Resource]:
        """What these commands read or write, and must not be taken out of order on."""
        for command in commands:
            yield command.key
            if command.client:
                yield command.client

    def _lock(self, txn: Txn, commands: tuple[Command, ...]) -> None:
        for resource in self._resources(commands):
            self._locks[resource] = txn

    def _unlock(self, txn: Txn, commands: tuple[Command, ...], now_us: int) -> None:
        """Release what the transaction holds, and answer the reads that waited for it."""
        for resource in self._resources(commands):
            if self._locks.get(resource) == txn:
                del self._locks[resource]
                for since_us, read in self._blocked.pop(resource, ()):
                    self.counters["blocked_us"] += now_us - since_us
                    if self.clients.waiting.pop((read.client, read.seq), None) is not None:
                        self._ctx.answer(read, self._ctx.machine.apply(read))

    def _holders(self, commands: tuple[Command, ...]) -> tuple[Txn, ...]:
        """The transactions that hold a lock which these commands need."""
        locks = self._locks
        return tuple({locks[r]: None for r in self._resources(commands) if r in locks})

    # ------------------------------------------------------------------ phase 1

    def _on_prepare(self, sender: NodeId, message: m.Prepare, now_us: int) -> None:
        txn, commands, settled = message
        self._settle(settled, now_us)
        if self._is_over(txn):
            return
        if txn not in self._in_doubt:
            if holders := self._holders(commands):
                self._ctx.count("votes_no")
                self._vote(txn, yes=False)
                self._ctx.send(sender, m.Inquire(holders), False)
                return
            self._in_doubt[txn] = Doubt(commands, now_us)
            self._lock(txn, commands)
            self._log_vote(txn, commands)
            self._inquire_later()
        self._vote(txn, yes=True)

    def _is_over(self, txn: Txn) -> bool:
        """A Prepare that comes late, or twice, must not be voted on again."""
        return txn < self._settled or txn in self._finished

    def _log_vote(self, txn: Txn, commands: tuple[Command, ...]) -> None:
        """A yes holds across a crash."""
        self._ctx.out.append(Persist(m.Prepared(txn, commands)))

    def _vote(self, txn: Txn, *, yes: bool) -> None:
        self._ctx.send(self.coordinator, m.Vote(txn, yes, tuple(self._done)))
        self._done.clear()

    def _settle(self, settled: Txn, now_us: int) -> None:
        """Forget what is over everywhere. What is still in doubt here, and over, was aborted: to
        be settled as committed it would have needed this node's word."""
        if settled <= self._settled:
            return
        self._settled = settled
        for txn in [t for t in self._finished if t < settled]:
            del self._finished[txn]
        for txn in [t for t in self._in_doubt if t < settled]:
            self._abort_here(txn, now_us)

    # ------------------------------------------------------------------ phase 2

    def _on_commit(self, sender: NodeId, message: m.Commit, now_us: int) -> None:
        for txn in message.txns:
            doubt = self._in_doubt.pop(txn, None)
            if doubt is not None:
                self._ended(txn, doubt, "commit", now_us)
                self._ctx.out.append(Persist(m.Committed(txn, doubt.commands, self._settled)))
                self._apply(txn, doubt.commands)
                self._unlock(txn, doubt.commands, now_us)
            self._done.append(txn)
        self._checkpoint_if_due()
        if not self._done_timer_set:  # unless a vote takes it along before
            self._done_timer_set = True
            self._ctx.set_timer("done", self._ctx.config.retry_us // 4)

    def _apply(self, txn: Txn, commands: tuple[Command, ...]) -> None:
        self._finished[txn] = None
        self._commits += 1
        slot, ballot = slot_of(txn), (txn.life,)
        self._recent.append(Decided(slot, ballot, commands))
        self.clients.execute(slot, ballot, commands)

    def _on_done_timer(self, now_us: int) -> None:
        self._done_timer_set = False
        if self._done:
            self._ctx.send(self.coordinator, m.Done(tuple(self._done)))
            self._done.clear()

    def _on_abort(self, sender: NodeId, message: m.Abort, now_us: int) -> None:
        for txn in message.txns:
            if txn in self._in_doubt:
                self._abort_here(txn, now_us)

    def _abort_here(self, txn: Txn, now_us: int) -> None:
        """Presumed abort: it need not be on disk. After a crash this node is in doubt again, asks
        again, and hears the same: whatever the coordinator has no record of is aborted."""
        doubt = self._in_doubt.pop(txn)
        self._ended(txn, doubt, "abort", now_us)
        self._finished[txn] = None
        self._ctx.out.append(Decided(slot_of(txn), (txn.life,), ()))
        self._unlock(txn, doubt.commands, now_us)

    # ------------------------------------------------------------------ doubt

    def _inquire_later(self) -> None:
        if not self._inquire_timer_set:
            self._inquire_timer_set = True
            self._ctx.set_timer("inquire", self._ctx.config.retry_us)

    def _on_inquire_timer(self, now_us: int) -> None:
        """Ask the coordinator how those ended that have been open for long."""
        self._inquire_timer_set = False
        if not self._in_doubt:
            return
        self._inquire_later()
        retry_us = self._ctx.config.retry_us
        old = {t: d for t, d in self._in_doubt.items() if now_us - d.since_us >= retry_us}
        if old:
            self._ctx.count("inquiries")
            self._ctx.send(self.coordinator, m.Inquire(tuple(old)), False)
        for txn, doubt in old.items():
            if not doubt.told:
                doubt.told = True
                keys = [command.key for command in doubt.commands]
                self._ctx.note("in-doubt", txn=list(txn), keys=keys)

    def _ended(self, txn: Txn, doubt: Doubt, outcome: str, now_us: int) -> None:
        counters, lasted_us = self.counters, now_us - doubt.since_us
        counters["in_doubt"] += 1
        counters["in_doubt_us"] += lasted_us
        counters["in_doubt_us_max"] = max(counters["in_doubt_us_max"], lasted_us)
        if doubt.told:
            self._ctx.note("in-doubt-ended", txn=list(txn), outcome=outcome, us=lasted_us)

    # ------------------------------------------------------------------ checkpoints

    def _checkpoint_if_due(self) -> None:
        if self._commits - self._commits_in_snapshot < self._ctx.config.snapshot_every:
            return
        self._commits_in_snapshot = self._commits
        snapshot = m.Snapshot(
            self._ctx.machine.snapshot(),
            self._commits,
            self._life,
            self._settled,
            tuple(self._finished),
        )
        self._ctx.out.append(Checkpoint((snapshot, *self._open_records())))
        self._ctx.count("snapshots")
        self._ctx.note("snapshot", commits=self._commits)

    def _open_records(self) -> Iterator[tuple[Any, ...]]:
        """What is not in a snapshot, and must not be forgotten."""
        for txn, doubt in self._in_doubt.items():
            yield m.Prepared(txn, doubt.commands)

    # ------------------------------------------------------------------ telling

    def status(self) -> Status:
        """What this node is; "leader" is the coordinator."""
        role = LEADER if self._ctx.node == self.coordinator else FOLLOWER
        life = max(self._life, self._settled.life)
        return Status(role, self.coordinator, (life,), self._commits, self._commits)

    def decided_log(self, start: int = 0) -> Iterator[Decided]:
        """The last transactions that committed, up to `snapshot_every` of them. They have no order
        but that of each key, so `start` is not used."""
        return iter(tuple(self._recent))


def slot_of(txn: Txn) -> str:
    """The transaction's name for the agreement detector, as "life.number"."""
    return f"{txn.life}.{txn.number}"
