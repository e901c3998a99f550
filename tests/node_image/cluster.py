"""A small in-memory world for driving replicas in tests: network, disks, timers, clients.

Not the simulator (that is `harness.runtimes.sim`): it imports nothing of it, so the protocols' own
tests are independent, and each of the two can catch a mistake in the other. Time is virtual,
everything comes from one `random.Random`. It follows the durable-state rule of `interface`: effects
with `after_sync` wait until what was persisted before them is on the disk, and a crash loses what
was not, except for a random prefix of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from node_image.protocols.context import Context
from node_image.protocols.interface import (
    Answer,
    Broadcast,
    CancelTimer,
    Checkpoint,
    ClusterConfig,
    Command,
    Decided,
    LeaderKnown,
    Note,
    Persist,
    Reply,
    Send,
    SetTimer,
    StateDigest,
)
from node_image.state_machine import KeyValue


@dataclass
class Network:
    """The network's parameters. Probabilities from 0 to 1, delays in microseconds."""

    loss: float = 0.0
    duplication: float = 0.0
    delay_us: tuple[int, int] = (200, 1_000)
    sync_us: tuple[int, int] = (100, 400)
    cut: set[tuple[int, int]] = field(default_factory=set)


@dataclass
class Host:
    """One node: its disk, and the process while it runs."""

    durable: list[Any] = field(default_factory=list)
    pending: list[Any] = field(default_factory=list)  # records and checkpoints not yet synced
    held: list[Any] = field(default_factory=list)  # (records to wait for, effect)
    written: int = 0
    synced: int = 0
    syncing: bool = False
    life: int = 0
    process: Any = None
    paused_until: int = 0
    timers: dict[str, int] = field(default_factory=dict)
    inbox: list[Any] = field(default_factory=list)


