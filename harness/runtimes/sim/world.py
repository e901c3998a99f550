"""Virtual time: one agenda, ordered by (time, sequence), and everything that happens is on it.

An entry of the agenda is a plain tuple

    (at_us, sequence, what, node, payload, departs_us)

`what` is the sender's number for a message between nodes, else a constant of `agenda.py`.
`departs_us` is when the entry leaves its node, where that is later than the moment of the step: it
waits for the disk, and a crash before then takes it off the agenda again. That is the whole of the
durable-state rule here. `sequence` makes the order total, so nothing else is ever compared.

Everything random is drawn before the run from streams named after the seed (the delays of each
link, of each disk), so that one more message on one link moves nothing on the others.

This file is the hot path: a run is some thousand turns of `_loop` for each simulated second.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count, cycle
from random import Random
from typing import Any, Final

from harness.errors import HarnessError
from harness.run.conductor import Conductor
from harness.run.config import RunConfig
from harness.runtimes.interface import Response
from harness.runtimes.sim.config import WorldConfig
from harness.runtimes.sim.crashes import BadEffect, NodeCrash, crash_of
from harness.runtimes.sim.disk import Disk
from harness.runtimes.sim.event_queue import (
    ANSWER,
    CONTROL,
    EFFECTS,
    REQUEST,
    TIMER,
    WAKE,
    Entry,
    Moment,
    Sent,
)
from harness.runtimes.sim.injector import Hands
from harness.runtimes.sim.node import EPOCH_US, MILLION, Link, SimNode
from node_image.mutants import protocol_class
from node_image.protocols.interface import (
    Broadcast,
    CancelTimer,
    Checkpoint,
    Command,
    Decided,
    Note,
    Persist,
    Reply,
    Send,
    SetTimer,
)
from node_image.state_machine import KeyValue

REFUSED: Final = Response("refused")
DISCONNECTED: Final = Response("disconnected")
DELAYS: Final = (97, 101, 103, 107, 109, 113, 127, 131, 137, 139, 149, 151, 157, 163, 167, 173)
"""How many delays are drawn per link, after which they come again; all different primes, so that
the links together do not repeat."""


class World:
    """The simulated cluster, as a conductor sees it (`harness.runtimes.interface.World`) and as the
    faults' hands do it (`harness.runtimes.sim.injector`)."""

    def __init__(self, config: RunConfig, settings: WorldConfig) -> None:
        self.config = config
        self.settings = settings
        self.seed = settings.seed or config.seed
        self.now_us = 0
        self.crashes: list[NodeCrash] = []
        self.trace: list[Sent] | None = None
        """Every message between nodes, when asked for before the run."""
        self.moments: list[Moment] = []
        """What became of the nodes' processes."""
        self.agenda: list[Entry] = []
        self.sequence = count().__next__
        self._wake_us = -1
        self._fifo = config.transport == "tcp"
        self._cluster = config.cluster_config()
        self._protocol = protocol_class(config.protocol, config.mutant)
        self._request_delay = self._client_delays("requests")
        self.nodes = {n: self._make_node(n) for n in config.node_ids()}
        self._connect()
        self.hands = Hands(self)

    # ------------------------------------------------------------------ building

    def _delays(self, stream: str, least_us: int, most_us: int, size: int) -> list[int]:
        random = Random(f"{self.seed}:{stream}").random
        spread = most_us - least_us + 1
        return [least_us + int(random() * spread) for _ in range(size)]

    def _client_delays(self, stream: str) -> Callable[[], int]:
        settings = self.settings
        table = self._delays(stream, settings.client_min_us, settings.client_max_us, 199)
        return cycle(table).__next__

    def _make_node(self, identity: int) -> SimNode:
        settings, seed = self.settings, self.seed
        fsyncs = self._delays(f"disk:{identity}", settings.fsync_min_us, settings.fsync_max_us, 89)
        node = SimNode(identity, Disk(cycle(fsyncs).__next__), self._client_delays(f"to{identity}"))
        clocks = Random(f"{seed}:clock:{identity}")
        # Nodes must not be able to compare monotonic clocks, so their zeros differ by a lot.
        node.skew_us = clocks.randrange(0, 1_000_000_000)
        skew_us, ppm = settings.wall_skew_us, settings.drift_ppm
        node.wall_offset_us = EPOCH_US - node.skew_us + clocks.randrange(-skew_us, skew_us + 1)
        node.set_drift(clocks.randrange(-ppm, ppm + 1), 0)
        return node

    def _connect(self) -> None:
        settings = self.settings
        sizes = cycle(DELAYS).__next__
        for source in self.nodes.values():
            for target in self.nodes.values():
                if source is not target:
                    stream, size = f"link:{source.id}>{target.id}", sizes()
                    table = self._delays(stream, settings.link_min_us, settings.link_max_us, size)
                    self._slow_down(table, stream)
                    source.links[target.id] = Link(target, cycle(table).__next__)
            source.refresh_links()

    def _slow_down(self, table: list[int], stream: str) -> None:
        """A few messages take much longer than the rest."""
        random = Random(f"{self.seed}:{stream}:slow")
        percent, slow_us = self.settings.link_slow_percent, self.settings.link_slow_us
        if percent and slow_us:
            for i in range(len(table)):
                if random.random() * 100 < percent:
                    table[i] += int(random.random() * slow_us)

    # ------------------------------------------------------------------ what a conductor asks

    def request(self, call: int, node: int, command: Command) -> None:
        target = self.nodes[node]
        at_us = self.now_us + self._request_delay()
        if target.client_weather is not None:
            extra_us = target.client_weather.client_fate()
            if extra_us is None:
                self._client_loses(call, target)
                return
            at_us += extra_us
        heappush(self.agenda, (at_us, self.sequence(), REQUEST, target, (call, command), 0))

    def _client_loses(self, call: int, node: SimNode) -> None:
        """A request or an answer is lost: the connection breaks, or nobody says anything."""
        if node.client_weather is not None and node.client_weather.connection_breaks():
            self.answer(call, DISCONNECTED, node, self.now_us)

    def wake(self, at_us: int) -> None:
        at_us = max(at_us, self.now_us)
        self._wake_us = at_us
        heappush(self.agenda, (at_us, self.sequence(), WAKE, None, None, 0))

    def put(self, at_us: int, what: int, node: Any, payload: Any) -> None:
        """Put something on the agenda that no crash takes off again."""
        heappush(self.agenda, (at_us, self.sequence(), what, node, payload, 0))

    def inject(self, fault: Any) -> None:
        self.hands.inject(fault)

    def heal(self, fault: Any) -> None:
        self.hands.heal(fault)

    def leader(self) -> int | None:
        """The node that says it leads; of several, the one with the highest ballot."""
        best: tuple[tuple[int, ...], int] | None = None
        for node in self.nodes.values():
            if node.protocol is not None:
                status = node.protocol.status()
                if status.role == "leader" and (best is None or (status.ballot, node.id) > best):
                    best = (tuple(status.ballot), node.id)
        return best[1] if best else None

    # ------------------------------------------------------------------ the loop

    def drive(self, conductor: Conductor) -> None:
        """Run until the conductor is done."""
        conductor.begin(self, self.now_us)
        while not conductor.done:
            try:
                self._loop(conductor)
            except Exception as error:
                entry = self._turn
                if entry[2] < EFFECTS:
                    raise
                self._protocol_failed(entry[3], error)
                conductor.interrupt(self.now_us)

    def _loop(self, conductor: Conductor) -> None:
        """What is called often is bound to a local name first: CPython makes a quick call of
        `receive(...)`, but not of `node.receive(...)` where that is no method."""
        agenda, carry_out, turn = self.agenda, self.carry_out, None
        try:
            while not conductor.done:
                turn = heappop(agenda)
                now_us, _, what, node, payload, _ = turn
                self.now_us = now_us
                if what > 0:
                    if node.running:
                        clock_us = now_us + node.skew_us
                        if node.ppm:  # as in SimNode.monotonic, without the call
                            clock_us += (now_us - node.drift_anchor_us) * node.ppm // MILLION
                        receive = node.receive
                        effects = receive(what, payload, clock_us)
                        if effects:
                            carry_out(node, effects, now_us)
                    elif node.paused:
                        node.stash.append(turn)
                elif what == TIMER:
                    if node.timers.get(payload) == now_us:
                        self._timer(node, payload, turn)
                else:
                    self._seldom(conductor, turn)
        finally:
            if turn is not None:
                self._turn = turn

    def _timer(self, node: SimNode, name: str, turn: Entry) -> None:
        if node.running:
            del node.timers[name]
            effects = node.wake(name, node.monotonic(turn[0]))
            if effects:
                self.carry_out(node, effects, turn[0])
        elif node.paused:
            node.stash.append(turn)

    def _seldom(self, conductor: Conductor, entry: Entry) -> None:
        """The turns that are not a message or a timer."""
        now_us, _, what, node, payload, _ = entry
        if what == ANSWER:
            conductor.answered(payload[0], payload[1], now_us)
        elif what == REQUEST:
            if node.running:
                call, command = payload
                node.waiting[command.client, command.seq] = call
                effects = node.request(command, node.monotonic(now_us))
                if effects:
                    self.carry_out(node, effects, now_us)
            elif node.paused:
                node.stash.append(entry)
            else:
                self.answer(payload[0], REFUSED, node, now_us)
        elif what == WAKE:
            if now_us == self._wake_us:
                self._wake_us = -1
                conductor.woke(now_us)
        elif what == CONTROL:
            payload[0](conductor, *payload[1:])
        elif node.running:
            self.carry_out(node, payload, now_us)
        elif node.paused:
            node.stash.append(entry)

    # ------------------------------------------------------------------ effects

    def carry_out(self, node: SimNode, effects: list[Any], now_us: int) -> None:  # noqa: PLR0912
        """Do what a step wants done, in its order."""
        if node.watched and self.hands.ambush.cares_for(node, effects):
            self.hands.ambush.carry_out(node, effects, now_us)
            return
        barrier_us = node.disk.barrier_us
        for effect in effects:
            kind = type(effect)
            if kind is Send:
                to, message, after_sync = effect
                self.send(node, to, message, after_sync, barrier_us, now_us)
            elif kind is Decided:
                node.decided.append(effect)
                node.decided_us.append(now_us)
            elif kind is Persist:
                barrier_us = node.disk.persist(effect[0], now_us)
            elif kind is Broadcast:
                message, after_sync = effect
                if after_sync and barrier_us > now_us:
                    for link in node.open_links:
                        at_us = self.in_order(link, barrier_us + link.delay(), held=True)
                        self.put_message(at_us, node, link.target, message, barrier_us)
                    continue
                agenda, sequence, sender, fifo = self.agenda, self.sequence, node.id, self._fifo
                for link in node.open_links:
                    delay = link.delay
                    at_us = now_us + delay()
                    if fifo:
                        if at_us < link.last_us:
                            at_us = link.last_us
                        else:
                            link.last_us = at_us
                    heappush(agenda, (at_us, sequence(), sender, link.target, message, 0))
            else:
                barrier_us = self.other_effect(node, effect, barrier_us, now_us)

    def send(
        self,
        node: SimNode,
        to: int,
        message: tuple[Any, ...],
        after_sync: bool,
        barrier_us: int,
        now_us: int,
    ) -> None:
        sequence = self.sequence
        held = after_sync and barrier_us > now_us
        link = node.links.get(to)
        if link is None:
            if to != node.id:
                raise BadEffect(f"n{node.id} sends {message!r} to n{to}, which is no node")
            at_us = barrier_us if held else now_us
            heappush(self.agenda, (at_us, sequence(), to, node, message, at_us))
            return
        if link.cut:
            return
        delay = link.delay
        if held:
            at_us = barrier_us + delay()
            if at_us < link.last_held_us:
                at_us = link.last_held_us
            elif self._fifo:
                link.last_held_us = at_us
            heappush(self.agenda, (at_us, sequence(), node.id, link.target, message, barrier_us))
        else:
            at_us = now_us + delay()
            if at_us < link.last_us:
                at_us = link.last_us
            elif self._fifo:
                link.last_us = at_us
            heappush(self.agenda, (at_us, sequence(), node.id, link.target, message, 0))

    def in_order(self, link: Link, at_us: int, *, held: bool) -> int:
        """Not before what was sent earlier on this link, where the transport keeps the order."""
        if not self._fifo:
            return at_us
        if held:
            link.last_held_us = at_us = max(at_us, link.last_held_us)
        else:
            link.last_us = at_us = max(at_us, link.last_us)
        return at_us

    def put_message(
        self,
        at_us: int,
        source: SimNode,
        target: SimNode,
        message: tuple[Any, ...],
        departs_us: int,
    ) -> None:
        heappush(self.agenda, (at_us, self.sequence(), source.id, target, message, departs_us))

    def other_effect(self, node: SimNode, effect: Any, barrier_us: int, now_us: int) -> int:
        """The effects that are seldom, or cheap; answers the barrier."""
        kind = effect.__class__
        if kind is SetTimer:
            self._set_timer(node, effect[0], effect[1], now_us)
        elif kind is Reply:
            self.reply(node, effect, barrier_us, now_us)
        elif kind is Note:
            node.notes.append((now_us, effect))
        elif kind is CancelTimer:
            node.timers.pop(effect[0], None)
        elif kind is Checkpoint:
            return node.disk.checkpoint(effect[0], now_us)
        else:
            raise BadEffect(f"{effect!r} is no effect; see node_image/protocols/interface.py")
        return barrier_us

    def _set_timer(self, node: SimNode, name: str, delay_us: int, now_us: int) -> None:
        at_us = now_us + (node.real_delay(delay_us) if node.ppm else delay_us)
        node.timers[name] = at_us
        heappush(self.agenda, (at_us, self.sequence(), TIMER, node, name, 0))

    def reply(self, node: SimNode, effect: Any, barrier_us: int, now_us: int) -> None:
        client, seq, answer, after_sync = effect
        call = node.waiting.pop((client, seq), None)
        if call is None:
            return
        if node.client_weather is not None:
            extra_us = node.client_weather.client_fate()
            if extra_us is None:
                self._client_loses(call, node)
                return
            now_us += extra_us
        departs_us = barrier_us if after_sync and barrier_us > now_us else now_us
        self.answer(call, answer, node, departs_us)

    def answer(self, call: int, response: Any, node: SimNode, departs_us: int) -> None:
        at_us = departs_us + node.client_delay()
        heappush(self.agenda, (at_us, self.sequence(), ANSWER, node, (call, response), departs_us))

    # ------------------------------------------------------------------ a node's life

    def start(self, node: SimNode) -> None:
        """A process of the node starts, with what its disk holds."""
        node.boots += 1
        self.moments.append(Moment(self.now_us, node.id, "start"))
        node.lives.append(len(node.decided))
        node.up = node.running = True
        node.paused = False
        node.recovered = node.disk.records()
        random = Random(f"{self.seed}:node:{node.id}:{node.boots}")
        machine = KeyValue(self._cluster.sessions_max)
        protocol = self._protocol(
            node.id, self._cluster, machine, random, lambda: node.wall(self.now_us)
        )
        node.protocol = protocol
        node.receive, node.request, node.wake = protocol.receive, protocol.request, protocol.wake
        try:
            effects = protocol.start(node.recovered, node.monotonic(self.now_us))
            self.carry_out(node, effects, self.now_us)
        except Exception as error:
            self._protocol_failed(node, error)

    def crash(self, node: SimNode, *, power: bool) -> dict[str, Any]:
        """The process is gone, with all that had not left it; says what the disk lost."""
        if not node.up:
            return {"up": False}
        now_us = self.now_us
        self.moments.append(Moment(now_us, node.id, "crash"))
        left = node.disk.crash(now_us, power=power)
        node.up = node.running = node.paused = False
        node.protocol = None
        node.timers = {}
        calls = list(node.waiting.values())
        node.waiting = {}
        calls += [e[4][0] for e in node.stash if e[2] in (REQUEST, ANSWER)]
        node.stash = []
        calls += [e[4][0] for e in self.agenda if self._unsent(e, node) and e[2] == ANSWER]
        self.agenda[:] = [e for e in self.agenda if not self._unsent(e, node)]
        heapify(self.agenda)
        for call in calls:
            self.answer(call, DISCONNECTED, node, now_us)
        return {"up": False, "kept": len(left.records), "lost": left.lost, "torn": left.torn}

    def _unsent(self, entry: Entry, node: SimNode) -> bool:
        """Has the node not got rid of this yet?"""
        what, of, departs_us = entry[2], entry[3], entry[5]
        if what == node.id:
            return of is node or departs_us > self.now_us
        return what == ANSWER and of is node and departs_us > self.now_us

    def pause(self, node: SimNode) -> None:
        """SIGSTOP: nothing leaves and nothing happens any more; what waited for the disk waits."""
        if not node.running:
            return
        node.paused, node.running = True, False
        self.moments.append(Moment(self.now_us, node.id, "pause"))
        held = [e for e in self.agenda if self._unsent(e, node)]
        self.agenda[:] = [e for e in self.agenda if not self._unsent(e, node)]
        heapify(self.agenda)
        node.stash = sorted(held)

    def resume(self, node: SimNode) -> None:
        """SIGCONT: what came due meanwhile happens now, in its order."""
        if not node.paused:
            return
        node.paused, node.running = False, True
        self.moments.append(Moment(self.now_us, node.id, "resume"))
        now_us = self.now_us
        stash, node.stash = sorted(node.stash), []
        for _at_us, _, what, target, payload, departs_us in stash:
            late_us = max(now_us - departs_us, 0) if departs_us else 0
            at_us = max(now_us, _at_us + late_us)
            if what == TIMER:
                node.timers[payload] = at_us
            heappush(self.agenda, (at_us, self.sequence(), what, target, payload, now_us))

    def _protocol_failed(self, node: SimNode, error: Exception) -> None:
        """An exception came out of a protocol: the process dies of it, and it is a finding."""
        if isinstance(error, HarnessError):
            raise error
        self.crashes.append(crash_of(node.id, self.now_us, error))
        self.crash(node, power=False)

    def dismantle(self) -> None:
        """Let go of everything that refers back; what the nodes decided and noted stays."""
        if not hasattr(self, "hands"):
            return
        self.agenda.clear()
        self._turn = (0, 0, 0, None, None, 0)
        for node in self.nodes.values():
            node.let_go()
        self.hands.let_go()
        del self.hands
