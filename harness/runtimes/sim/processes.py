"""The processes of the nodes: how they start, crash, pause and resume.

What has not left a node when its process ends never leaves it; messages to it are not affected.
During a pause messages, timers and effects that wait for the disk are kept in `stash` until the
process is resumed, while its clocks run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

from harness.errors import HarnessError
from harness.runtimes.sim.clients import ClientConnections
from harness.runtimes.sim.crashes import NodeCrash, crash_of
from harness.runtimes.sim.event_queue import ANSWER, EFFECTS, REQUEST, TIMER, Entry, EventQueue
from harness.runtimes.sim.node import SimNode
from harness.runtimes.sim.peer_connections import PeerConnections
from harness.runtimes.sim.run_record import RunRecord
from harness.runtimes.sim.virtual_time import VirtualTime
from harness.targets.interface import DISCONNECTED
from node_image.log_recovery import LogLost, LogRecovery
from node_image.protocols.context import Context
from node_image.protocols.interface import ClusterConfig, ConsensusProtocol
from node_image.state_machine import KeyValue

ProtocolFactory: TypeAlias = Callable[[Context], ConsensusProtocol]


class ProcessEvent(NamedTuple):
    """Something that happened to a node's process: "start", "crash", "pause" or "resume"; for
    `about` see `harness.runtimes.sim.record_files`."""

    at_us: int
    node: int
    what: str
    about: Mapping[str, Any] = MappingProxyType({})


class Processes:
    """`stash[n]`: while node n is paused, the entries of the queue that came due, in their order.

    `events` are those of the processes, `crashes` the exceptions raised by protocols.
    """

    def __init__(
        self,
        nodes: Mapping[int, SimNode],
        queue: EventQueue,
        clients: ClientConnections,
        time: VirtualTime,
        seed: int,
        cluster: ClusterConfig,
        protocol: ProtocolFactory,
        connections: PeerConnections,
    ) -> None:
        self._queue = queue
        self._clients = clients
        self._time = time
        self._seed = seed
        self._cluster = cluster
        self._protocol = protocol
        self._connections = connections
        self._log_recovery: LogRecovery = getattr(protocol, "log_recovery", LogRecovery())
        self.stash: dict[int, list[Entry]] = {n: [] for n in nodes}
        self.events: list[ProcessEvent] = []
        self.crashes: list[NodeCrash] = []
        self.record: RunRecord | None = None

    def start(self, node: SimNode) -> list[Any]:
        """A new process of the node reads what the disk holds; returns its effects. One that
        finds its log lost ends at once, and the node stays down; one that never votes has promised
        nothing, and starts with an empty log."""
        now_us = self._time.now_us
        node.boots += 1
        node.lives.append(len(node.decided))
        try:
            node.recovered = node.disk.recover(self._log_recovery)
        except LogLost as lost:
            votes = node.id in self._cluster.voters
            what = "refused" if votes else "log-discarded"
            self.events.append(ProcessEvent(now_us, node.id, what, {"why": str(lost)}))
            if votes:
                return []
            node.disk.erase()
            node.recovered = []
        node.up = node.running = True
        node.paused = False
        recovered = {"recovered": len(node.recovered)}
        self.events.append(ProcessEvent(now_us, node.id, "start", recovered))
        random = Random(f"{self._seed}:node:{node.id}:{node.boots}")
        node.machine = KeyValue(self._cluster.sessions_max)
        clock, time = node.clock, self._time
        node.protocol = protocol = self._protocol(
            Context(node.id, self._cluster, node.machine, random, lambda: clock.wall(time.now_us))
        )
        node.receive, node.request, node.wake = protocol.receive, protocol.request, protocol.wake
        self._connections.opened(node, now_us)
        return protocol.start(node.recovered, clock.monotonic(now_us))

    def crash(self, node: SimNode, *, power: bool) -> dict[str, Any]:
        """The process ends, with everything that had not left it. Returns what the disk lost."""
        if not node.up:
            return {"up": False}
        now_us = self._time.now_us
        left = node.disk.crash(now_us, power=power)
        disk = {"kept": len(left.records), "lost": left.lost, "torn": left.torn}
        self.events.append(ProcessEvent(now_us, node.id, "crash", {"power": power, **disk}))
        node.up = node.running = node.paused = False
        if node.protocol is not None:
            node.counters.update(node.protocol.counters)
        node.protocol = node.machine = None
        node.timers = {}
        calls = list(node.waiting.values())
        node.waiting = {}
        stash, self.stash[node.id] = self.stash[node.id], []
        calls += [entry[4][0] for entry in stash if entry[2] in (REQUEST, ANSWER)]
        unsent = self._withdraw_unsent(node)
        calls += [entry[4][0] for entry in unsent if entry[2] == ANSWER]
        if self.record is not None:
            self.record.crashed(node.id, (*unsent, *stash))
        for call in calls:
            self._clients.answer(call, DISCONNECTED, node, now_us)
        if not power:
            self._connections.closed(node, now_us)
        return {"up": False, **disk}

    def _withdraw_unsent(self, node: SimNode) -> list[Entry]:
        """Remove from the queue what has not left the node."""
        now_us, identity = self._time.now_us, node.id

        def is_unsent(entry: Entry) -> bool:
            what, of, departs_us = entry[2], entry[3], entry[5]
            if what == identity:
                return of is node or departs_us > now_us
            return what == ANSWER and of is node and departs_us > now_us

        return self._queue.withdraw(is_unsent)

    def pause(self, node: SimNode) -> None:
        """SIGSTOP: nothing is sent and nothing is processed any more."""
        if not node.running:
            return
        node.paused, node.running = True, False
        self.events.append(ProcessEvent(self._time.now_us, node.id, "pause"))
        self.stash[node.id] = sorted(self._withdraw_unsent(node))

    def interrupt_step(self, node: SimNode, effects: list[Any]) -> None:
        """Keep the rest of a step that a pause interrupted, until the process is resumed.

        It comes before everything else, also before entries that are due at this very microsecond,
        and are stashed with the sequence number that they got when they were sent.
        """
        self.stash[node.id].append((self._time.now_us, -1, EFFECTS, node, effects, 0))

    def resume(self, node: SimNode) -> None:
        """SIGCONT: what became due meanwhile happens now, in order."""
        if not node.paused:
            return
        node.paused, node.running = False, True
        now_us = self._time.now_us
        self.events.append(ProcessEvent(now_us, node.id, "resume"))
        stash, self.stash[node.id] = sorted(self.stash[node.id]), []
        for due_us, sequence, what, target, payload, departs_us in stash:
            late_us = max(now_us - departs_us, 0) if departs_us else 0
            at_us = max(now_us, due_us + late_us)
            if what == TIMER:
                node.timers[payload] = at_us
            moved = self._queue.put(at_us, what, target, payload, now_us)
            if self.record is not None and what > 0:
                self.record.moved(sequence, moved, at_us, now_us if what == node.id else None)

    def failed(self, node: SimNode, error: Exception) -> None:
        """A protocol raised an exception: the process crashes, which is a finding."""
        if isinstance(error, HarnessError):
            raise error
        self.crashes.append(crash_of(node.id, self._time.now_us, error))
        self.crash(node, power=False)