class World:
    """A cluster of replicas of one protocol class under virtual time."""

    def __init__(
        self,
        protocol: type[Any],
        *,
        nodes: int = 3,
        seed: int = 0,
        network: Network | None = None,
        **config: Any,
    ) -> None:
        self.random = Random(seed)
        self.network = network or Network()
        self.config = ClusterConfig(nodes=tuple(range(1, nodes + 1)), **config)
        self.protocol = protocol
        self.now = 0
        self._sequence = 0
        self._events: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self.hosts = {node: Host() for node in self.config.nodes}
        self.decided: dict[Any, dict[tuple[Command, ...], set[int]]] = {}
        self.conflicts: list[str] = []
        self.states: dict[Any, dict[str, set[int]]] = {}
        self.replies: dict[tuple[int, int], list[tuple[int, Answer]]] = {}
        self.notes: list[tuple[int, int, Note]] = []
        self.known: list[tuple[int, int, LeaderKnown]] = []
        self.wall_offset = dict.fromkeys(self.config.nodes, 0)
        self.intercept: Callable[[int, int, Any], bool] | None = None
        self.sent: dict[str, int] = {}
        for node in self.config.nodes:
            self.boot(node)

    # ------------------------------------------------------------------ time

    def at(self, time: int, action: Callable[..., None], *args: Any) -> None:
        self._sequence += 1
        heapq.heappush(self._events, (time, self._sequence, action, args))

    def run(self, duration_us: int) -> None:
        """Let `duration_us` of virtual time pass."""
        end = self.now + duration_us
        while self._events and self._events[0][0] <= end:
            self.now, _, action, args = heapq.heappop(self._events)
            action(*args)
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit_us: int = 20_000_000) -> None:
        """Let time pass until `condition` holds; AssertionError when it never does."""
        end = self.now + limit_us
        while not condition():
            assert self._events and self._events[0][0] <= end, (
                f"not reached in {limit_us} us: {self.statuses()}"
            )
            self.now, _, action, args = heapq.heappop(self._events)
            action(*args)

    # ------------------------------------------------------------------ nodes

    def boot(self, node: int) -> None:
        host = self.hosts[node]
        host.life += 1
        context = Context(
            node,
            replace(self.config),
            KeyValue(self.config.sessions_max),
            Random(self.random.randrange(2**60)),
            lambda: self.now + self.wall_offset[node],
        )
        process = self.protocol(context)
        host.process = process
        self._perform(node, process.start(list(host.durable), self.now))

    def crash(self, node: int, keep: int | None = None) -> None:
        """Kill a node; of its unsynced records the first `keep` survive (a random number)."""
        host = self.hosts[node]
        if host.process is None:
            return
        if keep is None:
            keep = self.random.randrange(0, len(host.pending) + 1)
        for item in host.pending[:keep]:
            _write(host.durable, item)
        host.process = None
        host.pending, host.held, host.inbox, host.timers = [], [], [], {}
        host.syncing = False
        host.written = host.synced = 0
        host.paused_until = 0
        host.life += 1

    def pause(self, node: int, duration_us: int) -> None:
        host = self.hosts[node]
        if host.process is None:
            return
        host.paused_until = self.now + duration_us
        self.at(host.paused_until, self._resume, node, host.life)

    def _resume(self, node: int, life: int) -> None:
        host = self.hosts[node]
        if host.life == life and self.now >= host.paused_until:
            inbox, host.inbox = host.inbox, []
            for action, args in inbox:
                action(*args)

    def statuses(self) -> list[Any]:
        return [host.process.status() if host.process else None for host in self.hosts.values()]

    def leader(self) -> int | None:
        """The node that leads in the highest ballot."""
        leading = [
            (host.process.status().ballot, node)
            for node, host in self.hosts.items()
            if host.process is not None and host.process.status().role == "leader"
        ]
        return max(leading)[1] if leading else None

    # ------------------------------------------------------------------ clients

    def request(self, node: int, command: Command) -> None:
        host = self.hosts[node]
        if host.process is not None:
            self._deliver(node, host.life, "request", command)

    def ask(self, f: str, key: str, value: Any = None, *, client: int = 1, seq: int = 1) -> Answer:
        """A client that goes to the leader, and asks again until it gets a final answer."""
        command = Command(client, seq, f, key, value)
        for _ in range(40):
            self.run_until(lambda: self.leader() is not None)
            self.replies.pop((client, seq), None)
            leader = self.leader()
            assert leader is not None
            self.request(leader, command)
            self._await_reply(client, seq, self.now + 1_000_000)
            answers = self.replies.get((client, seq))
            if answers and answers[-1][1].error in (None, "mismatch", "unsupported"):
                return answers[-1][1]
            self.run(100_000)
        raise AssertionError(f"{command} was never answered")

    def _await_reply(self, client: int, seq: int, deadline: int) -> None:
        self.run_until(lambda: (client, seq) in self.replies or self.now >= deadline)

    # ------------------------------------------------------------------ events of a node

    def _deliver(self, node: int, life: int, entry: str, *args: Any) -> None:
        host = self.hosts[node]
        if host.life != life or host.process is None:
            return
        if self.now < host.paused_until:
            host.inbox.append((self._deliver, (node, life, entry, *args)))
            return
        self._perform(node, getattr(host.process, entry)(*args, self.now))

    def _fire(self, node: int, life: int, name: str, due: int) -> None:
        host = self.hosts[node]
        if host.life == life and host.timers.get(name) == due:
            if self.now < host.paused_until:
                host.inbox.append((self._fire, (node, life, name, due)))
                return
            del host.timers[name]
            self._deliver(node, life, "wake", name)

    # ------------------------------------------------------------------ effects

    def _perform(self, node: int, effects: list[Any]) -> None:
        host = self.hosts[node]
        for effect in effects:
            if isinstance(effect, Persist | Checkpoint):
                host.pending.append(effect)
                host.written += 1
            elif getattr(effect, "after_sync", False) and host.synced < host.written:
                host.held.append((host.written, effect))
            else:
                self._act(node, effect)
        if host.pending and not host.syncing:
            host.syncing = True
            delay = self.random.randint(*self.network.sync_us)
            self.at(self.now + delay, self._synced, node, host.life, len(host.pending))

    def _synced(self, node: int, life: int, count: int) -> None:
        host = self.hosts[node]
        if host.life != life:
            return
        for item in host.pending[:count]:
            _write(host.durable, item)
        del host.pending[:count]
        host.synced += count
        host.syncing = False
        ready = [effect for barrier, effect in host.held if barrier <= host.synced]
        host.held = [item for item in host.held if item[0] > host.synced]
        for effect in ready:
            self._act(node, effect)
        self._perform(node, [])

    def _act(self, node: int, effect: Any) -> None:
        host = self.hosts[node]
        if isinstance(effect, Send):
            self._transmit(node, effect.to, effect.message)
        elif isinstance(effect, Broadcast):
            for other in self.config.nodes:
                if other != node:
                    self._transmit(node, other, effect.message)
        elif isinstance(effect, Reply):
            answers = self.replies.setdefault((effect.client, effect.seq), [])
            answers.append((node, effect.answer))
        elif isinstance(effect, SetTimer):
            due = host.timers[effect.name] = self.now + effect.delay_us
            self.at(due, self._fire, node, host.life, effect.name, due)
        elif isinstance(effect, CancelTimer):
            host.timers.pop(effect.name, None)
        elif isinstance(effect, Decided):
            self._record(node, effect)
        elif isinstance(effect, StateDigest):
            self.states.setdefault(effect.slot, {}).setdefault(effect.digest, set()).add(node)
        elif isinstance(effect, LeaderKnown):
            self.known.append((self.now, node, effect))
        elif isinstance(effect, Note):
            self.notes.append((self.now, node, effect))
        else:
            raise TypeError(effect)

    def _record(self, node: int, effect: Decided) -> None:
        values = self.decided.setdefault(effect.slot, {})
        values.setdefault(effect.commands, set()).add(node)
        if len(values) > 1:
            self.conflicts.append(f"slot {effect.slot}: {values}")

    def _transmit(self, sender: int, to: int, message: Any) -> None:
        label = type(message).__name__
        self.sent[label] = self.sent.get(label, 0) + 1
        if self.intercept is not None and self.intercept(sender, to, message):
            return
        if sender == to:
            self.at(self.now, self._deliver, to, self.hosts[to].life, "receive", sender, message)
            return
        network = self.network
        if (sender, to) in network.cut or self.random.random() < network.loss:
            return
        for _ in range(2 if self.random.random() < network.duplication else 1):
            self.at(
                self.now + self.random.randint(*network.delay_us),
                self._arrive,
                to,
                sender,
                message,
            )

    def _arrive(self, to: int, sender: int, message: Any) -> None:
        self._deliver(to, self.hosts[to].life, "receive", sender, message)


def _write(durable: list[Any], item: Any) -> None:
    if isinstance(item, Checkpoint):
        durable[:] = item.records
    else:
        durable.append(item.record)
