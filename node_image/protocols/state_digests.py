"""When a replica tells the digest of its state: for whoever compares replicas afterwards.

Logs can agree while states do not: a snapshot may lack something, a command may be applied twice.
Digests show it wherever two replicas, or two lives of one, tell them of the same slot. So a log's
are told of slots at which somebody else tells one, too:

    every EVERY_SLOTS slots      all replicas get there; seldomer when the state is large
    snapshot sent, installed     the sender and the receiver
    the slot after that          the sender: whoever takes the snapshot for one of that slot differs
    snapshot taken, recovered    this life, and the next one; not where snapshots are so frequent
                                 that the state was told a few slots before

A digest costs time in proportion to the state. The distance grows with it, so that a slot costs
less than an element; since it depends on the state alone, replicas that agree keep telling the
same slots. Where every slot adds to the state, the slots that are a power of two remain.

Where commands that do not interfere have no order (EPaxos, two-phase commit), the state is that of
a set of them, and the set is named instead of a slot (`emit_set_digest`).
"""

from __future__ import annotations

from typing import Final

from node_image.protocols.context import Context
from node_image.protocols.interface import Json, StateDigest

EVERY_SLOTS: Final = 128
FEW_SLOTS: Final = 64
NAME_MAX: Final = 1_000
"""Characters. A longer name is that of a set which no other replica has, most likely."""


def emit_set_digest(context: Context, name: int | str) -> None:
    """The machine's state is that of the set `name`, applied in whatever order: tell its digest,
    unless the order can be seen in it."""
    digest = context.machine.digest(in_order=False)
    if digest and len(str(name)) <= NAME_MAX:
        context.out.append(StateDigest(name, digest))


class StateDigests:
    """Tells them. The machine's state is that of the slot that was applied last.

    `due`: the next slot after which `applied` is to be called; later ones do no harm.
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
        """Whether every replica tells this slot's."""
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
        """The state, for a snapshot of `slot` that goes to the disk."""
        if self._told == 0 or slot - self._told >= FEW_SLOTS:
            self.emit(slot)
        return self._ctx.machine.snapshot()

    def send(self, slot: int) -> Json:
        """The state, for a snapshot of `slot` that another replica gets."""
        self._next_to_sent = self.due = slot + 1
        self.emit(slot)
        return self._ctx.machine.snapshot()

    def restore(self, slot: int, state: Json) -> None:
        """Take over a state, and tell the digest of what came of it."""
        self._ctx.machine.restore(state)
        self.emit(slot)
