"""Planted bugs of two-phase commit: each removes one safeguard, in one method.

Read each beside the method that it overrides (`protocols.two_phase_commit`, and
`protocols.two_phase_participant`): that method's comment says what it is for, and this class what
happens without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from node_image.protocols import two_phase_messages as m
from node_image.protocols.interface import Broadcast, Command
from node_image.protocols.quorums import Majority
from node_image.protocols.replica import Replica
from node_image.protocols.two_phase_commit import Open, Owed, TwoPhaseCommit
from node_image.protocols.two_phase_messages import Txn
from node_image.protocols.two_phase_participant import Resource


class B7(TwoPhaseCommit):
    """Every life is the first: names of transactions are used again, for other commands."""

    def _next_life(self) -> int:
        return 1


class T1(TwoPhaseCommit):
    """Says that it commits before that is written down."""

    def _decide(self, txn: Txn, commands: tuple[Command, ...]) -> None:
        self._ctx.out.append(Broadcast(m.Commit((txn,)), False))
        super()._decide(txn, commands)


class T2(TwoPhaseCommit):
    """Votes yes, and keeps that in memory only."""

    def _log_vote(self, txn: Txn, commands: tuple[Command, ...]) -> None:
        pass


class T3(TwoPhaseCommit):
    """Forgets a commit once most have confirmed it; who asks later is told that it was aborted."""

    def _may_forget(self, owed: Owed) -> bool:
        return Majority(self._ctx.config.voters).phase2(owed.confirmed)


class T4(TwoPhaseCommit):
    """A participant in doubt loses patience, and aborts by itself."""

    def _on_inquire_timer(self, now_us: int) -> None:
        super()._on_inquire_timer(now_us)
        for txn in [txn for txn, doubt in self._in_doubt.items() if doubt.told]:
            self._abort_here(txn, now_us)


class T5(TwoPhaseCommit):
    """Reads do not wait for locks: they may miss a write that is committed already."""

    def _must_wait(self, key: str) -> bool:
        return False


class T6(TwoPhaseCommit):
    """Commits when most have voted yes."""

    def _may_commit(self, transaction: Open) -> bool:
        return Majority(self._ctx.config.voters).phase2(transaction.votes)


class T7(TwoPhaseCommit):
    """Votes on every Prepare, also on one that comes again when the transaction is over."""

    def _is_over(self, txn: Txn) -> bool:
        return False


class T8(TwoPhaseCommit):
    """Votes yes though another transaction holds the key."""

    def _holders(self, commands: tuple[Command, ...]) -> tuple[Txn, ...]:
        return ()


class T9(TwoPhaseCommit):
    """Tells the client that a transaction is aborted, and goes on collecting votes for it."""

    def _abort(self, txn: Txn, now_us: int) -> None:
        self._deny(self._open[txn].commands)


class T10(TwoPhaseCommit):
    """A checkpoint keeps the state, and drops what is in doubt or being decided."""

    def _open_records(self) -> Iterator[tuple[Any, ...]]:
        return iter(())


class T11(TwoPhaseCommit):
    """Locks keys only: commands of one client, on different keys, may be applied in different
    orders, and the state machine takes the one that comes late for a copy of something old."""

    def _resources(self, commands: Iterable[Command]) -> Iterator[Resource]:
        return (command.key for command in commands)


TWO_PHASE_COMMIT: dict[str, type[Replica]] = {
    cls.__name__: cls for cls in (B7, T1, T2, T3, T4, T5, T6, T7, T8, T9, T10, T11)
}
