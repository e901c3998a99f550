"""When a replica emits a digest of its state, so that replicas can be compared afterwards.

Logs can agree while states do not: a snapshot may be incomplete, or a command may be applied twice.
Digests reveal this where two replicas, or two lives of one replica, emit them for the same slot. So
digests are emitted for slots at which another replica emits one too:

    every EVERY_SLOTS slots      by all replicas; less often if the state is large
    snapshot sent, installed     by the sender and the receiver
    the slot after that          by the sender: reveals a receiver that is off by one slot
    snapshot taken, recovered    by this life and the next one, unless snapshots are so frequent
                                 that a digest was emitted a few slots before

The cost of a digest is proportional to the size of the state. The interval grows with the size, so
that the cost per slot stays below that of one element. It depends on the state only, so replicas
that agree keep emitting digests of the same slots. If every slot adds to the state, the slots that
are powers of two remain.

Where commands that do not interfere have no order (EPaxos, two-phase commit), the state is that of
a set of commands, and the digest names the set instead of a slot (`emit_set_digest`).
"""

from __future__ import annotations

from typing import Final

from node_image.protocols.context import Context
from node_image.protocols.interface import Json, StateDigest

EVERY_SLOTS: Final = 128
FEW_SLOTS: Final = 64
NAME_MAX: Final = 1_000
"""Characters. A longer name most likely identifies a set that no other replica has."""


def emit_set_digest(context: Context, name: int | str) -> None:
    """The machine's state is that of the set `name`, applied in any order: emit its digest, unless
    the order has affected the state."""
    digest = context.machine.digest(in_order=False)
    if digest and len(str(name)) <= NAME_MAX:
        context.out.append(StateDigest(name, digest))


class StateDigests:
    """Emits digests. The machine's state is that of the last applied slot.

    `due`: the next slot after which `applied` has to be called; calls after other slots are
    harmless.
    """

    __slots__ = ("_ctx", "_next_to_sent", "_told", "due")

    def __init__(self, context: Context) -> None:
        self._ctx = context
        self._next_to_sent = self._told = 0
        self.due = EVERY_SLOTS

    def applied(self, slot: int) -> None:
        """Slot `slot` has been applied."""
        if slot == self._next_to_sent or self._is_common(slot):
            self.emit(slot)
        self.due = slot - slot % EVERY_SLOTS + EVERY_SLOTS

    def _is_common(self, slot: int) -> bool:
        """Whether every replica emits a digest of this slot."""
        if slot % EVERY_SLOTS:
            return False
        distance, size = EVERY_SLOTS, self._ctx.machine.size()
        while distance < size:
            distance *= 2
        return slot % distance == 0 or slot.bit_count() == 1

    def emit(self, slot: int) -> None:
        self._told = slot
        self._ctx.out.append(StateDigest(slot, self._ctx.machine.digest()))

    def take(self, slot: int) -> Json:
        """The state, for a snapshot of `slot` on disk."""
        if self._told == 0 or slot - self._told >= FEW_SLOTS:
            self.emit(slot)
        return self._ctx.machine.snapshot()

    def send(self, slot: int) -> Json:
        """The state, for a snapshot of `slot` that is sent to another replica."""
        self._next_to_sent = self.due = slot + 1
        self.emit(slot)
        return self._ctx.machine.snapshot()

    def restore(self, slot: int, state: Json) -> None:
        """Restore a state, and emit the digest of the result."""
        self._ctx.machine.restore(state)
        self.emit(slot)
