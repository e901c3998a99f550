"""Planted bugs of any protocol with a leader: keeping leadership, and the safety of its reads.

Each removes one safeguard of a part of `protocols.leadership` (M12: of `protocols.clients`), in
Multi-Paxos and Fast Paxos as well as in Raft.
"""

from __future__ import annotations

from typing import Any

from node_image.mutants.variation import Protocol, Variation, configured, vary_part
from node_image.protocols.clients import refusal
from node_image.protocols.interface import Command, NodeId, Reply


def m5(protocol: Protocol) -> Protocol:
    """The leader answers reads from its own state; another node may lead by now."""

    def take(self: Any, command: Command, now_us: int) -> bool:
        self._ctx.answer(command, self._ctx.machine.apply(command))
        return True

    return vary_part(protocol, "leadership.reads", take=take)


def m6(protocol: Protocol) -> Protocol:
    """Leases run on the wall clock, which jumps. (It turns lease reads on.)"""
    mutant = vary_part(
        protocol, "leadership.lease", clock_us=lambda self, now_us: self._ctx.wall_us()
    )
    return configured(mutant, lambda config: {"reads": "lease"})


def m11(protocol: Protocol) -> Protocol:
    """A new leader answers reads at once; its state may lack its predecessor's decisions.
    (It turns quorum reads on.)"""
    mutant = vary_part(protocol, "leadership.reads", has_recovered=lambda self: True)
    return configured(mutant, lambda config: {"reads": "quorum"})


def m12(protocol: Protocol) -> Protocol:
    """A deposed leader refuses commands that it had proposed, and that may still be decided."""

    def release(self: Any, leader: NodeId | None) -> None:
        for client, seq in self.waiting:
            self._ctx.out.append(Reply(client, seq, refusal(leader), False))
        self.waiting.clear()

    return vary_part(protocol, "clients", release=release)


def m13(protocol: Protocol) -> Protocol:
    """Acceptors grant leases and do not keep them. (It turns lease reads on, and makes leases
    longer than the election timeout.)"""
    mutant = vary_part(protocol, "leadership.lease", forbids=lambda self, candidate, now_us: False)
    return configured(
        mutant,
        lambda config: {
            "reads": "lease",
            "lease_us": max(config.lease_us, 2 * config.election_max_us),
        },
    )


def l1(protocol: Protocol) -> Protocol:
    """A leader that receives nothing continues to send heartbeats, and no other node becomes a
    candidate."""
    return vary_part(protocol, "leadership.heartbeats", has_lost_quorum=lambda self, now_us: False)


def m3(protocol: Protocol) -> Protocol:
    """The leader applies, and answers, as soon as it has voted for its own proposal."""

    def is_chosen(self: Any, votes: int) -> bool:
        return bool(self._ctx.quorums.vote(0, self._ctx.node) & votes)

    return vary_part(protocol, "leadership.tally", is_chosen=is_chosen)


LEADERSHIP: dict[str, Variation] = {
    "M3": m3,
    "M5": m5,
    "M6": m6,
    "M11": m11,
    "M12": m12,
    "M13": m13,
    "L1": l1,
}
