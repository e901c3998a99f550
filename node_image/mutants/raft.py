"""Planted bugs of Raft: each removes one safeguard, in one method, of `protocols.raft*`.

Compare each with the method that it replaces: that method's docstring says what it is for, and this
one's what happens without it. Those of `leadership` apply as well.
"""

from __future__ import annotations

from typing import Any

from node_image.mutants.leadership import LEADERSHIP, m11
from node_image.mutants.multi_paxos import learners_counted
from node_image.mutants.variation import Protocol, Variation, part_of, vary_part
from node_image.protocols import raft_messages as m
from node_image.protocols.interface import NodeId
from node_image.protocols.raft import Raft
from node_image.protocols.raft_log import Entry


class B3(Raft):
    """Counts every acknowledgement, also of another term."""

    def _answers_my_term(self, term: int) -> bool:
        return True


def b7(protocol: Protocol) -> Protocol:
    """Asks for votes again, after a restart, in the term in which it had voted for itself: it may
    have led in that term before, and creates different entries for the same indices."""
    original = part_of(protocol, "election").new_term

    def new_term(self: Any) -> int:
        again = self._storage.voted_for == self._ctx.node and not hasattr(self, "has_stood")
        self.has_stood = True
        return int(self.term if again else original(self))

    return vary_part(protocol, "election", new_term=new_term)


def b8(protocol: Protocol) -> Protocol:
    """Votes for every candidate of a term: one term, two leaders."""
    return vary_part(protocol, "election", may_vote_for=lambda self, candidate: True)


def b10(protocol: Protocol) -> Protocol:
    """Follows, and votes for, every candidate, also in an earlier term."""
    return vary_part(protocol, "election", refuses=lambda self, term: False)


class R1(Raft):
    """Commits entries of older terms by counting copies (and so seems to need no entry of its own
    at the start of a term)."""

    def _may_commit(self, index: int) -> bool:
        return True

    def _open_term(self) -> None:
        self.leadership.reads.recovered_slot = self.log.last
        opening = m.Appended(self.storage.term, True, self.log.last, 0)
        self._ctx.send(self._ctx.node, opening)


def r2(protocol: Protocol) -> Protocol:
    """Term and vote are kept in memory only."""

    def set_term(self: Any, term: int, voted_for: NodeId | None) -> None:
        self.term = term
        self.voted_for = voted_for

    return vary_part(protocol, "storage", set_term=set_term)


def r3(protocol: Protocol) -> Protocol:
    """Counts every vote, also of another term."""
    return vary_part(protocol, "election", is_vote_of_this_term=lambda self, vote: True)


def r5(protocol: Protocol) -> Protocol:
    """Takes every commit index of the leader, also one below what was applied."""
    original = part_of(protocol, "storage").commit_to

    def commit_to(self: Any, commit: int) -> None:
        self._log.applied = max(min(self._log.applied, commit), self._log.base)
        original(self, commit)

    return vary_part(protocol, "storage", commit_to=commit_to)


def r7(protocol: Protocol) -> Protocol:
    """Serves a ReadIndex before the term's first commit. (It turns quorum reads on.)"""
    return m11(protocol)


def r8(protocol: Protocol) -> Protocol:
    """Votes without checking the candidate's log."""
    return vary_part(protocol, "election", is_up_to_date=lambda self, message: True)


class R9(Raft):
    """Checks that there is an entry before the leader's, and not that it is the same one."""

    def _matches(self, index: int, term: int) -> bool:
        return index <= self.log.last


class R10(Raft):
    """Replaces its entries by those of every Append, so that a late one truncates entries that were
    acknowledged."""

    def _new_entries(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        return tuple(entry for entry in entries if entry.slot > self.log.applied)


class R11(Raft):
    """Installs any snapshot, also one that is behind its own state and log."""

    def _is_ahead(self, snapshot: m.InstallSnapshot) -> bool:
        return True


class R12(Raft):
    """No entry of its own at the start of a term: inherited entries stay open until a client
    writes, and so do reads that wait for them. (It turns quorum reads on.)"""

    def _open_term(self) -> None:
        self.leadership.reads.recovered_slot = self.log.last + 1


def l2(protocol: Protocol) -> Protocol:
    """No pre-vote: a node that receives nothing deposes a healthy leader."""
    return vary_part(
        protocol, "election", campaign_if_granted=lambda self, now_us: self.campaign(now_us)
    )


RAFT: dict[str, Variation | type[Raft]] = {
    **{name: variation for name, variation in LEADERSHIP.items() if name != "M11"},
    **{cls.__name__: cls for cls in (B3, R1, R9, R10, R11, R12)},
    "B7": b7,
    "B8": b8,
    "B10": b10,
    "M10": learners_counted,
    "R2": r2,
    "R3": r3,
    "R5": r5,
    "R7": r7,
    "R8": r8,
    "L2": l2,
}
"""(M10 counts learners' copies; elections still ask voters only.)"""
