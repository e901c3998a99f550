"""Planted bugs of two-phase commit: each removes one safeguard, in one method.

Compare each with the method that it overrides (`protocols.two_phase_commit`, and
`protocols.two_phase_participant`): that method's docstring says what it is for, and this one's what
happens without it.
"""

from __future__ import annotations

from typing import Any

from node_image.mutants.variation import Protocol, Variation, part_of, vary_part
from node_image.protocols import two_phase_messages as m
from node_image.protocols.interface import Broadcast, Command
from node_image.protocols.quorums import Majority
from node_image.protocols.two_phase_commit import Open, TwoPhaseCommit, Unconfirmed
from node_image.protocols.two_phase_messages import Txn


class B7(TwoPhaseCommit):
    """Every life has number 1: names of transactions are used again, for other commands."""

    def _next_life(self) -> int:
        return 1


class T1(TwoPhaseCommit):
    """Sends Commit before the decision is on disk."""

    def _decide(self, txn: Txn, commands: tuple[Command, ...]) -> None:
        self._ctx.out.append(Broadcast(m.Commit((txn,)), False))
        super()._decide(txn, commands)


def t2(protocol: Protocol) -> Protocol:
    """Votes yes, and keeps the vote in memory only."""
    return vary_part(protocol, "participant", log_vote=lambda self, txn, commands: None)


class T3(TwoPhaseCommit):
    """Forgets a commit once a majority has confirmed it; a node that asks later is answered
    "aborted"."""

    def _may_forget(self, owed: Unconfirmed) -> bool:
        return Majority(self._ctx.config.voters).phase2(owed.confirmed)


def t4(protocol: Protocol) -> Protocol:
    """A participant in doubt stops waiting, and aborts on its own."""
    original = part_of(protocol, "participant").on_inquire_timer

    def on_inquire_timer(self: Any, now_us: int) -> None:
        original(self, now_us)
        for txn in [txn for txn, doubt in self.in_doubt.items() if doubt.told]:
            self.abort_here(txn, now_us)

    return vary_part(protocol, "participant", on_inquire_timer=on_inquire_timer)


class T5(TwoPhaseCommit):
    """Reads do not wait for locks: they may miss a write that is committed already."""

    def _must_wait(self, key: str) -> bool:
        return False


class T6(TwoPhaseCommit):
    """Commits when a majority has voted yes."""

    def _may_commit(self, transaction: Open) -> bool:
        return Majority(self._ctx.config.voters).phase2(transaction.votes)


def t7(protocol: Protocol) -> Protocol:
    """Votes on every Prepare, also on a duplicate after the transaction has ended."""
    return vary_part(protocol, "participant", is_over=lambda self, txn: False)


def t8(protocol: Protocol) -> Protocol:
    """Votes yes though another transaction holds the key."""
    return vary_part(protocol, "locks", holders=lambda self, commands: ())


class T9(TwoPhaseCommit):
    """Answers the client that a transaction is aborted, and continues to collect votes for it."""

    def _abort(self, txn: Txn, now_us: int) -> None:
        self._deny(self._open[txn].commands)


def t10(protocol: Protocol) -> Protocol:
    """A checkpoint keeps the state, and drops transactions in doubt or being decided."""
    return vary_part(protocol, "participant", open_records=lambda self: iter(()))


def t11(protocol: Protocol) -> Protocol:
    """Locks keys only: commands of one client, on different keys, may be applied in different
    orders, and the state machine takes the late one for a duplicate of an old command."""
    return vary_part(protocol, "locks", resources=lambda self, commands: (c.key for c in commands))


TWO_PHASE_COMMIT: dict[str, Variation | type[TwoPhaseCommit]] = {
    **{cls.__name__: cls for cls in (B7, T1, T3, T5, T6, T9)},
    "T2": t2,
    "T4": t4,
    "T7": t7,
    "T8": t8,
    "T10": t10,
    "T11": t11,
}
