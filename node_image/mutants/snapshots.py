"""Planted bugs of installing a snapshot that another replica sent.

Logs and votes stay right; what is wrong is the state, and only later, if ever, what clients see.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from node_image.mutants.variation import Protocol, Variation, vary
from node_image.protocols.interface import NodeId

HANDLERS = ("_on_snapshot_offer", "_on_install_snapshot", "_on_snapshot")


def _taken_as(protocol: Protocol, change: Callable[[Any], Any]) -> Protocol:
    """The protocol, installing `change` of every snapshot that it receives."""
    name = next(name for name in HANDLERS if hasattr(protocol, name))
    original = getattr(protocol, name)

    def handler(self: Any, sender: NodeId, message: Any, now_us: int) -> None:
        original(self, sender, change(message), now_us)

    return vary(protocol, **{name: handler})


def m7(protocol: Protocol) -> Protocol:
    """Installs the store of a snapshot without its client sessions: a command that is decided a
    second time is applied a second time, here only."""
    return _taken_as(
        protocol, lambda message: message._replace(state={**message.state, "sessions": []})
    )


def m7b(protocol: Protocol) -> Protocol:
    """Takes a snapshot for one of the next slot, whose command it then never applies."""
    return _taken_as(protocol, lambda message: message._replace(slot=message.slot + 1))


SNAPSHOTS: dict[str, Variation] = {"M7": m7, "M7b": m7b}
