"""Replicas whose every step is chosen by the test: by Hypothesis, or by a random generator.

A step says which message is delivered, dropped or duplicated, which disk has synced, which timer
fires, which node crashes and what survives. So a counterexample shrinks to the few steps that
matter."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, TypeAlias

from hypothesis import strategies as st

from node_image.protocols.context import Context
from node_image.protocols.interface import (
    Broadcast,
    Checkpoint,
    ClusterConfig,
    Command,
    Decided,
    Persist,
    Reply,
    Send,
    SetTimer,
)
from node_image.state_machine import KeyValue

Steps: TypeAlias = list[tuple[str, int, int]]
"""The name of a step, which of the possible ones, and how often."""


class Interleaving:
    """Replicas whose every step is chosen by the test."""

    def __init__(self, protocol: type[Any], nodes: int, **config: Any) -> None:
        self.protocol = protocol
        self.config = ClusterConfig(nodes=tuple(range(1, nodes + 1)), **config)
        self.now = 0
        self.flying: list[tuple[int, int, Any]] = []
        self.disk: dict[int, list[Any]] = {n: [] for n in self.config.nodes}
        self.waiting: dict[int, list[Any]] = {n: [] for n in self.config.nodes}
        self.timers: dict[int, dict[str, None]] = {n: {} for n in self.config.nodes}
        self.process: dict[int, Any] = {}
        self.decided: dict[Any, tuple[Command, ...]] = {}
        self.promised = dict.fromkeys(self.config.nodes, (0, 0))
        self.acknowledged: list[tuple[int, int]] = []
        self.asked = 0
        for node in self.config.nodes:
            self._start(node)

    def _start(self, node: int) -> None:
        self.timers[node].clear()
        context = Context(node, self.config, KeyValue(), Random(node), lambda: self.now)
        self.process[node] = self.protocol(context)
        self._perform(node, self.process[node].start(list(self.disk[node]), self.now))

    # ---- steps

    def deliver(self, which: int, count: int) -> None:
        for _ in range(count):
            if not self.flying:
                return
            sender, to, message = self.flying.pop(which % len(self.flying))
            self.now += 100
            self._perform(to, self.process[to].receive(sender, message, self.now))

    def drop(self, which: int, count: int) -> None:
        for _ in range(min(count, len(self.flying))):
            sender, to, _ = self.flying[which % len(self.flying)]
            if sender != to:
                self.flying.pop(which % len(self.flying))

    def double(self, which: int, _: int) -> None:
        if self.flying:
            message = self.flying[which % len(self.flying)]
            if message[0] != message[1]:
                self.flying.append(message)

    def fire(self, which: int, _: int) -> None:
        node = self.config.nodes[which % len(self.config.nodes)]
        names = list(self.timers[node])
        if names:
            name = names[which % len(names)]
            del self.timers[node][name]
            self.now += 2 * self.config.election_max_us // 3
            self._perform(node, self.process[node].wake(name, self.now))

    def ask(self, which: int, count: int) -> None:
        node = self.config.nodes[which % len(self.config.nodes)]
        for _ in range(count):
            self.asked += 1
            command = Command(1 + self.asked, 1, "write", "x", self.asked)
            self._perform(node, self.process[node].request(command, self.now))

    def sync(self, which: int, _: int) -> None:
        node = self.config.nodes[which % len(self.config.nodes)]
        waiting, self.waiting[node] = self.waiting[node], []
        for effect in waiting:
            self._act(node, effect, synced=True)

    def crash(self, which: int, keep: int) -> None:
        """Of what was not synced, the first `keep` records survive."""
        node = self.config.nodes[which % len(self.config.nodes)]
        records = [e for e in self.waiting[node] if isinstance(e, Persist | Checkpoint)]
        for record in records[:keep]:
            self._act(node, record, synced=True)
        self.waiting[node] = []
        self.flying = [f for f in self.flying if not f[0] == f[1] == node]
        self._start(node)

    # ---- effects

    def _perform(self, node: int, effects: list[Any]) -> None:
        for effect in effects:
            barrier = isinstance(effect, Persist | Checkpoint)
            if barrier or (self.waiting[node] and getattr(effect, "after_sync", False)):
                self.waiting[node].append(effect)
            else:
                self._act(node, effect, synced=True)
        self._check_promise(node)

    def _act(self, node: int, effect: Any, *, synced: bool) -> None:
        if isinstance(effect, Persist):
            self.disk[node].append(effect.record)
        elif isinstance(effect, Checkpoint):
            self.disk[node] = list(effect.records)
        elif isinstance(effect, Send):
            self.flying.append((node, effect.to, effect.message))
        elif isinstance(effect, Broadcast):
            for other in self.config.nodes:
                if other != node:
                    self.flying.append((node, other, effect.message))
        elif isinstance(effect, SetTimer):
            self.timers[node][effect.name] = None
        elif isinstance(effect, Decided):
            first = self.decided.setdefault(effect.slot, effect.commands)
            assert first == effect.commands, f"slot {effect.slot}: {first} and {effect.commands}"
        elif isinstance(effect, Reply) and effect.answer.error is None:
            self.acknowledged.append((effect.client, effect.seq))

    def _check_promise(self, node: int) -> None:
        """Within a life an acceptor's promise never decreases."""
        process = self.process[node]
        promised = process.log.promised
        assert promised >= getattr(process, "_seen_by_test", promised)
        process._seen_by_test = promised

    def check(self) -> None:
        decided = {(c.client, c.seq) for commands in self.decided.values() for c in commands}
        lost = [key for key in self.acknowledged if key not in decided]
        assert not lost, f"acknowledged and not decided: {lost}"


STEPS = (
    *("deliver",) * 8,
    *("sync",) * 6,
    *("ask",) * 3,
    *("fire",) * 2,
    "drop",
    "double",
    "crash",
)
step = st.tuples(st.sampled_from(STEPS), st.integers(0, 30), st.integers(1, 12))


def random_steps(
    random: Random, length: int, *, names: Sequence[str] = STEPS, count_max: int = 12
) -> Steps:
    """Steps drawn without Hypothesis, for tests of whether something happens at all."""
    return [
        (random.choice(names), random.randrange(31), random.randrange(1, count_max + 1))
        for _ in range(length)
    ]
