"""Sends messages one at a time where a fault, a trigger or a recording concerns them.

A node is watched while some of its outgoing links have conditions, a trigger waits for it, or the
run is recorded; and only for steps with a message of a class that one of these concerns. If no
trigger fires, this does the same as `Effects`, with the same random draws: watching has no effect
by itself.

A trigger fires in the middle of a step. After a kill the rest of the step never happens: a
broadcast may have been sent to some nodes and not to others, which is the purpose of such a fault.
After a pause the rest happens when the node is resumed.
"""

from __future__ import annotations

from typing import Any

from harness.runtimes.sim.clients import ClientConnections
from harness.runtimes.sim.effects import Effects
from harness.runtimes.sim.event_queue import EventQueue
from harness.runtimes.sim.network import Link, Network
from harness.runtimes.sim.node import SimNode
from harness.runtimes.sim.processes import Processes
from harness.runtimes.sim.run_record import CUT, LOST, Message, Persisted, RunRecord
from harness.runtimes.sim.triggers import REPLY, Triggers
from node_image.protocols.interface import Broadcast, Checkpoint, Decided, Persist, Reply, Send


class WatchedEffects:
    """`record`, if not None, is notified of every message and every persisted record."""

    def __init__(
        self,
        queue: EventQueue,
        network: Network,
        clients: ClientConnections,
        processes: Processes,
        effects: Effects,
        triggers: Triggers,
    ) -> None:
        self._queue = queue
        self._network = network
        self._clients = clients
        self._processes = processes
        self._effects = effects
        self._triggers = triggers
        self.record: RunRecord | None = None

    def carry_out(self, node: SimNode, effects: list[Any], now_us: int) -> None:
        """All effects of one step of a watched node. Raises BadEffect."""
        if not _concerns(node, effects):
            self._effects.carry_out(node, effects, now_us)
            return
        self._one_by_one(node, effects, now_us)
        if self.record is not None:
            self.record.note_role(node, now_us)

    def _one_by_one(self, node: SimNode, effects: list[Any], now_us: int) -> None:
        barrier_us = node.disk.barrier_us
        for i, effect in enumerate(effects):
            kind = type(effect)
            if kind is Broadcast or kind is Send:
                if not self._send_all(node, effects, i, barrier_us, now_us):
                    return
            elif kind is Reply:
                if self._triggers.armed and (effect.client, effect.seq) in node.waiting:
                    self._triggers.seen(node, "before-reply", REPLY)
                    if not node.running:
                        self._interrupt(node, effects[i:])
                        return
                self._clients.reply(node, effect, barrier_us, now_us)
            elif kind is Decided:
                node.decided.append(effect)
                node.decided_us.append(now_us)
            elif kind is Persist:
                barrier_us = node.disk.persist(effect[0], now_us)
                self._note_persisted(node, effect[0], barrier_us, now_us)
            else:
                barrier_us = self._effects.other_effect(node, effect, barrier_us, now_us)
                if kind is Checkpoint:
                    for record in effect[0]:
                        self._note_persisted(node, record, barrier_us, now_us)

    def _send_all(
        self, node: SimNode, effects: list[Any], i: int, barrier_us: int, now_us: int
    ) -> bool:
        """Send the messages of effect `i`; False if a trigger fired at the node meanwhile."""
        effect, own_links = effects[i], self._network.links[node.id]
        if type(effect) is Broadcast:
            message, after_sync = effect
            links = list(own_links.values())
        else:
            to, message, after_sync = effect
            if to not in own_links:
                self._network.send(node, to, message, after_sync, barrier_us, now_us)
                return True
            links = [own_links[to]]
        departs_us = barrier_us if after_sync and barrier_us > now_us else now_us
        for sent, link in enumerate(links, 1):
            self._send(node, link, message, departs_us, now_us)
            if self._triggers.armed:
                self._triggers.seen(node, "after-send", type(message).__name__)
                if not node.running:
                    rest = [Send(left.target.id, message, after_sync) for left in links[sent:]]
                    self._interrupt(node, rest + effects[i + 1 :])
                    return False
        return True

    def _interrupt(self, node: SimNode, effects: list[Any]) -> None:
        """A paused process executes the rest of the step when it is resumed; a dead one never."""
        if node.paused:
            self._processes.interrupt_step(node, effects)

    def _send(
        self, node: SimNode, link: Link, message: tuple[Any, ...], departs_us: int, now_us: int
    ) -> None:
        """One message over one link, under its conditions."""
        if link.cut:
            self._note_lost(node, link, message, departs_us, now_us, CUT)
            return
        delay_us = link.delay()
        held = departs_us > now_us
        fates = [(0, True)] if link.conditions is None else link.conditions.fates(message)
        if not fates:
            self._note_lost(node, link, message, departs_us, now_us, LOST)
        for extra_us, ordered in fates:
            at_us = departs_us + delay_us + extra_us
            if ordered:
                at_us = self._network.in_order(link, at_us, held=held)
            sequence = self._queue.put(
                at_us, node.id, link.target, message, departs_us if held else 0
            )
            if self.record is not None:
                sent = Message(now_us, departs_us, at_us, node.id, link.target.id, message)
                self.record.sent(sent, sequence)

    def _note_lost(
        self,
        node: SimNode,
        link: Link,
        message: tuple[Any, ...],
        departs_us: int,
        now_us: int,
        reason: str,
    ) -> None:
        if self.record is not None:
            target = link.target.id
            lost = Message(now_us, departs_us, None, node.id, target, message, reason)
            self.record.sent(lost, None)

    def _note_persisted(
        self, node: SimNode, record: tuple[Any, ...], durable_us: int, now_us: int
    ) -> None:
        if self.record is not None:
            self.record.persisted.append(Persisted(now_us, node.id, durable_us, record))


def _concerns(node: SimNode, effects: list[Any]) -> bool:
    """Whether one of these effects is a message for which the node is watched."""
    names = node.watched_for
    if names is None:
        return True
    for effect in effects:
        kind = type(effect)
        if kind is Send or kind is Broadcast:
            if type(effect.message).__name__ in names:
                return True
        elif kind is Reply and REPLY in names:
            return True
    return False
