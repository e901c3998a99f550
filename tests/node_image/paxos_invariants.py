"""The invariants behind the proofs of Paxos and Fast Paxos, checked over every vote on every disk.

once        an acceptor votes for one value in a round
one value   in a classic round of a slot all votes are for one value
stable      once a quorum has voted in round k for v, every vote in a later round is for v

Agreement follows from these; they fail earlier, and are more specific. A round is the ballot of a
`Vote`; `quorum` says how many acceptors decide in it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node_image.protocols.ballots import Ballot
from node_image.protocols.interface import Checkpoint, Persist
from node_image.protocols.slot_log import Vote
from tests.node_image.interleaving import Interleaving

Value = tuple[Any, ...]


class VoteBook:
    """Every vote that reached a disk: by slot and round, the value of each acceptor."""

    def __init__(self, quorum: Callable[[Ballot], int], is_fast: Callable[[Ballot], bool]) -> None:
        self._quorum = quorum
        self._is_fast = is_fast
        self.votes: dict[int, dict[Ballot, dict[int, Value]]] = {}

    def record(self, node: int, vote: Vote) -> None:
        round_ = self.votes.setdefault(vote.slot, {}).setdefault(vote.ballot, {})
        first = round_.setdefault(node, vote.commands)
        where = f"slot {vote.slot}, round {tuple(vote.ballot)}"
        assert first == vote.commands, f"node {node} voted twice in {where}"
        if not self._is_fast(vote.ballot):
            assert all(v == vote.commands for v in round_.values()), f"two values in {where}"
        self._check_stable(vote.slot)

    def _check_stable(self, slot: int) -> None:
        chosen: tuple[Ballot, Value] | None = None
        for round_, votes in sorted(self.votes[slot].items()):
            for value in votes.values():
                assert chosen is None or value == chosen[1], (
                    f"slot {slot}: {chosen[1]} was chosen in {tuple(chosen[0])}, and then "
                    f"{value} got a vote in {tuple(round_)}"
                )
            for value in votes.values():
                if sum(v == value for v in votes.values()) >= self._quorum(round_):
                    chosen = (round_, value)


class BookedInterleaving(Interleaving):
    """An interleaving that records all votes."""

    book: VoteBook

    def _act(self, node: int, effect: Any, *, synced: bool) -> None:
        super()._act(node, effect, synced=synced)
        records: tuple[Any, ...] = ()
        if isinstance(effect, Persist):
            records = (effect.record,)
        elif isinstance(effect, Checkpoint):
            records = effect.records
        for record in records:
            if isinstance(record, Vote):
                self.book.record(node, record)
