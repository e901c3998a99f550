"""When an EPaxos replica tells the digest of its state, and of which instances that is the state.

Replicas execute instances in different orders where these do not interfere, and hardly ever hold
the same set while commands come in. So a digest is told when there is a pause: nothing was executed
for two beats. And of a snapshot, which brings two replicas, or two lives of one, to the same set:
when it is sent or restored, and when it is taken, unless the state was told a moment before.
"""

from __future__ import annotations

from node_image.protocols.context import Context
from node_image.protocols.epaxos_execution import InstanceExecution
from node_image.protocols.epaxos_instances import EXECUTED, InstanceTable
from node_image.protocols.state_digests import FEW_SLOTS, emit_set_digest


class InstanceDigests:
    """Tells them. What the machine holds is what the table says is executed."""

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
        """Tell, at the third beat of a pause."""
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
        """Up to which instance of every owner all are executed, and which others are."""
        table = self._table
        others = [i.id for i in table.beyond(table.done) if i.phase == EXECUTED]
        done = ",".join(map(str, table.done))
        return done + "".join(f"+{owner}.{number}" for owner, number in others)
