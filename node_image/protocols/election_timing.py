"""Following and leading, as Multi-Paxos and Raft do it alike: the way into office, and out of it.

**Patience.** A node that hears no leader stands for election after a random time, drawn from
`election_min_us` to `election_max_us` so that seldom two stand at once (Ongaro and Ousterhout, "In
Search of an Understandable Consensus Algorithm", 2014, section 5.2). It matters for liveness alone.
Three rules keep a node that hears too late from standing first for ever, with nobody elected, or
nobody who stays:

  * Patience is drawn for every election, by the candidate as well as by those that make way for it:
    else whoever drew the shortest once would always be first.
  * Who asks again in the same ballot, or term, gets no more of the others' time.
  * Who has lost office for want of a quorum has more patience the next time, up to four times: it
    was the first to notice, and would be the first to stand, again and again, while those that a
    quorum could follow still hear its late heartbeats.

Sweeps found all of them to be needed, in Raft and in Multi-Paxos, where a few nodes outside of the
healed quorum heard every vote, or every acknowledgement, late.

**Office.** Who leads takes its clients' commands into a queue; who steps down tells every client
that waits what can be said truthfully, and waits to be led.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from node_image.protocols.heartbeats import NO_QUORUM, Heartbeats
from node_image.protocols.interface import (
    ClusterConfig,
    Command,
    Effect,
    Json,
    NodeId,
    Randomness,
    StateMachine,
)
from node_image.protocols.replica import FOLLOWER, LEADER, refusal

FRUITLESS_MAX: Final = 3
"""So many times more patience, at most, has who lost office for want of a quorum."""


class ElectionTiming(Heartbeats):
    """Adds waiting for a leader, standing in its place, and the clients of the one that leads."""

    if TYPE_CHECKING:  # from the class beside this one that keeps the log
        _log: Any

        def _recover(self, disk: Sequence[tuple[Any, ...]]) -> None: ...

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, config, machine, random, wall_us)
        self.leader: NodeId | None = None
        self._heard_us = 0  # from a leader, or a promise was given to a new candidate
        self._patience_us = config.election_max_us
        self._give_up_us = 0
        self._fruitless = 0  # times in office, one after the other, lost for want of a quorum
        self._queue: deque[Command] = deque()
        self._tallies: dict[int, int] = {}  # leader: open slot -> who voted for it

    def _open_slots(self, now_us: int) -> None:
        """Give queued commands slots, as many as may be open at a time."""
        raise NotImplementedError

    def _office(self) -> dict[str, Json]:
        """The ballot, or term, that this node leads in, for its notes."""
        raise NotImplementedError

    # ------------------------------------------------------------------ starting

    def start(self, disk: Sequence[tuple[Any, ...]], now_us: int) -> list[Effect]:
        out = self._out = []
        self._recover(disk)
        self._heard_us = now_us
        self._grant_lease(None, now_us)  # whoever held one before the crash holds it still
        log = self._log
        self._note("recovered", records=len(disk), applied=log.applied, last=log.last)
        if not self._is_learner:
            first_time = not disk
            low = self.config.heartbeat_us if first_time else self.config.election_min_us
            high = self.config.election_min_us if first_time else self.config.election_max_us
            self._wait_for_leader(low, high)
        return out

    # ------------------------------------------------------------------ clients

    def request(self, command: Command, now_us: int) -> list[Effect]:
        out = self._out = []
        if self.role != LEADER:
            self._answer(command, refusal(self.leader))
        elif command.f == "read" and self._read(command, now_us):
            pass
        elif self._takes(command, now_us):
            self._queue.append(command)
            self._open_slots(now_us)
        return out

    # ------------------------------------------------------------------ patience

    def _draw_patience(self, low_us: int, high_us: int) -> int:
        times = 1 + min(self._fruitless, FRUITLESS_MAX)
        self._patience_us = times * self._random.randrange(low_us, high_us + 1)
        return self._patience_us

    def _wait_for_leader(self, low_us: int, high_us: int) -> None:
        """Stand after a random time without hearing from a leader."""
        self._set_timer("election", self._draw_patience(low_us, high_us))

    def _make_way(self, now_us: int) -> None:
        """A promise, or a vote, is given in a new ballot: its candidate has its time now."""
        self._heard_us = now_us
        if self.role == FOLLOWER:
            self._wait_for_leader(self.config.election_min_us, self.config.election_max_us)

    def _begin_candidacy(self, now_us: int) -> None:
        """Stand, until votes have had their time to come."""
        config = self.config
        patience_us = self._draw_patience(config.election_min_us, config.election_max_us)
        self._give_up_us = now_us + patience_us

    def _would_welcome_leader(self, now_us: int) -> bool:
        silence_us = now_us - self._heard_us
        return self.role != LEADER and silence_us >= self.config.election_min_us

    # ------------------------------------------------------------------ out of office

    def _step_down(self, why: str, now_us: int, leader: NodeId | None = None) -> None:
        """Stop standing or leading, and wait to be led; `leader` is the new one, if known."""
        was = self.role
        self.role = FOLLOWER
        self.leader = leader
        self._reads = []
        self._release_waiting(leader)
        if was == LEADER:
            self._fruitless = self._fruitless + 1 if why == NO_QUORUM else 0
            self._count("step_downs")
            self._note("step-down", **self._office(), why=why)
        self._wait_for_leader(self.config.election_min_us, self.config.election_max_us)
        self._queue.clear()
        self._tallies.clear()
