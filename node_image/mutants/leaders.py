"""Planted bugs of any protocol with a leader: what keeps it in office, and what its reads rest on.

Each removes one safeguard of `protocols.heartbeats` (M12: of `protocols.replica`), and
stands in front of Multi-Paxos as well as of Raft.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from node_image.protocols.heartbeats import Heartbeats
from node_image.protocols.interface import (
    ClusterConfig,
    Command,
    NodeId,
    Randomness,
    Reply,
    StateMachine,
)
from node_image.protocols.replica import Replica, refusal


class M5(Heartbeats):
    """The leader answers reads from its own state; somebody else may lead by now."""

    def _read(self, command: Command, now_us: int) -> bool:
        self._answer(command, self.machine.apply(command))
        return True


class M6(Heartbeats):
    """Leases run on the wall clock, which jumps. (It turns lease reads on.)"""

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, replace(config, reads="lease"), machine, random, wall_us)

    def _lease_clock(self, now_us: int) -> int:
        return self._wall_us()


class M11(Heartbeats):
    """A new leader answers reads at once; its state may lack its predecessor's decisions.
    (It turns quorum reads on.)"""

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        super().__init__(node, replace(config, reads="quorum"), machine, random, wall_us)

    def _has_recovered(self) -> bool:
        return True


class M12(Replica):
    """A deposed leader denies commands that it had proposed, and that may still be decided."""

    def _release_waiting(self, leader: NodeId | None) -> None:
        for client, seq in self._waiting:
            self._out.append(Reply(client, seq, refusal(leader), False))
        self._waiting.clear()


class M13(Heartbeats):
    """Acceptors grant leases and do not keep them. (It turns lease reads on, and makes leases
    longer than the silence after which others stand.)"""

    def __init__(
        self,
        node: NodeId,
        config: ClusterConfig,
        machine: StateMachine,
        random: Randomness,
        wall_us: Callable[[], int],
    ) -> None:
        lease_us = max(config.lease_us, 2 * config.election_max_us)
        config = replace(config, reads="lease", lease_us=lease_us)
        super().__init__(node, config, machine, random, wall_us)

    def _lease_forbids(self, candidate: NodeId, now_us: int) -> bool:
        return False


class L1(Heartbeats):
    """A leader that hears nobody goes on sending heartbeats, and nobody else stands."""

    def _has_lost_quorum(self, now_us: int) -> bool:
        return False


LEADERS: dict[str, type[Replica]] = {cls.__name__: cls for cls in (M5, M6, M11, M12, M13, L1)}
