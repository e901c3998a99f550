"""Scenarios of a snapshot that is installed, and of the digests that tell of it."""

from __future__ import annotations

from typing import Any

from node_image.protocols import multi_paxos_messages, raft_messages
from node_image.protocols.interface import Command, StateDigest
from node_image.state_machine import KeyValue
from tests.node_image.single_node import Driven

APPEND = Command(7, 3, "append", "x", 5)


def offered() -> KeyValue:
    """The sender's state, in which client 7 has done its third command."""
    machine = KeyValue()
    machine.apply(APPEND)
    return machine


def install(protocol: type[Any], slot: int) -> Driven:
    """Node 2, which has installed a snapshot of `slot` that node 1 sent."""
    node, state = Driven(protocol, node=2, nodes=5), offered().snapshot()
    if protocol.name == "raft":
        node.receive(1, raft_messages.InstallSnapshot(1, slot, 1, state))
    else:
        node.receive(1, multi_paxos_messages.SnapshotOffer(slot, state))
    return node


def sessions_are_installed(protocol: type[Any]) -> Any:
    """[5]: the same command once more is not applied."""
    node = install(protocol, 9)
    node.machine.apply(APPEND)
    return node.machine.snapshot()["values"]["x"]


def snapshot_is_of_its_slot(protocol: type[Any]) -> Any:
    """9."""
    return install(protocol, 9).status.applied


def digests_told(node: Driven) -> list[StateDigest]:
    return [effect for effect in node.effects if isinstance(effect, StateDigest)]
