"""Quorum systems: which sets of acceptors may elect a leader, or decide a value.

Paxos requires that every Phase 1 quorum shares an acceptor with every Phase 2 quorum. Majorities
satisfy this, but are not necessary: Flexible Paxos (Howard, Malkhi, Spiegelman 2016) uses any sizes
with Q1 + Q2 > N, or a grid, where a Phase 1 quorum is a row and a Phase 2 quorum is a column.

A set of acceptors is an integer with one bit per node. Sets are joined with `|` and cheap to copy,
and there is no iteration order on which a run could depend. Votes are counted only in `vote`; the
vote of a node that is not an acceptor (a learner), or a second vote of the same acceptor, has no
effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from node_image.protocols.interface import ClusterConfig, NodeId

NO_VOTES: Final = 0


class QuorumSystem(Protocol):
    """Counts votes, and determines when they suffice. `q1` and `q2` are the smallest quorums'
    sizes."""

    q1: int
    q2: int

    def vote(self, votes: int, node: NodeId) -> int:
        """`votes` with the vote of `node` added."""
        ...

    def phase1(self, votes: int) -> bool:
        """Whether these acceptors form a Phase 1 quorum: they meet every Phase 2 quorum."""
        ...

    def phase2(self, votes: int) -> bool:
        """Whether these acceptors form a Phase 2 quorum: they meet every Phase 1 quorum."""
        ...

    def phase2_targets(self, preferred: Sequence[NodeId]) -> tuple[NodeId, ...]:
        """A smallest Phase 2 quorum, with preferred acceptors first."""
        ...


class Sizes:
    """Any `q1` acceptors are a Phase 1 quorum, any `q2` a Phase 2 quorum.

    Raises ValueError if two such quorums could be disjoint.
    """

    def __init__(self, voters: Sequence[NodeId], q1: int, q2: int) -> None:
        self._refuse_bad_sizes(len(voters), q1, q2)
        self._bit = {node: 1 << node for node in voters}
        self.q1 = q1
        self.q2 = q2

    @staticmethod
    def _refuse_bad_sizes(count: int, q1: int, q2: int) -> None:
        if not (1 <= q1 <= count and 1 <= q2 <= count):
            raise ValueError(f"quorum sizes must be between 1 and {count}, not {q1} and {q2}")
        if q1 + q2 <= count:
            raise ValueError(
                f"Q1 + Q2 must be more than the {count} acceptors, not {q1} + {q2}: otherwise a "
                "new leader may ask a quorum that shares no node with the one that decided, and "
                "what was decided is lost"
            )

    def vote(self, votes: int, node: NodeId) -> int:
        return votes | self._bit.get(node, NO_VOTES)

    def phase1(self, votes: int) -> bool:
        return votes.bit_count() >= self.q1

    def phase2(self, votes: int) -> bool:
        return votes.bit_count() >= self.q2

    def phase2_targets(self, preferred: Sequence[NodeId]) -> tuple[NodeId, ...]:
        return tuple(node for node in preferred if node in self._bit)[: self.q2]


class Majority(Sizes):
    """More than half of the acceptors, in both phases."""

    def __init__(self, voters: Sequence[NodeId]) -> None:
        majority = len(voters) // 2 + 1
        super().__init__(voters, majority, majority)


class FastMajority(Majority):
    """Majorities for classic rounds, and at least three quarters of the acceptors for fast ones.

    Any two fast quorums and a classic one share an acceptor: 2 * ceil(3N/4) + (N // 2 + 1) > 2N.
    """

    def __init__(self, voters: Sequence[NodeId]) -> None:
        super().__init__(voters)
        self.fast_size = self._fast_size(len(voters))
        self._size = len(voters)

    @staticmethod
    def _fast_size(count: int) -> int:
        """Three quarters, rounded up."""
        return -(-3 * count // 4)

    def count(self, votes: int) -> int:
        return votes.bit_count()

    def fast(self, votes: int) -> bool:
        """Whether these acceptors form a fast quorum."""
        return self.count(votes) >= self.fast_size

    def may_be_fast(self, count: int, heard: int) -> bool:
        """Whether a value with `count` votes from `heard` acceptors may have a fast quorum, if all
        acceptors that were not heard voted for it."""
        return count + self._size - heard >= self.fast_size


class Grid:
    """Acceptors in rows and columns: a row is a Phase 1 quorum, a column a Phase 2 quorum.

    A row and a column always share an acceptor. With r rows of c acceptors Phase 1 needs c of
    r * c acceptors, and Phase 2 only r. Raises ValueError if the acceptors do not fill the rows.
    """

    def __init__(self, voters: Sequence[NodeId], rows: int) -> None:
        if rows < 1 or len(voters) % rows:
            raise ValueError(f"{len(voters)} acceptors do not fill {rows} rows evenly")
        width = len(voters) // rows
        self._bit = {node: 1 << node for node in voters}
        self.q1, self.q2 = width, rows
        self._columns = tuple(tuple(voters[i::width]) for i in range(width))
        self._row_masks = tuple(
            sum(1 << node for node in voters[r * width : (r + 1) * width]) for r in range(rows)
        )
        self._column_masks = tuple(sum(1 << node for node in column) for column in self._columns)

    def vote(self, votes: int, node: NodeId) -> int:
        return votes | self._bit.get(node, NO_VOTES)

    def phase1(self, votes: int) -> bool:
        return any(votes & row == row for row in self._row_masks)

    def phase2(self, votes: int) -> bool:
        return any(votes & column == column for column in self._column_masks)

    def phase2_targets(self, preferred: Sequence[NodeId]) -> tuple[NodeId, ...]:
        rank = {node: i for i, node in enumerate(preferred)}
        last = len(rank)
        return min(self._columns, key=lambda column: max(rank.get(n, last) for n in column))

    def transposed(self) -> Grid:
        """The same acceptors with rows and columns exchanged."""
        return Grid([node for column in self._columns for node in column], self.q1)


def from_options(config: ClusterConfig) -> QuorumSystem:
    """The quorum system that the options `q1` and `q2`, or `grid_rows`, ask for; else majorities.

    With one size only, the other is the smallest that still intersects. Raises ValueError for sizes
    that do not intersect.
    """
    voters, options = config.voters, config.options
    if "grid_rows" in options:
        return Grid(voters, _whole("grid_rows", options["grid_rows"]))
    if "q1" not in options and "q2" not in options:
        return Majority(voters)
    q1 = _whole("q1", options.get("q1", len(voters) + 1 - _whole("q2", options.get("q2", 1))))
    q2 = _whole("q2", options.get("q2", len(voters) + 1 - q1))
    return Sizes(voters, q1, q2)


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number, not {value!r}")
    return value
