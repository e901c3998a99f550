"""Planted bugs of Raft: each removes one safeguard, in one method, of `protocols.raft*`.

Read each beside the method that it overrides: that method's comment says what it is for, and this
class what happens without it. Those of `leaders` apply as well.
"""

from __future__ import annotations

from node_image.mutants import leaders
from node_image.mutants.multi_paxos import EveryNodeVotes
from node_image.protocols import raft_messages as m
from node_image.protocols.interface import NodeId
from node_image.protocols.quorums import QuorumSystem
from node_image.protocols.raft import Raft
from node_image.protocols.raft_log import Entry
from node_image.protocols.replica import Replica


class B3(Raft):
    """Counts every acknowledgement, whatever term it belongs to."""

    def _answers_my_term(self, term: int) -> bool:
        return True


class B7(Raft):
    """Stands again, after a restart, in the term in which it had voted for itself: it may have led
    in that term before, and makes entries a second time."""

    _has_stood = False

    def _new_term(self) -> int:
        again = self.voted_for == self.node and not self._has_stood
        self._has_stood = True
        return self.term if again else super()._new_term()


class B8(Raft):
    """Votes for whoever asks in a term, however many: one term, two leaders."""

    def _may_vote_for(self, candidate: NodeId) -> bool:
        return True


class B10(Raft):
    """Follows, and votes for, whoever asks, also in a term that is over."""

    def _refuses(self, term: int) -> bool:
        return False


class M3(Raft):
    """The leader commits, and answers, as soon as it holds an entry itself."""

    def _is_held_by_quorum(self, votes: int) -> bool:
        return bool(self.quorums.vote(0, self.node) & votes)


class M10(Raft):
    """Learners' copies are counted; elections still ask voters only."""

    def _quorum_system(self) -> QuorumSystem:
        system = super()._quorum_system()
        return EveryNodeVotes(self.config.nodes, system.q1, system.q2)


class R1(Raft):
    """Commits entries of older terms by counting copies (and so seems to need no entry of its own
    at the start of a term)."""

    def _may_commit(self, slot: int) -> bool:
        return True

    def _open_term(self) -> None:
        self._term_opening = self._log.last
        self._send(self.node, m.Appended(self.term, True, self._log.last, 0))


class R2(Raft):
    """Term and vote are kept in memory only."""

    def _set_term(self, term: int, voted_for: NodeId | None) -> None:
        self.term = term
        self.voted_for = voted_for


class R3(Raft):
    """Counts every vote, whatever term it was given in."""

    def _is_vote_of_this_term(self, vote: m.VoteGranted) -> bool:
        return True


class R5(Raft):
    """Takes the leader's commit index as it comes, also when it is behind what was applied."""

    def _commit_to(self, commit: int) -> None:
        self._log.applied = max(min(self._log.applied, commit), self._log.base)
        super()._commit_to(commit)


class R7(leaders.M11):
    """Serves a ReadIndex before the term's first commit. (It turns quorum reads on.)"""


class R8(Raft):
    """Votes without a look at the candidate's log."""

    def _is_up_to_date(self, message: m.PreVote | m.RequestVote) -> bool:
        return True


class R9(Raft):
    """Checks that there is an entry before the leader's, and not that it is the same one."""

    def _matches(self, slot: int, term: int) -> bool:
        return slot <= self._log.last


class R10(Raft):
    """Takes whatever an Append brings in place of what it has, so that one which comes late cuts
    off entries that were acknowledged."""

    def _news(self, entries: tuple[Entry, ...]) -> tuple[Entry, ...]:
        return tuple(entry for entry in entries if entry.slot > self._log.applied)


class R11(Raft):
    """Installs any snapshot, also one that is behind its own state and log."""

    def _is_ahead(self, snapshot: m.InstallSnapshot) -> bool:
        return True


class R12(Raft):
    """No entry of its own at the start of a term: what a leader inherits stays open until a client
    writes, and so do reads that wait for it. (It turns quorum reads on.)"""

    def _open_term(self) -> None:
        self._term_opening = self._log.last + 1


class L2(Raft):
    """No pre-vote: a node that hears nothing deposes a healthy leader."""

    def _stand_if_granted(self, now_us: int) -> None:
        self._stand(now_us)


RAFT: dict[str, type[Replica]] = {
    **{name: cls for name, cls in leaders.LEADERS.items() if name != "M11"},
    **{
        cls.__name__: cls
        for cls in (B3, B7, B8, B10, M3, M10, R1, R2, R3, R5, R7, R8, R9, R10, R11, R12, L2)
    },
}
