"""One replica, driven event by event: for the tests of single safeguards.

`Driven` feeds events to one protocol object and keeps the effects of the last one. Messages that
the replica sends to itself are delivered at once, as if its disk were immediate, unless
`disk_stuck` is set.
"""

from __future__ import annotations

from random import Random
from typing import Any

from node_image.protocols import multi_paxos_messages as m
from node_image.protocols.ballots import Ballot
from node_image.protocols.context import Context
from node_image.protocols.interface import Broadcast, ClusterConfig, Command, Decided, Reply, Send
from node_image.protocols.slot_log import Vote
from node_image.state_machine import KeyValue


def put(seq: int, value: Any = None, *, client: int = 7, key: str = "x") -> Command:
    return Command(client, seq, "write", key, seq if value is None else value)


class Driven:
    """Node `node` of a cluster of `nodes`."""

    def __init__(
        self, protocol: type[Any], node: int = 1, nodes: int = 3, disk: Any = (), **config: Any
    ) -> None:
        self.now = 1_000_000
        self.wall = 5_000_000
        self.disk_stuck = False
        self.node = node
        self.config = ClusterConfig(nodes=tuple(range(1, nodes + 1)), **config)
        self.machine = KeyValue()
        context = Context(node, self.config, self.machine, Random(1), lambda: self.wall)
        self.protocol = protocol(context)
        self.effects: list[Any] = []
        self._keep(self.protocol.start(list(disk), self.now))

    # ------------------------------------------------------------------ events

    def receive(self, sender: int, message: Any) -> list[Any]:
        return self._keep(self.protocol.receive(sender, message, self.now))

    def request(self, command: Command) -> list[Any]:
        return self._keep(self.protocol.request(command, self.now))

    def wake(self, timer: str, later_us: int = 0) -> list[Any]:
        self.now += later_us
        self.wall += later_us
        return self._keep(self.protocol.wake(timer, self.now))

    def lose(self, peer: int) -> list[Any]:
        return self._keep(self.protocol.peer_lost(peer, self.now))

    def reconnect(self, peer: int) -> list[Any]:
        return self._keep(self.protocol.peer_connected(peer, self.now))

    def _keep(self, effects: list[Any]) -> list[Any]:
        self.effects = list(effects)
        if not self.disk_stuck:
            for effect in effects:
                if isinstance(effect, Send) and effect.to == self.node:
                    mine = self.protocol.receive(self.node, effect.message, self.now)
                    self.effects += mine
        return self.effects

    # ------------------------------------------------------------------ the last event's effects

    def sent(self, kind: type[Any], to: int | None = None) -> list[Any]:
        """The messages of a kind that were sent, to one node or to all others."""
        return [
            e.message
            for e in self.effects
            if isinstance(e.message if isinstance(e, Send | Broadcast) else None, kind)
            and (to is None or not isinstance(e, Send) or e.to == to)
            and not (isinstance(e, Send) and e.to == self.node)
        ]

    def decided(self) -> list[Decided]:
        return [e for e in self.effects if isinstance(e, Decided)]

    def replies(self) -> list[Reply]:
        return [e for e in self.effects if isinstance(e, Reply)]

    @property
    def status(self) -> Any:
        return self.protocol.status()

    # ------------------------------------------------------------------ ways to a role

    def become_candidate(self) -> Ballot:
        """Become a candidate in Phase 1 (all others grant the probe); its ballot."""
        self.wake("election", 2 * self.config.election_max_us)
        asked = list(self.effects)
        for probe in self.sent(m.Probe):
            for other in self.config.voters:
                if other != self.node and not self.sent(m.Prepare):
                    self.receive(other, m.ProbeGranted(probe.ballot))
                    asked += self.effects
        self.effects = asked
        return self.sent(m.Prepare)[-1].ballot

    def promise(self, sender: int, ballot: Ballot, *votes: Vote, upto: int = 0) -> list[Any]:
        return self.receive(sender, m.Promise(ballot, upto, votes))

    def lead(self, *votes: Vote) -> Ballot:
        """Become leader; the first other acceptor reports these votes."""
        ballot = self.become_candidate()
        for other in self.config.voters:
            if other != self.node and self.status.role != "leader":
                self.promise(other, ballot, *votes)
                votes = ()
        assert self.status.role == "leader"
        return ballot
