"""How events are dispatched: the base class of all protocols.

A protocol names its handlers in two tables:

    on = {Prepare: "_on_prepare", ...}          message class -> method(sender, message, now_us)
    timers = {"election": "_on_election", ...}  timer name    -> method(now_us)

The tables are resolved to plain functions once for each class. So a subclass can override a method,
an event costs one dictionary lookup, and there are no reference cycles. Everything else (a log, an
election, waiting clients) is a part that the protocol owns: see `context`.
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
    """Dispatch, the waiting clients, and the properties of a protocol.

    Raises ValueError for a read mode that the protocol does not support.
    """

    name: ClassVar[str] = ""
    messages: ClassVar[tuple[type, ...]] = ()
    records: ClassVar[tuple[type, ...]] = ()
    vote_records: ClassVar[tuple[type, ...]] = ()
    """The records that hold an acceptor's promises and votes; the planted bug B6 drops them."""
    read_modes: ClassVar[tuple[str, ...]] = ("log",)
    """The values that `ClusterConfig.reads` may have."""

    needs_all_nodes: ClassVar[bool] = False
    """Whether a single failed node prevents all others from deciding."""

    has_leader: ClassVar[bool] = True
    """Whether one node at a time proposes for all others."""

    transfers_leadership: ClassVar[bool] = False
    """Whether leadership can be transferred on request (`TRANSFER`)."""

    takes_learners: ClassVar[bool] = True
    """Whether it supports learners: nodes that follow and do not vote."""

    log_recovery: ClassVar[LogRecovery] = LogRecovery()
    """How the runtime recovers a log that may be damaged."""

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
        """The quorum system: majorities, unless a protocol overrides this."""
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
