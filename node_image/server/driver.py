"""Executes the protocol's effects, and implements the durable-state rule, for this runtime.

Events are handled one at a time. Effects with `after_sync` wait in `_held`, each with the number of
persists before it, until the log has synced that many; since this number only grows, they leave in
order. Messages of a node to itself go into `_local`, and are handled as part of the same event.

All output (frames, answers, lines of the decision log, the group for the disk) is collected during
a turn of the event loop and written at its end. So a turn takes one write per connection and one
group on disk, however many messages it handled.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from node_image.protocols.interface import (
    Broadcast,
    CancelTimer,
    Checkpoint,
    Command,
    ConsensusProtocol,
    Decided,
    Effect,
    LeaderKnown,
    NodeId,
    Note,
    Persist,
    Reply,
    Send,
    SetTimer,
    StateDigest,
)
from node_image.server.clients import ClientPort
from node_image.server.codec import Codec
from node_image.server.node_log import DecisionLog, NodeLog
from node_image.server.transport import Peers
from node_image.server.wal import WriteAheadLog


def now_us() -> int:
    return time.monotonic_ns() // 1_000


class Driver:
    """Runs one protocol. Call `attach`, then `start`, then deliver events."""

    def __init__(
        self,
        protocol: ConsensusProtocol,
        node: NodeId,
        *,
        wal: WriteAheadLog,
        node_log: NodeLog,
        account: DecisionLog,
        fail: Callable[[BaseException], None],
    ) -> None:
        self.protocol = protocol
        self.node = node
        self.counters: dict[str, int] = dict.fromkeys(
            (
                "decided",
                "transport.bytes_sent",
                "transport.bytes_received",
                "transport.dropped",
                "transport.connects",
                "transport.disconnects",
            ),
            0,
        )
        self.messages = Codec(protocol.messages)
        self.records = Codec(protocol.records)
        self._wal = wal
        self._node_log = node_log
        self._account = account
        self._fail = fail
        self._loop = asyncio.get_running_loop()
        self._persisted = 0
        self._synced = 0
        self._held: deque[tuple[int, Effect]] = deque()
        self._local: deque[tuple[Any, ...]] = deque()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._flush_due = False
        self._stopped = False
        self._actions: dict[type, Callable[[Any], None]] = {
            Send: self._send,
            Broadcast: self._broadcast,
            Persist: self._persist,
            Checkpoint: self._checkpoint,
            Reply: self._reply,
            SetTimer: self._set_timer,
            CancelTimer: self._cancel_timer,
            Decided: self._decided,
            StateDigest: account.state,
            LeaderKnown: self._leader_known,
            Note: self._note,
        }

    def attach(self, peers: Peers, clients: ClientPort) -> None:
        self._peers, self._clients = peers, clients

    def start(self, disk: list[tuple[Any, ...]]) -> None:
        """Start the protocol with the records of its disk."""
        self._event(self.protocol.start, disk)

    def stop(self) -> None:
        """Handle no more events, but write what is queued."""
        if not self._stopped:
            self.flush()
        self._stopped = True
        for handle in self._timers.values():
            handle.cancel()

    def halt(self) -> None:
        """Handle no more events, and write nothing more: this node has failed."""
        self._stopped = True

    # ------------------------------------------------------------------ events

    def deliver(self, sender: NodeId, message: tuple[Any, ...]) -> None:
        self._event(self.protocol.receive, sender, message)

    def peer_lost(self, peer: NodeId) -> None:
        self._event(self.protocol.peer_lost, peer)

    def peer_connected(self, peer: NodeId) -> None:
        self._event(self.protocol.peer_connected, peer)

    def submit(self, command: Command) -> None:
        self._event(self.protocol.request, command)

    def _wake(self, name: str) -> None:
        del self._timers[name]
        self._event(self.protocol.wake, name)

    def _event(self, entry: Callable[..., list[Effect]], *args: Any) -> None:
        """Handle an event, and the messages that the node sends to itself."""
        if self._stopped:
            return
        try:
            self._perform(entry(*args, now_us()))
            local = self._local
            while local:
                self._perform(self.protocol.receive(self.node, local.popleft(), now_us()))
        except Exception as error:
            self._fail(error)

    def synced(self, count: int) -> None:
        """`count` more persists are on disk: send what waited for them."""
        if self._stopped:
            return
        self._synced += count
        held, synced, actions = self._held, self._synced, self._actions
        while held and held[0][0] <= synced:
            effect = held.popleft()[1]
            actions[type(effect)](effect)
        self._wal.synced()
        if self._local:
            self._event(self.protocol.receive, self.node, self._local.popleft())
        self.flush()

    # ------------------------------------------------------------------ effects

    def _perform(self, effects: list[Effect]) -> None:
        if not effects:
            return
        actions, held = self._actions, self._held
        for effect in effects:
            if self._synced < self._persisted and getattr(effect, "after_sync", False):
                held.append((self._persisted, effect))
            else:
                actions[type(effect)](effect)
        self.wants_flush()

    def _send(self, effect: Send) -> None:
        if effect.to == self.node:
            self._local.append(effect.message)
            return
        self._count_sent(effect.message, 1)
        self._peers.send(effect.to, self.messages.frame(effect.message))

    def _broadcast(self, effect: Broadcast) -> None:
        self._count_sent(effect.message, len(self._peers.links))
        self._peers.broadcast(self.messages.frame(effect.message))

    def _count_sent(self, message: tuple[Any, ...], copies: int) -> None:
        label = f"sent.{type(message).__name__}"
        self.counters[label] = self.counters.get(label, 0) + copies

    def _persist(self, effect: Persist) -> None:
        self._persisted += 1
        self._wal.append(self.records.encode(effect.record))

    def _checkpoint(self, effect: Checkpoint) -> None:
        self._persisted += 1
        self._wal.replace([self.records.encode(record) for record in effect.records])

    def _reply(self, effect: Reply) -> None:
        self._clients.reply(effect.client, effect.seq, effect.answer)

    def _set_timer(self, effect: SetTimer) -> None:
        old = self._timers.get(effect.name)
        if old is not None:
            old.cancel()
        delay_s = effect.delay_us / 1e6
        self._timers[effect.name] = self._loop.call_later(delay_s, self._wake, effect.name)

    def _cancel_timer(self, effect: CancelTimer) -> None:
        handle = self._timers.pop(effect.name, None)
        if handle is not None:
            handle.cancel()

    def _decided(self, effect: Decided) -> None:
        self.counters["decided"] += 1
        self._account.decided(effect)

    def _leader_known(self, effect: LeaderKnown) -> None:
        self._clients.announce(effect.leader, effect.ballot)

    def _note(self, effect: Note) -> None:
        self._node_log.log(effect.what, **effect.about)

    # ------------------------------------------------------------------ the end of a turn

    def wants_flush(self) -> None:
        """Something is queued: write it at the end of this turn."""
        if not self._flush_due:
            self._flush_due = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Write everything that is queued."""
        self._flush_due = False
        if self._stopped:
            return
        self._peers.flush()
        self._wal.commit()
        self._clients.flush()
        try:
            self._account.flush()
        except OSError as error:
            self._fail(error)

    # ------------------------------------------------------------------ queries

    def leader(self) -> NodeId | None:
        return self.protocol.status().leader

    def ballot(self) -> tuple[int, ...]:
        return self.protocol.status().ballot

    def transfers_leadership(self) -> bool:
        return bool(getattr(self.protocol, "transfers_leadership", False))

    def decided(self, start: int) -> list[Any]:
        return [[d.slot, d.ballot, d.commands] for d in self.protocol.decided_log(start)]

    def describe(self) -> dict[str, Any]:
        wal = {"disk.syncs": self._wal.syncs, "disk.bytes": self._wal.bytes_written}
        return {
            "node": self.node,
            **self.protocol.status()._asdict(),
            "wall_us": time.time_ns() // 1_000,
            "monotonic_ns": time.monotonic_ns(),
            "counters": {**self.protocol.counters, **self.counters, **wal},
        }
