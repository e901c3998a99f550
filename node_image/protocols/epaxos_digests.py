"""When an EPaxos replica emits a digest of its state, and for which set of instances.

Replicas execute instances that do not interfere in different orders, and rarely have executed the
same set while commands arrive. So a digest is emitted in a pause, when nothing was executed for two
beats. It is also emitted for a snapshot, which brings two replicas, or two lives of one replica, to
the same set: when it is sent or restored, and when it is taken, unless a digest was just emitted.
"""

from __future__ import annotations

from node_image.protocols.context import Context
from node_image.protocols.epaxos_execution import InstanceExecution
from node_image.protocols.epaxos_instances import EXECUTED, InstanceTable
from node_image.protocols.state_digests import FEW_SLOTS, emit_set_digest


class InstanceDigests:
    """Emits digests. The state is that of all executed instances of the table."""

    __slots__ = ("_beats", "_ctx", "_execution", "_table", "_told")

    def __init__(
        self, context: Context, table: InstanceTable, execution: InstanceExecution
    ) -> None:
        self._ctx = context
        self._table = table
        self._execution = execution
        self._beats = (0, 0)
        self._told = 0

    def beat(self) -> None:
        """Emit a digest at the third beat of a pause."""
        executed = self._execution.executed
        if executed == self._beats[0] and executed != self._told:
            self.emit()
        self._beats = self._beats[1], executed

    def emit(self) -> None:
        self._told = self._execution.executed
        emit_set_digest(self._ctx, self._executed())

    def emit_if_changed(self) -> None:
        """A snapshot is taken."""
        if self._execution.executed - self._told >= FEW_SLOTS:
            self.emit()

    def _executed(self) -> str:
        """For every owner: the instance up to which all are executed, and the others that are."""
        table = self._table
        others = [i.id for i in table.beyond(table.done) if i.phase == EXECUTED]
        done = ",".join(map(str, table.done))
        return done + "".join(f"+{owner}.{number}" for owner, number in others)
