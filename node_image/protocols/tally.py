"""The leader's count of votes for open slots."""

from __future__ import annotations

from node_image.protocols.context import Context
from node_image.protocols.interface import NodeId
from node_image.protocols.quorums import NO_VOTES


class Tally:
    """`votes`: for every slot that this leader has proposed and that is not decided, the acceptors
    that voted for it."""

    __slots__ = ("_ctx", "votes")

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self.votes: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.votes)

    def open(self, slot: int) -> None:
        """Count votes for this slot, beginning with none."""
        assert slot not in self.votes, "a leader proposes one value for a slot"
        self.votes[slot] = NO_VOTES

    def count(self, voter: NodeId, first: int, upto: int) -> None:
        """The acceptor has voted for these slots; slots that are not open are ignored."""
        votes, vote = self.votes, self._ctx.quorums.vote
        for slot in range(first, upto + 1):
            if slot in votes:
                votes[slot] = vote(votes[slot], voter)

    def close_if_chosen(self, slot: int) -> bool:
        """Close the slot if it is open and a quorum has voted for it; returns whether."""
        votes = self.votes.get(slot)
        if votes is None or not self.is_chosen(votes):
            return False
        del self.votes[slot]
        return True

    def is_chosen(self, votes: int) -> bool:
        return self._ctx.quorums.phase2(votes)

    def clear(self) -> None:
        self.votes.clear()
