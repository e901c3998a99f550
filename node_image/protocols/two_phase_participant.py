"""A participant in two-phase commit: votes, locks, and transactions in doubt.

A participant that votes yes promises to commit if the coordinator decides so, even after a crash.
So the commands and the promise are on its disk before the vote is sent, and the keys are locked.
From then until it learns the outcome it is **in doubt**. It may not commit, since another
participant may have voted no; it may not abort, since the coordinator may have decided to commit,
and informed others. It can only ask, and wait, and everything that needs the locks waits too. This
is how the protocol blocks; the durations are counted (`in_doubt_us`, and `blocked_us` for reads
that waited).

A participant votes no if a resource that it needs is already locked (`two_phase_locks`).

**Reads** are answered by any node from its own copy, at once if the key is not locked, else when
the lock is released. This is linearizable. A write is acknowledged only after every node has voted
yes on it. At that time every node either has applied it or has the key locked, so a later read on
any node sees it. Likewise, if a read on a node that already knows the outcome has seen the write,
all later reads see it. Uncommitted values are never visible.

A participant never has to catch up: nothing commits without it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from node_image.protocols import two_phase_messages as m
from node_image.protocols.clients import Clients
from node_image.protocols.context import Context
from node_image.protocols.interface import Checkpoint, Command, Decided, NodeId, Persist
from node_image.protocols.state_digests import emit_set_digest
from node_image.protocols.two_phase_locks import Locks
from node_image.protocols.two_phase_messages import Txn

NEVER: Final = Txn(0, 0)
"""Below every transaction."""
DIGEST_EVERY_COMMITS: Final = 32
"""The digest of the state is emitted after this many commits, if this participant is not in doubt.
Every participant has voted for every committed transaction, so it has either applied it or is in
doubt. Of two participants that are not in doubt, one has applied everything that the other has, and
the number of commits identifies the state. The coordinator is never in doubt."""


@dataclass(slots=True)
class Doubt:
    """A transaction that this participant has voted yes on. `told`: it has been logged."""

    commands: tuple[Command, ...]
    since_us: int
    told: bool = False


class Participant:
    """Votes, doubt, and the durable form of it all.

    `deciding` are decisions of the coordinator that are being written: a checkpoint includes them.
    `life` is the coordinator's life, and `settled` the transaction below which all participants
    know every outcome. `finished` are the transactions that have ended since then.
    """

    def __init__(
        self,
        context: Context,
        clients: Clients,
        locks: Locks,
        deciding: dict[Txn, tuple[Command, ...]],
    ) -> None:
        config = context.config
        self._ctx = context
        self._clients = clients
        self._locks = locks
        self._deciding = deciding
        self.coordinator: NodeId = config.voters[0]
        self.life = 0
        self.settled = NEVER
        self.finished: dict[Txn, None] = {}  # from `settled` on, in order
        self.in_doubt: dict[Txn, Doubt] = {}
        self._done: list[Txn] = []
        self._done_timer_set = self._inquire_timer_set = False
        self.commits = self._commits_in_snapshot = 0
        self._recent: deque[Decided] = deque(maxlen=config.snapshot_every)
        for counter in ("in_doubt", "in_doubt_us", "in_doubt_us_max", "blocked", "blocked_us"):
            context.counters[counter] = 0

    # ------------------------------------------------------------------ recovery

    def recover(self, disk: Sequence[tuple[Any, ...]], now_us: int) -> None:
        """Replay the surviving records, in their order."""
        for record in disk:
            if isinstance(record, m.Committed):
                self.in_doubt.pop(record.txn, None)
                self.apply(record.txn, record.commands)
                self._settle(record.settled, now_us)
            elif isinstance(record, m.Prepared):
                self.in_doubt[record.txn] = Doubt(record.commands, now_us)
            elif isinstance(record, m.Life):
                self.life = record.number
            elif isinstance(record, m.Snapshot):
                self._restore(record)
            else:
                raise TypeError(f"two-phase commit has no record {type(record).__name__}")
        for txn, doubt in self.in_doubt.items():
            self._locks.lock(txn, doubt.commands)
        self._emit_state()

    def _restore(self, record: m.Snapshot) -> None:
        self._ctx.machine.restore(record.state)
        self.commits = self._commits_in_snapshot = record.commits
        self.life = record.life
        self.settled = record.settled
        self.finished = dict.fromkeys(record.finished)

    # ------------------------------------------------------------------ phase 1

    def on_prepare(self, sender: NodeId, message: m.Prepare, now_us: int) -> None:
        txn, commands, settled = message
        self._settle(settled, now_us)
        if self.is_over(txn):
            return
        if txn not in self.in_doubt:
            if holders := self._locks.holders(commands):
                self._ctx.count("votes_no")
                self._vote(txn, yes=False)
                self._ctx.send(sender, m.Inquire(holders), False)
                return
            self.in_doubt[txn] = Doubt(commands, now_us)
            self._locks.lock(txn, commands)
            self.log_vote(txn, commands)
            self.inquire_later()
        self._vote(txn, yes=True)

    def is_over(self, txn: Txn) -> bool:
        """Whether it has ended: a late or duplicate Prepare must not be voted on again."""
        return txn < self.settled or txn in self.finished

    def log_vote(self, txn: Txn, commands: tuple[Command, ...]) -> None:
        """Log a yes vote: it must survive a crash."""
        self._ctx.out.append(Persist(m.Prepared(txn, commands)))

    def _vote(self, txn: Txn, *, yes: bool) -> None:
        self._ctx.send(self.coordinator, m.Vote(txn, yes, tuple(self._done)))
        self._done.clear()

    def _settle(self, settled: Txn, now_us: int) -> None:
        """Forget transactions that are over everywhere. One that is over, and still in doubt here,
        was aborted: a commit would have needed this node's confirmation."""
        if settled <= self.settled:
            return
        self.settled = settled
        for txn in [t for t in self.finished if t < settled]:
            del self.finished[txn]
        for txn in [t for t in self.in_doubt if t < settled]:
            self.abort_here(txn, now_us)

    # ------------------------------------------------------------------ phase 2

    def on_commit(self, sender: NodeId, message: m.Commit, now_us: int) -> None:
        before = self.commits
        for txn in message.txns:
            doubt = self.in_doubt.pop(txn, None)
            if doubt is not None:
                self._ended(txn, doubt, "commit", now_us)
                self._ctx.out.append(Persist(m.Committed(txn, doubt.commands, self.settled)))
                self.apply(txn, doubt.commands)
                self._locks.unlock(txn, doubt.commands, now_us)
            self._done.append(txn)
        self.emit_state_if_due(before)
        self.checkpoint_if_due()
        if not self._done_timer_set:  # unless a vote carries it earlier
            self._done_timer_set = True
            self._ctx.set_timer("done", self._ctx.config.retry_us // 4)

    def apply(self, txn: Txn, commands: tuple[Command, ...]) -> None:
        assert txn not in self.in_doubt, "the outcome ends the doubt"
        self.finished[txn] = None
        self.commits += 1
        slot, ballot = slot_of(txn), (txn.life,)
        self._recent.append(Decided(slot, ballot, commands))
        self._clients.execute(slot, ballot, commands)

    def emit_state_if_due(self, before: int) -> None:
        """There were `before` commits; emit a digest if one is due since then."""
        if self.commits // DIGEST_EVERY_COMMITS > before // DIGEST_EVERY_COMMITS:
            self._emit_state()

    def _emit_state(self) -> None:
        if not self.in_doubt:
            emit_set_digest(self._ctx, self.commits)

    def on_done_timer(self, now_us: int) -> None:
        self._done_timer_set = False
        if self._done:
            self._ctx.send(self.coordinator, m.Done(tuple(self._done)))
            self._done.clear()

    def on_abort(self, sender: NodeId, message: m.Abort, now_us: int) -> None:
        for txn in message.txns:
            if txn in self.in_doubt:
                self.abort_here(txn, now_us)

    def abort_here(self, txn: Txn, now_us: int) -> None:
        """Presumed abort: this need not be on disk. After a crash this node is in doubt again, asks
        again, and gets the same answer, since the coordinator has no record."""
        doubt = self.in_doubt.pop(txn)
        self._ended(txn, doubt, "abort", now_us)
        self.finished[txn] = None
        self._ctx.out.append(Decided(slot_of(txn), (txn.life,), ()))
        self._locks.unlock(txn, doubt.commands, now_us)

    # ------------------------------------------------------------------ in doubt

    def inquire_later(self) -> None:
        if not self._inquire_timer_set:
            self._inquire_timer_set = True
            self._ctx.set_timer("inquire", self._ctx.config.retry_us)

    def on_inquire_timer(self, now_us: int) -> None:
        """Ask the coordinator for the outcome of transactions in doubt."""
        self._inquire_timer_set = False
        if not self.in_doubt:
            return
        self.inquire_later()
        retry_us = self._ctx.config.retry_us
        old = {t: d for t, d in self.in_doubt.items() if now_us - d.since_us >= retry_us}
        if old:
            self._ctx.count("inquiries")
            self._ctx.send(self.coordinator, m.Inquire(tuple(old)), False)
        for txn, doubt in old.items():
            if not doubt.told:
                doubt.told = True
                keys = [command.key for command in doubt.commands]
                self._ctx.note("in-doubt", txn=list(txn), keys=keys)

    def _ended(self, txn: Txn, doubt: Doubt, outcome: str, now_us: int) -> None:
        counters, lasted_us = self._ctx.counters, now_us - doubt.since_us
        counters["in_doubt"] += 1
        counters["in_doubt_us"] += lasted_us
        counters["in_doubt_us_max"] = max(counters["in_doubt_us_max"], lasted_us)
        if doubt.told:
            self._ctx.note("in-doubt-ended", txn=list(txn), outcome=outcome, us=lasted_us)

    # ------------------------------------------------------------------ checkpoints

    def checkpoint_if_due(self) -> None:
        if self.commits - self._commits_in_snapshot < self._ctx.config.snapshot_every:
            return
        self._commits_in_snapshot = self.commits
        snapshot = m.Snapshot(
            self._ctx.machine.snapshot(),
            self.commits,
            self.life,
            self.settled,
            tuple(self.finished),
        )
        self._ctx.out.append(Checkpoint((snapshot, *self.open_records())))
        self._ctx.count("snapshots")
        self._ctx.note("snapshot", commits=self.commits)

    def open_records(self) -> Iterator[tuple[Any, ...]]:
        """Records that a checkpoint must keep besides the snapshot. These include decisions that
        are being written: the checkpoint replaces their records."""
        for txn, commands in self._deciding.items():
            yield m.Committed(txn, commands, self.settled)
        for txn, doubt in self.in_doubt.items():
            yield m.Prepared(txn, doubt.commands)

    # ------------------------------------------------------------------ status

    def decided_log(self) -> Iterator[Decided]:
        """The last committed transactions, up to `snapshot_every` of them. They are ordered only by
        key, so `start` is not used."""
        return iter(tuple(self._recent))


def slot_of(txn: Txn) -> str:
    """The transaction's id for the agreement detector, as "life.number"."""
    return f"{txn.life}.{txn.number}"
