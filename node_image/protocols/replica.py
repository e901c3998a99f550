"""How events reach a protocol: what every protocol class derives from, and nothing more.

A protocol names its handlers in two tables:

    on = {Prepare: "_on_prepare", ...}          message class -> method(sender, message, now_us)
    timers = {"election": "_on_election", ...}  timer name    -> method(now_us)

The tables are resolved once for each class, to plain functions, so a subclass that overrides a
method is honoured, an event costs one dictionary look-up, and no object refers to itself. What a
protocol *has* (a log, an election, clients that wait) are parts that it owns: see `context`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from node_image.log_recovery import LogRecovery
from node_image.protocols.clients import Clients
from node_image.protocols.context import Context
from node_image.protocols.interface import ClusterConfig, Effect, NodeId
from node_image.protocols.quorums import Majority, QuorumSystem


class Replica:
    """Dispatch, the clients that wait, and the protocol's status.

    Raises ValueError for a way of reading that the protocol does not have.
    """

    name: ClassVar[str] = ""
    messages: ClassVar[tuple[type, ...]] = ()
    records: ClassVar[tuple[type, ...]] = ()
    vote_records: ClassVar[tuple[type, ...]] = ()
    """The records that hold an acceptor's promises and votes: what the B6 mutant forgets."""
    read_modes: ClassVar[tuple[str, ...]] = ("log",)
    """How reads can be answered: what `ClusterConfig.reads` may be."""

    needs_all_nodes: ClassVar[bool] = False
    """Whether one node that stays broken keeps all others from deciding anything."""

    has_leader: ClassVar[bool] = True
    """Whether one node at a time proposes for all."""

    transfers_leadership: ClassVar[bool] = False
    """Whether a leader can be asked to hand over (`TRANSFER`)."""

    takes_learners: ClassVar[bool] = True
    """Whether it can have nodes that follow and do not vote."""

    log_recovery: ClassVar[LogRecovery] = LogRecovery()
    """What a node makes of a log that may be damaged: for the runtime that reads it."""

    clients_type: ClassVar[type[Clients]] = Clients

    on: ClassVar[Mapping[type, str]] = MappingProxyType({})
    timers: ClassVar[Mapping[str, str]] = MappingProxyType({})
    _handlers: ClassVar[dict[type, tuple[Callable[..., None], str]]] = {}
    _wakers: ClassVar[dict[str, Callable[..., None]]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._handlers = {
            kind: (getattr(cls, method), f"received.{kind.__name__}")
            for kind, method in cls.on.items()
        }
        cls._wakers = {name: getattr(cls, method) for name, method in cls.timers.items()}

    def __init__(self, context: Context) -> None:
        config = context.config
        if config.reads not in self.read_modes:
            modes = ", ".join(self.read_modes)
            raise ValueError(f"reads must be one of {modes}, not {config.reads!r}")
        self.context = self._ctx = context
        self.counters = context.counters
        self.counters.update((label, 0) for _, label in self._handlers.values())
        context.quorums = self.quorum_system(config)
        self.clients = self.clients_type(context)

    @staticmethod
    def quorum_system(config: ClusterConfig) -> QuorumSystem:
        """Which sets of acceptors may act for all; majorities, unless a protocol overrides it."""
        return Majority(config.voters)

    def receive(self, sender: NodeId, message: tuple[Any, ...], now_us: int) -> list[Effect]:
        out: list[Effect] = []
        self._ctx.out = out
        handler, label = self._handlers[type(message)]
        self.counters[label] += 1
        handler(self, sender, message, now_us)
        return out

    def wake(self, timer: str, now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        self._wakers[timer](self, now_us)
        return out

    def peer_lost(self, peer: NodeId, now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        self._on_peer_lost(peer, now_us)
        return out

    def peer_connected(self, peer: NodeId, now_us: int) -> list[Effect]:
        out = self._ctx.begin_event()
        self._on_peer_connected(peer, now_us)
        return out

    def _on_peer_lost(self, peer: NodeId, now_us: int) -> None:
        """Nothing, in a protocol without a leader."""

    def _on_peer_connected(self, peer: NodeId, now_us: int) -> None:
        """Nothing, in a protocol without a leader."""
