"""The simulated cluster and its event loop.

This file is the hot path: a simulated second takes several thousand iterations of `_loop`.

The parts form no cycle: faults and effects reference the nodes, the network and the event queue,
and none of these references them. So a run's memory is freed as soon as the run is dropped, without
the garbage collector, which sweeps disable.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import cycle
from random import Random
from typing import Any

from harness.run.config import RunConfig
from harness.runtimes.interface import Driven
from harness.runtimes.sim.clients import ClientConnections, client_delays
from harness.runtimes.sim.config import WorldConfig
from harness.runtimes.sim.disk import Disk, DiskFull
from harness.runtimes.sim.disk_faults import DiskFaults
from harness.runtimes.sim.effects import Effects
from harness.runtimes.sim.event_queue import (
    ANSWER,
    FAULT_REPORT,
    FAULT_STEP,
    PEER_CONNECTED,
    PEER_LOST,
    REQUEST,
    START,
    TIMER,
    TOLD,
    WAKE,
    Entry,
    EventQueue,
)
from harness.runtimes.sim.fault_reports import FaultReports
from harness.runtimes.sim.injector import FaultInjector
from harness.runtimes.sim.link_faults import LinkFaults
from harness.runtimes.sim.network import Network, draw_delays
from harness.runtimes.sim.node import SimNode
from harness.runtimes.sim.node_faults import NodeFaults
from harness.runtimes.sim.peer_connections import PeerConnections
from harness.runtimes.sim.processes import Processes
from harness.runtimes.sim.run_record import RunRecord
from harness.runtimes.sim.timed_faults import TimedFaults
from harness.runtimes.sim.triggers import Triggers
from harness.runtimes.sim.virtual_time import EPOCH_US, MILLION, NodeClock, VirtualTime
from harness.runtimes.sim.watched_effects import WatchedEffects
from harness.targets.interface import REFUSED, Request
from harness.targets.paxos_family import cluster_config
from node_image.mutants import protocol_class
from node_image.protocols.interface import Command, make

FSYNC_DELAYS = 89
"""How many delays are drawn per disk; then they repeat."""


class World:
    """The simulated cluster, as a conductor sees it (`harness.runtimes.interface.World`).

    `record`, if not None, is filled during the run; see `keep_record`.
    """

    def __init__(self, config: RunConfig, settings: WorldConfig) -> None:
        seed = settings.seed or config.seed
        self.time = time = VirtualTime()
        self.queue = queue = EventQueue()
        self.nodes = nodes = {n: _make_node(n, settings, seed) for n in config.cluster.node_ids()}
        ordered = config.cluster.transport == "tcp"
        self.network = network = Network(nodes, settings, seed, queue, ordered=ordered)
        connections = PeerConnections(nodes, network, queue, settings, seed, ordered=ordered)
        clients = ClientConnections(queue, settings, seed)
        protocol = protocol_class(config.target, config.cluster.mutant)
        cluster = cluster_config(config.target, config.cluster)
        self.sessions_max = cluster.sessions_max
        self.processes = Processes(
            nodes, queue, clients, time, seed, cluster, protocol, connections
        )
        reports = FaultReports(queue, time)
        links = LinkFaults(nodes, network, seed)
        node_faults = NodeFaults(nodes, self.processes, queue, time, settings.boot_us)
        disk_faults = DiskFaults(nodes, node_faults, time)
        timed = TimedFaults(nodes, queue, time, node_faults)
        triggers = Triggers(nodes, network, queue, time, reports, links, node_faults)
        self.injector = FaultInjector(
            queue,
            time,
            reports,
            links,
            node_faults,
            disk_faults,
            timed,
            triggers,
            boot_us=settings.boot_us,
        )
        self._clients = clients
        self._effects = Effects(queue, network, clients)
        self._watched = WatchedEffects(
            queue, network, clients, self.processes, self._effects, triggers
        )
        self.record: RunRecord | None = None
        self.is_interrupted = False
        """May be set at any time, also by a signal handler: the run is to end early."""
        self._wake_us = -1
        self._told: tuple[int, ...] = ()
        self._turn: Entry = (0, 0, WAKE, None, None, 0)

    @property
    def now_us(self) -> int:
        return self.time.now_us

    def keep_record(self) -> None:
        """Record this run's messages, disks and roles; to be called before it starts."""
        self.record = self.processes.record = self._watched.record = RunRecord()
        self.injector.triggers.watch_all = True

    def start_all(self) -> None:
        """Start every node's first process."""
        self.injector.triggers.refresh_watched()
        for node in self.nodes.values():
            self._start(node)

    # ------------------------------------------------------------------ called by the conductor

    def request(self, call: int, node: int, request: Request) -> None:
        command = make(Command, request)
        self._clients.request(call, self.nodes[node], command, self.time.now_us)

    def wake(self, at_us: int) -> None:
        at_us = max(at_us, self.time.now_us)
        self._wake_us = at_us
        heappush(self.queue.entries, (at_us, self.queue.sequence(), WAKE, None, None, 0))

    def inject(self, fault: Any) -> None:
        self.injector.inject(fault)

    def heal(self, fault: Any) -> None:
        self.injector.heal(fault)

    def leader(self) -> int | None:
        """The node that reports to be the leader; of several, the one with the highest ballot."""
        best: tuple[tuple[int, ...], int] | None = None
        for node in self.nodes.values():
            if node.protocol is not None:
                status = node.protocol.status()
                if status.role == "leader" and (best is None or (status.ballot, node.id) > best):
                    best = (tuple(status.ballot), node.id)
        return best[1] if best else None

    # ------------------------------------------------------------------ the loop

    def drive(self, conductor: Driven) -> None:
        """Run until the conductor is done."""
        conductor.begin(self, self.time.now_us)
        while not conductor.done:
            if self.is_interrupted:
                self.is_interrupted = False
                conductor.interrupt(self.time.now_us)
            try:
                self._loop(conductor)
            except DiskFull:
                self.processes.crash(self._turn[3], power=False)
            except Exception as error:
                what, node = self._turn[2:4]
                if what < PEER_CONNECTED:
                    raise
                self.processes.failed(node, error)
                conductor.interrupt(self.time.now_us)
        if self.record is not None:
            self.record.finish(self.time.now_us)

    def _loop(self, conductor: Driven) -> None:  # noqa: PLR0912
        """What is called often is bound to a local name first: CPython makes a quick call of
        `receive(...)`, but not of `node.receive(...)` where that is not a method."""
        entries, time, stash = self.queue.entries, self.time, self.processes.stash
        carry_out, carry_out_watched = self._effects.carry_out, self._watched.carry_out
        turn = None
        try:
            while not conductor.done and not self.is_interrupted:
                turn = heappop(entries)
                now_us, sequence, what, node, payload, _ = turn
                time.now_us = now_us
                if what > 0:
                    if node.running:
                        clock = node.clock
                        clock_us = now_us + clock.skew_us
                        if clock.drift_ppm:  # as in NodeClock.monotonic, without the call
                            clock_us += (now_us - clock.anchor_us) * clock.drift_ppm // MILLION
                        receive = node.receive
                        effects = receive(what, payload, clock_us)
                        if effects:
                            if node.watched:
                                carry_out_watched(node, effects, now_us)
                            else:
                                carry_out(node, effects, now_us)
                    elif node.paused:
                        stash[node.id].append(turn)
                    elif self.record is not None:
                        self.record.undelivered(sequence)
                elif what == TIMER:
                    if node.timers.get(payload) == now_us:
                        self._timer(node, payload, turn)
                else:
                    self._carry_out_other(conductor, turn)
        finally:
            if turn is not None:
                self._turn = turn

    def _carry_out(self, node: SimNode, effects: list[Any], now_us: int) -> None:
        if node.watched:
            self._watched.carry_out(node, effects, now_us)
        else:
            self._effects.carry_out(node, effects, now_us)

    def _timer(self, node: SimNode, name: str, turn: Entry) -> None:
        if node.running:
            del node.timers[name]
            effects = node.wake(name, node.clock.monotonic(turn[0]))
            if effects:
                self._carry_out(node, effects, turn[0])
        elif node.paused:
            self.processes.stash[node.id].append(turn)

    def _carry_out_other(self, conductor: Driven, entry: Entry) -> None:  # noqa: PLR0912
        """The turns that are neither a message nor a timer."""
        now_us, _, what, node, payload, _ = entry
        if what == ANSWER:
            conductor.answered(payload[0], payload[1], now_us)
        elif what == REQUEST:
            self._request_arrives(node, entry)
        elif what == WAKE:
            if now_us == self._wake_us:
                self._wake_us = -1
                conductor.woke(now_us)
        elif what in (PEER_LOST, PEER_CONNECTED):
            self._connection_changes(node, entry)
        elif what == START:
            if self.injector.nodes.boots(node):
                self._start(node)
        elif what == FAULT_STEP:
            self.injector.step(*payload)
        elif what == TOLD:
            leader, term = payload
            if term > self._told:
                self._told = term
                conductor.leader_announced(leader, now_us)
        elif what == FAULT_REPORT:
            fault, done, report = payload
            conductor.fault_done(fault, done, report, now_us)
        elif node.running:  # the rest of a step
            self._carry_out(node, payload, now_us)
        elif node.paused:
            self.processes.stash[node.id].append(entry)

    def _request_arrives(self, node: SimNode, entry: Entry) -> None:
        now_us, (call, command) = entry[0], entry[4]
        if node.running:
            node.waiting[command.client, command.seq] = call
            effects = node.request(command, node.clock.monotonic(now_us))
            if effects:
                self._carry_out(node, effects, now_us)
        elif node.paused:
            self.processes.stash[node.id].append(entry)
        else:
            self._clients.answer(call, REFUSED, node, now_us)

    def _connection_changes(self, node: SimNode, entry: Entry) -> None:
        now_us, _, what, _, peer, _ = entry
        if node.running and node.protocol is not None:
            protocol = node.protocol
            told = protocol.peer_lost if what == PEER_LOST else protocol.peer_connected
            effects = told(peer, node.clock.monotonic(now_us))
            if effects:
                self._carry_out(node, effects, now_us)
        elif node.paused:
            self.processes.stash[node.id].append(entry)

    def _start(self, node: SimNode) -> None:
        try:
            effects = self.processes.start(node)
            self._carry_out(node, effects, self.time.now_us)
        except DiskFull:
            self.processes.crash(node, power=False)
        except Exception as error:
            self.processes.failed(node, error)


def _make_node(identity: int, settings: WorldConfig, seed: int) -> SimNode:
    fsyncs = draw_delays(
        f"{seed}:disk:{identity}", settings.fsync_min_us, settings.fsync_max_us, FSYNC_DELAYS
    )
    clocks = Random(f"{seed}:clock:{identity}")
    # Nodes must not be able to compare monotonic clocks, so their zeros differ by a lot.
    skew_us = clocks.randrange(0, 1_000_000_000)
    apart_us, drift_ppm = settings.wall_skew_us, settings.drift_ppm
    wall_offset_us = EPOCH_US - skew_us + clocks.randrange(-apart_us, apart_us + 1)
    clock = NodeClock(skew_us, wall_offset_us, clocks.randrange(-drift_ppm, drift_ppm + 1))
    delays = client_delays(settings, seed, f"to{identity}")
    return SimNode(identity, Disk(cycle(fsyncs).__next__), clock, delays)
